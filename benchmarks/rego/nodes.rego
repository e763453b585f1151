package main

import data.karpenter

deny contains {"msg": "selects no AMI", "rule": "ami-pinned", "resource": class.name} if {
	some class in karpenter.node_classes
	count(ami_terms(class)) == 0
}

deny contains {"msg": "selects an AMI that moves", "rule": "ami-pinned", "resource": class.name} if {
	some class in karpenter.node_classes
	some term in ami_terms(class)
	not pinned(term)
}

ami_terms(class) := object.get(class.inputs.spec, "amiSelectorTerms", [])

pinned(term) if term.id

pinned(term) if regex.match(`^(al2(023)?@v\d{8}|bottlerocket@v?\d+\.\d+\.\d+(-[0-9a-f]+)?)$`, term.alias)

pinned(term) if {
	regex.match(`^/aws/service/.*(-v\d{8}|/\d+\.\d+\.\d+(-[0-9a-f]+)?)/image_id$`, term.ssmParameter)
}

deny contains {"msg": "allows IMDSv1", "rule": "nodeclass-imds", "resource": class.name} if {
	some class in karpenter.node_classes
	object.get(class.inputs.spec, ["metadataOptions", "httpTokens"], "required") != "required"
}

deny contains {"msg": "lets pods reach IMDS", "rule": "nodeclass-imds", "resource": class.name} if {
	some class in karpenter.node_classes
	object.get(class.inputs.spec, ["metadataOptions", "httpPutResponseHopLimit"], 1) != 1
}

deny contains {"msg": "has a volume unencrypted", "rule": "nodeclass-volumes-encrypted", "resource": class.name} if {
	some class in karpenter.node_classes
	some mapping in mappings(class)
	not mapping.ebs.encrypted
}

deny contains {"msg": "leaves the volumes to the AMI", "rule": "nodeclass-volumes-encrypted", "resource": class.name} if {
	some class in karpenter.node_classes
	count(mappings(class)) == 0
	not volumes[ami_family(class)]
}

deny contains {"msg": "leaves a volume to the AMI", "rule": "nodeclass-volumes-encrypted", "resource": class.name} if {
	some class in karpenter.node_classes
	count(mappings(class)) > 0
	some device in volumes[ami_family(class)]
	not device in [mapping.deviceName | some mapping in mappings(class)]
}

mappings(class) := object.get(class.inputs.spec, "blockDeviceMappings", [])

ami_family(class) := lower(class.inputs.spec.amiFamily) if {
	class.inputs.spec.amiFamily
} else := lower(concat("", [split(term.alias, "@")[0] | some term in ami_terms(class)]))

volumes := {
	"al2": ["/dev/xvda"],
	"al2023": ["/dev/xvda"],
	"bottlerocket": ["/dev/xvda", "/dev/xvdb"],
	"windows2019": ["/dev/sda1"],
	"windows2022": ["/dev/sda1"],
	"windows2025": ["/dev/sda1"],
}

deny contains {"msg": "may have a public address", "rule": "nodeclass-no-public-address", "resource": class.name} if {
	some class in karpenter.node_classes
	object.get(class.inputs.spec, "associatePublicIPAddress", true) != false
}
