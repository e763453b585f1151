"""The machines behind the nodes: their image, their volumes, their metadata service and their addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from policies import facts, karpenter
from policies.model import Config, Finding, Item, Option, Rule, Stack, each
from policies.view import View

LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
NODE_CLASSES = "https://karpenter.sh/docs/concepts/nodeclasses/"
GIB = 1024**3
# Source: pkg/providers/amifamily/resolver.go DefaultEBS
DEFAULT_ROOT = Decimal(20 * GIB)

# Forms of an alias that name one release (pkg/apis/v1/ec2nodeclass.go AMISelectorTerm, pkg/providers/amifamily).
_ALIAS_RELEASE = re.compile(r"al2(?:023)?@v\d{8}|bottlerocket@v?\d+\.\d+\.\d+(?:-[0-9a-f]+)?")
# AWS's own parameters of one release; its others, such as recommended and latest, move.
_PARAMETER_RELEASE = re.compile(r"/aws/service/.*(?:-v\d{8}|/\d+\.\d+\.\d+(?:-[0-9a-f]+)?)/image_id")

# The volumes that an AMI of each family brings, the one for images and pods last (pkg/providers/amifamily).
_VOLUMES = {
    "al2": ("/dev/xvda",),
    "al2023": ("/dev/xvda",),
    "bottlerocket": ("/dev/xvda", "/dev/xvdb"),
    "windows2019": ("/dev/sda1",),
    "windows2022": ("/dev/sda1",),
    "windows2025": ("/dev/sda1",),
}


def ami_pinned(item: Item, config: Config) -> Iterator[str]:
    terms = _ami_terms(item)
    if not terms:
        yield "selects no AMI: spec.amiSelectorTerms is empty"
    for term in terms:
        if not (term["id"].present or _ALIAS_RELEASE.fullmatch(term["alias"].text()) or _released_parameter(term)):
            chosen = term["alias"].text() or term["ssmParameter"].text() or "name or tags"
            yield f"selects its AMI by {chosen}, which moves; allowed: an alias such as al2023@v20260915, or an id"


def _ami_terms(item: Item) -> list[View]:
    return item.data.at("spec", "amiSelectorTerms").items()


def _released_parameter(term: View) -> bool:
    return bool(_PARAMETER_RELEASE.fullmatch(term["ssmParameter"].text()))


def gpu_pool_ami_by_alias(stack: Stack, config: Config) -> Iterator[Finding]:
    def check(item: Item) -> Iterator[str]:
        for term in _ami_terms(item):
            chosen = term["ssmParameter"].text() if _released_parameter(term) else term["id"].text()
            if chosen and chosen not in config["amis"]:
                yield f"selects {chosen} for nodes with GPUs; allowed: an alias, or one of the option amis"

    return each(facts.gpu_node_classes(stack), check)


def nodeclass_imds(item: Item, config: Config) -> Iterator[str]:
    # Defaults of the CRD: tokens are required, and they travel one hop.
    return _imds(item.data.at("spec", "metadataOptions"), "required", Decimal(1))


def launch_template_imds(item: Item, config: Config) -> Iterator[str]:
    return _imds(item.data["metadataOptions"], "", None)


def _imds(options: View, default_tokens: str, default_hops: Decimal | None) -> Iterator[str]:
    tokens = options["httpTokens"].text(default_tokens)
    if tokens != "required":
        yield f"leaves httpTokens {tokens or 'to the account'}: IMDSv1 answers any request; allowed: required"
    given = options["httpPutResponseHopLimit"].number()
    hops = default_hops if given is None else given
    if hops != 1:
        yield f"leaves httpPutResponseHopLimit {'to the image' if hops is None else hops}: pods reach it; allowed: 1"


def nodeclass_volumes_encrypted(item: Item, config: Config) -> Iterator[str]:
    mappings = _mappings(item)
    for mapping in mappings:
        if not mapping.at("ebs", "encrypted").flag():
            yield f"leaves {mapping['deviceName'].text('a volume')} unencrypted; allowed: ebs.encrypted: true"
    volumes = _VOLUMES.get(_family(item))
    if volumes is None and not mappings:
        yield "leaves the volumes to the AMI: of a custom family Karpenter encrypts none by itself"
    given = [mapping["deviceName"].text() for mapping in mappings]
    for device in volumes or ():
        if mappings and device not in given:
            yield f"leaves {device} to the AMI, which does not encrypt it by itself; allowed: a mapping for it"


def _mappings(item: Item) -> list[View]:
    return item.data.at("spec", "blockDeviceMappings").items()


def _family(item: Item) -> str:
    """As Karpenter decides it: `amiFamily`, else that of the alias (pkg/apis/v1/ec2nodeclass.go AMIFamily)."""
    given = item.data.at("spec", "amiFamily").text()
    return (given or "".join(term["alias"].text().partition("@")[0] for term in _ami_terms(item))).lower()


def launch_template_volumes_encrypted(item: Item, config: Config) -> Iterator[str]:
    mappings = item.data["blockDeviceMappings"].items()
    if not mappings:
        yield "leaves the volumes to the AMI, which does not encrypt them; allowed: blockDeviceMappings"
    for mapping in mappings:
        is_volume = not (mapping["noDevice"].present or mapping["virtualName"].present)
        if is_volume and not mapping.at("ebs", "encrypted").flag():
            yield f"leaves {mapping['deviceName'].text('a volume')} unencrypted; allowed: ebs.encrypted: true"


def gpu_root_volume(stack: Stack, config: Config) -> Iterator[Finding]:
    def check(item: Item) -> Iterator[str]:
        size = _root_size(item)
        if size is not None and size < config["minGiB"] * GIB:
            shown = f"{float(size) / GIB:.4g} GiB"
            yield f"gives images and pods {shown} of the root volume; allowed: at least {config['minGiB']} GiB"

    return each(facts.gpu_node_classes(stack), check)


def _root_size(item: Item) -> Decimal | None:
    """Bytes of the volume that holds images and pods, as Karpenter finds it (pkg/providers/instancetype/types.go).

    None where the AMI alone decides: `nodeclass-volumes-encrypted` asks for that volume's mapping.
    """
    mappings, devices = _mappings(item), _VOLUMES.get(_family(item))
    root = [m for m in mappings if m["rootVolume"].flag()]
    named = [m for m in mappings if devices and m["deviceName"].text() == devices[-1]]
    found = root or named or ([] if devices else mappings[-1:])
    if found:
        return found[0].at("ebs", "volumeSize").number() or DEFAULT_ROOT
    return DEFAULT_ROOT if devices and not mappings else None


def nodeclass_no_public_address(item: Item, config: Config) -> Iterator[str]:
    if item.data.at("spec", "associatePublicIPAddress").flag(default=True):
        yield "lets nodes have public addresses where the subnet gives them; allowed: associatePublicIPAddress: false"


def launch_template_no_public_address(item: Item, config: Config) -> Iterator[str]:
    # Without any interface the subnet decides, and EC2 forbids the field on interfaces of these two kinds.
    for interface in item.data["networkInterfaces"].items():
        fixed = interface["networkInterfaceId"].present or interface["interfaceType"].text() == "efa-only"
        if not fixed and interface["associatePublicIpAddress"].flag(default=True):
            yield f"lets {interface.path} have a public address; allowed: associatePublicIpAddress: false"


RULES = (
    Rule(
        id="ami-pinned",
        description="An EC2NodeClass names one release of its image, by a versioned alias or an id.",
        why="With @latest, a name or tags every new image drifts, and Karpenter replaces the nodes under running pods. "
        "The image decides the versions of driver and container toolkit, so it is also what decides over their CVEs.",
        remedy="Write one term in spec.amiSelectorTerms, such as {alias: al2023@v20260915}.",
        url="https://karpenter.sh/docs/tasks/managing-amis/",
        severity="high",
        check=ami_pinned,
        kinds=(karpenter.NODE_CLASS,),
    ),
    Rule(
        id="gpu-pool-ami-by-alias",
        description="The EC2NodeClass of a pool of GPUs selects its image by alias.",
        why="By alias Karpenter takes the NVIDIA variant for types with GPUs. By id it takes what it is told: on the "
        "standard image no GPU is found, and the node is billed for nothing.",
        remedy="Select the image by alias, or list the id in the option amis once it is known to hold the driver.",
        url="https://github.com/awslabs/amazon-eks-ami/issues/1817",
        severity="high",
        check=gpu_pool_ami_by_alias,
        options={"amis": Option("list", (), "AMI ids and SSM parameters of images that hold the NVIDIA driver")},
    ),
    Rule(
        id="nodeclass-imds",
        description="Nodes of an EC2NodeClass answer IMDSv2 alone, over one hop; Karpenter's defaults are these.",
        why="With IMDSv1 or a second hop, a pod takes the node's AWS credentials.",
        remedy="Set spec.metadataOptions.httpTokens to required and httpPutResponseHopLimit to 1.",
        url="https://docs.aws.amazon.com/eks/latest/best-practices/identity-and-access-management.html",
        severity="critical",
        check=nodeclass_imds,
        kinds=(karpenter.NODE_CLASS,),
    ),
    Rule(
        id="launch-template-imds",
        description="A launch template demands IMDSv2 and one hop, in so many words.",
        why="EC2 does not: what is not given is decided by the account and the image. With IMDSv1 or a second hop, a "
        "pod takes the node's AWS credentials.",
        remedy="Set metadataOptions.httpTokens to required and httpPutResponseHopLimit to 1.",
        url="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-options.html",
        severity="critical",
        check=launch_template_imds,
        kinds=(LAUNCH_TEMPLATE,),
    ),
    Rule(
        id="nodeclass-volumes-encrypted",
        description="Every volume of an EC2NodeClass is encrypted.",
        why="Images, logs and what pods write lie on them. Karpenter encrypts its own default volume; what a mapping "
        "leaves out is left to the account, and a volume without a mapping to the image.",
        remedy="Write a mapping for each volume of the image, with ebs.encrypted: true.",
        url=NODE_CLASSES,
        severity="high",
        check=nodeclass_volumes_encrypted,
        kinds=(karpenter.NODE_CLASS,),
    ),
    Rule(
        id="launch-template-volumes-encrypted",
        description="A launch template gives every volume, encrypted.",
        why="The volumes of Amazon's images are not encrypted unless the account says so.",
        remedy="Write blockDeviceMappings for the image's volumes, each with ebs.encrypted: true.",
        url="https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption.html",
        severity="high",
        check=launch_template_volumes_encrypted,
        kinds=(LAUNCH_TEMPLATE,),
    ),
    Rule(
        id="gpu-root-volume",
        description="Nodes with GPUs have a root volume that holds CUDA images.",
        why="Karpenter's default is 20 GiB. CUDA images fill it, and pods are evicted or never start "
        "(karpenter-provider-aws issues 4149 and 6358).",
        remedy="Give the root volume (on Bottlerocket /dev/xvdb) 100Gi or more in spec.blockDeviceMappings.",
        url="https://github.com/aws/karpenter-provider-aws/issues/6358",
        severity="medium",
        check=gpu_root_volume,
        options={"minGiB": Option("integer", 100, "the least size of the root volume in GiB", 20, 16384)},
    ),
    Rule(
        id="nodeclass-no-public-address",
        description="Nodes of an EC2NodeClass have no public address.",
        why="Where the field is missing, the subnet decides, and one setting of the network opens every node.",
        remedy="Set spec.associatePublicIPAddress to false.",
        url=NODE_CLASSES,
        severity="high",
        check=nodeclass_no_public_address,
        kinds=(karpenter.NODE_CLASS,),
    ),
    Rule(
        id="launch-template-no-public-address",
        description="No network interface of a launch template asks for a public address.",
        why="An interface without the field gets one where the subnet gives them. A template without interfaces leaves "
        "it to the subnets, which rules on the network judge.",
        remedy="Set associatePublicIpAddress to false on every network interface.",
        url="https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html#ec2-25",
        severity="high",
        check=launch_template_no_public_address,
        kinds=(LAUNCH_TEMPLATE,),
    ),
)
