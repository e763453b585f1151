"""Cases of policies/rules/nodes.py."""

from base import Edit, accepted, also, drop, like, put, put_head, refused

ENCRYPTED = "nodeclass-volumes-encrypted"
TEMPLATE_ENCRYPTED = "launch-template-volumes-encrypted"
ROOT_VOLUME = "gpu-root-volume"
TEMPLATE_ADDRESS = "launch-template-no-public-address"
ALIAS = "gpu-pool-ami-by-alias"
TEMPLATE_IMDS = "launch-template-imds"

AMI = ("spec", "amiSelectorTerms")
IMDS = ("spec", "metadataOptions")
VOLUMES = ("spec", "blockDeviceMappings")
ROOTS = {"AL2": "/dev/xvda"} | dict.fromkeys(("Windows2019", "Windows2022", "Windows2025"), "/dev/sda1")
EKS_PARAMETER = "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/nvidia"
BOTTLEROCKET_PARAMETER = "/aws/service/bottlerocket/aws-k8s-1.35-nvidia/x86_64"


def general_class(name: str = "general", **spec: object) -> Edit:
    """An EC2NodeClass of nodes without GPUs."""
    properties = {
        "apiVersion": "karpenter.k8s.aws/v1",
        "kind": "EC2NodeClass",
        "metadata": {"name": name},
        "spec": {"amiFamily": "AL2023", "associatePublicIPAddress": False, **spec},
    }
    return also(f"class-{name}", "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass", properties)


def mapping(device: str) -> dict[str, object]:
    return {"deviceName": device, "ebs": {"volumeSize": "100Gi", "encrypted": True}}


def family(name: str) -> Edit:
    return put("class-shared", "spec", "amiFamily", name)


def parameter(path: str) -> Edit:
    return general_class(amiSelectorTerms=[{"ssmParameter": path}])


PINNED = [
    refused(
        "ami-pinned",
        "the newest AL2023",
        put("class-shared", *AMI, 0, "alias", "al2023@latest"),
        says="selects its AMI by al2023@latest",
    ),
    refused("ami-pinned", "the newest Bottlerocket", put("class-bottle", *AMI, 0, "alias", "bottlerocket@latest")),
    refused("ami-pinned", "a month of releases", put("class-shared", *AMI, 0, "alias", "al2023@v202609")),
    refused(
        "ami-pinned", "a release with something after it", put("class-shared", *AMI, 0, "alias", "al2023@v202609150")
    ),
    refused("ami-pinned", "a minor version", put("class-bottle", *AMI, 0, "alias", "bottlerocket@v1.54")),
    refused(
        "ami-pinned",
        "Windows, which has no releases",
        general_class(amiSelectorTerms=[{"alias": "windows2022@latest"}], amiFamily="Windows2022"),
    ),
    refused("ami-pinned", "a name", general_class(amiSelectorTerms=[{"name": "ours-*"}]), says="by name or tags"),
    refused("ami-pinned", "tags", general_class(amiSelectorTerms=[{"tags": {"team": "vision"}}])),
    refused("ami-pinned", "the second term", general_class(amiSelectorTerms=[{"id": "ami-1"}, {"name": "ours"}])),
    refused("ami-pinned", "no term", general_class(amiSelectorTerms=[]), says="selects no AMI"),
    refused("ami-pinned", "no terms at all", general_class(), says="selects no AMI"),
    refused(
        "ami-pinned", "a parameter that moves", parameter(f"{EKS_PARAMETER}/recommended/image_id"), says=EKS_PARAMETER
    ),
    refused("ami-pinned", "a parameter of the newest", parameter(f"{BOTTLEROCKET_PARAMETER}/latest/image_id")),
    refused("ami-pinned", "a parameter of one's own", parameter("/ours/node-v20260915/image_id")),
    refused(
        "ami-pinned",
        "nodes that never expire, on an image that moves",
        put("class-shared", *AMI, 0, "alias", "al2023@latest"),
        put("pool-shared", "spec", "template", "spec", "expireAfter", "Never"),
    ),
    accepted("ami-pinned", "an id", general_class(amiSelectorTerms=[{"id": "ami-0123456789abcdef0"}])),
    accepted("ami-pinned", "an id that is not known yet", general_class(amiSelectorTerms=[{"id": "<unknown>"}])),
    accepted("ami-pinned", "AL2", general_class(amiSelectorTerms=[{"alias": "al2@v20260915"}], amiFamily="AL2")),
    accepted("ami-pinned", "Bottlerocket without the v", put("class-bottle", *AMI, 0, "alias", "bottlerocket@1.54.0")),
    accepted("ami-pinned", "a build", put("class-bottle", *AMI, 0, "alias", "bottlerocket@v1.54.0-5b2d6a4a")),
    accepted(
        "ami-pinned",
        "a parameter of one AL2023 release",
        parameter(f"{EKS_PARAMETER}/amazon-eks-node-al2023-x86_64-nvidia-1.35-v20260915/image_id"),
    ),
    accepted(
        "ami-pinned", "a parameter of one Bottlerocket release", parameter(f"{BOTTLEROCKET_PARAMETER}/1.54.0/image_id")
    ),
    accepted("ami-pinned", "a parameter of one build", parameter(f"{BOTTLEROCKET_PARAMETER}/1.54.0-5b2d6a4a/image_id")),
]

BY_ID = (put("class-shared", *AMI, [{"id": "ami-1"}]), family("AL2023"))
BY_PARAMETER = (
    put("class-bottle", *AMI, [{"ssmParameter": f"{BOTTLEROCKET_PARAMETER}/1.54.0/image_id"}]),
    put("class-bottle", "spec", "amiFamily", "Bottlerocket"),
)

BY_ALIAS = [
    refused(ALIAS, "by id", *BY_ID, says="selects ami-1 for nodes with GPUs"),
    refused(
        ALIAS,
        "the second of two ids",
        *BY_ID,
        put("class-shared", *AMI, 1, {"id": "ami-2"}),
        config={"gpu-pool-ami-by-alias": {"amis": ["ami-1"]}},
        says="ami-2",
    ),
    refused(ALIAS, "by a parameter", *BY_PARAMETER, says=f"selects {BOTTLEROCKET_PARAMETER}"),
    refused(
        ALIAS,
        "another class of a pool",
        like(
            "class-more",
            "class-shared",
            put("class-more", "metadata", "name", "more"),
            put("class-more", *AMI, [{"id": "ami-1"}]),
            put("class-more", "spec", "amiFamily", "AL2023"),
            put("pool-mig", "spec", "template", "spec", "nodeClassRef", "name", "more"),
            put_head("pool-mig", "dependencies", ["karpenter", "class-more", "overlay-mig"]),
        ),
        says="ami-1",
    ),
    accepted(ALIAS, "an id that is listed", *BY_ID, config={"gpu-pool-ami-by-alias": {"amis": ["ami-1"]}}),
    accepted(ALIAS, "an id for nodes without GPUs", general_class(amiSelectorTerms=[{"id": "ami-1"}])),
]

IMDS_CASES = [
    refused(
        "nodeclass-imds",
        "tokens optional",
        put("class-shared", *IMDS, "httpTokens", "optional"),
        says="httpTokens optional",
    ),
    refused(
        "nodeclass-imds",
        "two hops",
        put("class-bottle", *IMDS, "httpPutResponseHopLimit", 2),
        says="httpPutResponseHopLimit 2",
    ),
    refused(
        "nodeclass-imds",
        "no hop",
        put("class-bottle", *IMDS, "httpPutResponseHopLimit", 0),
        says="httpPutResponseHopLimit 0",
    ),
    accepted("nodeclass-imds", "Karpenter's defaults", drop("class-shared", *IMDS)),
    accepted("nodeclass-imds", "Karpenter's defaults inside", put("class-shared", *IMDS, {"httpEndpoint": "enabled"})),
    accepted("nodeclass-imds", "one hop as a fraction", put("class-shared", *IMDS, "httpPutResponseHopLimit", 1.0)),
    refused(TEMPLATE_IMDS, "tokens optional", put("template", "metadataOptions", "httpTokens", "optional")),
    refused(
        TEMPLATE_IMDS,
        "tokens not given",
        drop("template", "metadataOptions", "httpTokens"),
        says="httpTokens to the account",
    ),
    refused(TEMPLATE_IMDS, "two hops", put("template", "metadataOptions", "httpPutResponseHopLimit", 2.0)),
    refused(
        TEMPLATE_IMDS,
        "hops not given",
        drop("template", "metadataOptions", "httpPutResponseHopLimit"),
        says="httpPutResponseHopLimit to the image",
    ),
    refused(TEMPLATE_IMDS, "nothing given", drop("template", "metadataOptions")),
    accepted(TEMPLATE_IMDS, "no endpoint given", drop("template", "metadataOptions", "httpEndpoint")),
]

ENCRYPTION = [
    refused(
        ENCRYPTED,
        "the second volume",
        put("class-shared", *VOLUMES, 1, "ebs", "encrypted", False),
        says="leaves /dev/xvdb unencrypted",
    ),
    refused(ENCRYPTED, "the first volume not given", drop("class-bottle", *VOLUMES, 0, "ebs", "encrypted")),
    refused(ENCRYPTED, "a mapping without a volume", put("class-shared", *VOLUMES, 2, {"deviceName": "/dev/xvdc"})),
    refused(
        ENCRYPTED,
        "no mapping for the system of Bottlerocket",
        drop("class-bottle", *VOLUMES, 0),
        says="leaves /dev/xvda to the AMI",
    ),
    refused(
        ENCRYPTED,
        "no mapping for the images of Bottlerocket",
        drop("class-bottle", *VOLUMES, 1),
        says="leaves /dev/xvdb to the AMI",
    ),
    refused(
        ENCRYPTED, "no mapping for the root of AL2023", put("class-shared", *VOLUMES, 0, "deviceName", "/dev/xvdc")
    ),
    refused(
        ENCRYPTED,
        "a custom family",
        general_class(amiFamily="Custom", amiSelectorTerms=[{"id": "ami-1"}]),
        says="leaves the volumes to the AMI",
    ),
    refused(
        ENCRYPTED,
        "a custom family on a released alias",
        drop("class-shared", *VOLUMES),
        family("Custom"),
        says="leaves the volumes to the AMI",
    ),
    *[
        refused(
            ENCRYPTED,
            f"no mapping for the root of {name}",
            general_class(
                amiFamily=name, amiSelectorTerms=[{"id": "ami-1"}], blockDeviceMappings=[mapping("/dev/sdb")]
            ),
            says=f"leaves {root} to the AMI",
        )
        for name, root in ROOTS.items()
    ],
    *[
        accepted(
            ENCRYPTED,
            f"Karpenter's default volume on {name}",
            general_class(amiFamily=name, amiSelectorTerms=[{"id": "ami-1"}]),
        )
        for name in ROOTS
    ],
    accepted(ENCRYPTED, "Karpenter's default volume", general_class(amiSelectorTerms=[{"id": "ami-1"}])),
    accepted(
        ENCRYPTED,
        "a custom family with a mapping",
        general_class(
            amiFamily="Custom",
            amiSelectorTerms=[{"id": "ami-1"}],
            blockDeviceMappings=[{"deviceName": "/dev/sda", "ebs": {"volumeSize": "8Gi", "encrypted": True}}],
        ),
    ),
    accepted(ENCRYPTED, "AL2023 with its root alone", drop("class-shared", *VOLUMES, 1)),
    refused(
        TEMPLATE_ENCRYPTED,
        "the second volume",
        put("template", "blockDeviceMappings", 1, "ebs", "encrypted", "false"),
        says="leaves /dev/xvdb unencrypted",
    ),
    refused(TEMPLATE_ENCRYPTED, "a boolean", put("template", "blockDeviceMappings", 0, "ebs", "encrypted", False)),
    refused(TEMPLATE_ENCRYPTED, "not given", drop("template", "blockDeviceMappings", 0, "ebs", "encrypted")),
    refused(TEMPLATE_ENCRYPTED, "no volume in a mapping", drop("template", "blockDeviceMappings", 0, "ebs")),
    refused(TEMPLATE_ENCRYPTED, "no mapping", put("template", "blockDeviceMappings", [])),
    refused(TEMPLATE_ENCRYPTED, "no mappings at all", drop("template", "blockDeviceMappings"), says="to the AMI"),
    accepted(
        TEMPLATE_ENCRYPTED,
        "a boolean that is true",
        put("template", "blockDeviceMappings", 0, "ebs", "encrypted", True),
    ),
    accepted(
        TEMPLATE_ENCRYPTED,
        "an instance store",
        put("template", "blockDeviceMappings", 2, {"deviceName": "/dev/sdb", "virtualName": "ephemeral0"}),
    ),
    accepted(
        TEMPLATE_ENCRYPTED,
        "a device that is taken away",
        put("template", "blockDeviceMappings", 2, {"deviceName": "/dev/sdb", "noDevice": ""}),
    ),
]


def size(value: object, name: str = "class-shared", index: int = 0) -> Edit:
    return put(name, *VOLUMES, index, "ebs", "volumeSize", value)


ROOT = [
    refused(
        ROOT_VOLUME,
        "one GiB short",
        size("99Gi"),
        says="gives images and pods 99 GiB of the root volume; allowed: at least 100 GiB",
    ),
    refused(ROOT_VOLUME, "a hundred decimal gigabytes", size("100G"), says="93.13 GiB"),
    refused(ROOT_VOLUME, "the data volume of Bottlerocket", size("50Gi", "class-bottle", 1)),
    refused(ROOT_VOLUME, "Karpenter's default", drop("class-shared", *VOLUMES), says="20 GiB"),
    refused(
        ROOT_VOLUME, "the size of a snapshot", drop("class-shared", *VOLUMES, 0, "ebs", "volumeSize"), says="20 GiB"
    ),
    refused(
        ROOT_VOLUME,
        "the volume that is called root",
        put("class-shared", *VOLUMES, 0, "rootVolume", False),
        put("class-shared", *VOLUMES, 1, "rootVolume", True),
        says="50 GiB",
    ),
    refused(
        ROOT_VOLUME,
        "the last volume of a custom family",
        drop("class-shared", *VOLUMES, 0, "rootVolume"),
        family("Custom"),
        says="50 GiB",
    ),
    refused(
        ROOT_VOLUME, "less than a user wants", config={"gpu-root-volume": {"minGiB": 101}}, says="at least 101 GiB"
    ),
    accepted(ROOT_VOLUME, "named by its device alone", drop("class-shared", *VOLUMES, 0, "rootVolume")),
    accepted(ROOT_VOLUME, "a tebibyte", size("1Ti")),
    accepted(ROOT_VOLUME, "enough in decimal gigabytes", size("108G")),
    accepted(ROOT_VOLUME, "a small second volume", size("1Gi", index=1)),
    accepted(ROOT_VOLUME, "a small system volume of Bottlerocket", size("2Gi", "class-bottle", 0)),
    accepted(
        ROOT_VOLUME,
        "another volume that is called root",
        size("20Gi"),
        size("100Gi", index=1),
        put("class-shared", *VOLUMES, 0, "rootVolume", False),
        put("class-shared", *VOLUMES, 1, "rootVolume", True),
    ),
    accepted(
        ROOT_VOLUME,
        "the last volume of a custom family, large enough",
        drop("class-shared", *VOLUMES, 0, "rootVolume"),
        family("Custom"),
        size("20Gi"),
        size("100Gi", index=1),
    ),
    accepted(ROOT_VOLUME, "less where a user wants less", size("60Gi"), config={"gpu-root-volume": {"minGiB": 60}}),
    accepted(ROOT_VOLUME, "a class without GPUs", general_class(amiSelectorTerms=[{"id": "ami-1"}])),
]

ADDRESSES = [
    refused("nodeclass-no-public-address", "asked for", put("class-shared", "spec", "associatePublicIPAddress", True)),
    refused(
        "nodeclass-no-public-address",
        "left to the subnet",
        drop("class-bottle", "spec", "associatePublicIPAddress"),
        says="where the subnet gives them",
    ),
    accepted(
        "nodeclass-no-public-address",
        "interfaces of its own",
        put("class-shared", "spec", "networkInterfaces", [{"networkCardIndex": 0}]),
    ),
    refused(TEMPLATE_ADDRESS, "asked for", put("template", "networkInterfaces", 0, "associatePublicIpAddress", "true")),
    refused(TEMPLATE_ADDRESS, "a boolean", put("template", "networkInterfaces", 0, "associatePublicIpAddress", True)),
    refused(
        TEMPLATE_ADDRESS, "left to the subnet", drop("template", "networkInterfaces", 0, "associatePublicIpAddress")
    ),
    refused(
        TEMPLATE_ADDRESS,
        "the second interface",
        put("template", "networkInterfaces", 1, {"deviceIndex": 1}),
        says="networkInterfaces[1]",
    ),
    refused(
        TEMPLATE_ADDRESS,
        "an interface for EFA and IP",
        put("template", "networkInterfaces", 0, {"interfaceType": "efa"}),
    ),
    accepted(TEMPLATE_ADDRESS, "no interface", drop("template", "networkInterfaces")),
    accepted(
        TEMPLATE_ADDRESS,
        "an interface for EFA alone",
        put("template", "networkInterfaces", 1, {"interfaceType": "efa-only"}),
    ),
    accepted(
        TEMPLATE_ADDRESS,
        "an interface that exists",
        put("template", "networkInterfaces", 0, {"networkInterfaceId": "eni-1"}),
    ),
]

CASES = [*PINNED, *BY_ALIAS, *IMDS_CASES, *ENCRYPTION, *ROOT, *ADDRESSES]
