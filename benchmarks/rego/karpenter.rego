# Which NodePools ask for GPUs, which can buy them, and which carry the taint: each found once.
# `data.types` are the labels of the GPU instance types of the catalogue.
package karpenter

pools := [r | some r in input.resources; r.type == "kubernetes:karpenter.sh/v1:NodePool"]

node_classes := [r | some r in input.resources; r.type == "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"]

asking contains pool.name if {
	some pool in pools
	asks(constraints[pool.name])
}

# Functions, since a rule that fills a set goes on after its first find.
asks(wanted) if {
	some requirement in wanted
	names_gpus(requirement)
}

buying contains pool.name if {
	some pool in pools
	can_buy(constraints[pool.name])
}

can_buy(wanted) if {
	some labels in array.concat(data.types, unlisted(wanted))
	every requirement in wanted {
		admits(requirement, labels)
	}
}

tainted contains pool.name if {
	some pool in pools
	some taint in taints(pool, "taints")
	taint == {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}
}

# The labels that a pool gives its nodes limit what it buys, as its requirements do.
constraints[pool.name] := array.concat(required, given) if {
	some pool in pools
	required := [{"key": label(r.key), "operator": r.operator, "values": object.get(r, "values", [])} |
		some r in object.get(pool.inputs, ["spec", "template", "spec", "requirements"], [])
	]
	given := [{"key": label(key), "operator": "In", "values": [value]} |
		some key, value in object.get(pool.inputs, ["spec", "template", "metadata", "labels"], {})
	]
}

taints(pool, field) := object.get(pool.inputs, ["spec", "template", "spec", field], [])

aws := "karpenter.k8s.aws/instance-"

instance_type := "node.kubernetes.io/instance-type"

family := sprintf("%sfamily", [aws])

category := sprintf("%scategory", [aws])

old_names := {
	"beta.kubernetes.io/arch": "kubernetes.io/arch",
	"beta.kubernetes.io/os": "kubernetes.io/os",
	"beta.kubernetes.io/instance-type": instance_type,
}

label(key) := concat("", [aws, trim_prefix(key, "eks.amazonaws.com/instance-")]) if {
	startswith(key, "eks.amazonaws.com/instance-")
} else := object.get(old_names, key, key)

names_gpus(requirement) if {
	startswith(requirement.key, "karpenter.k8s.aws/instance-gpu-")
	not requirement.operator in {"NotIn", "DoesNotExist"}
}

names_gpus(requirement) if {
	requirement.key in {instance_type, family, category}
	requirement.operator == "In"
	some value in requirement.values
	looks_like_gpu(value)
}

looks_like_gpu(name) if {
	regex.match(`^(g|gr|p)([0-9]|$)`, name)
	split(name, ".")[0] != "g4ad"
}

# Types and families that the catalogue does not have, and one for each family that comes later.
unlisted(wanted) := [unlisted_labels(name) | some name in array.concat(["g0", "gr0", "p0"], unknown(wanted))]

unknown(wanted) := [value |
	some requirement in wanted
	requirement.key in {instance_type, family}
	requirement.operator == "In"
	some value in requirement.values
	not value in known
	looks_like_gpu(value)
]

known contains labels[key] if {
	some labels in data.types
	some key in {instance_type, family}
}

unlisted_labels(name) := {
	instance_type: name,
	category: regex.find_n(`^[a-z]+`, name, 1)[0],
	family: split(name, ".")[0],
	"karpenter.k8s.aws/instance-capability-flex": "false",
	"karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
}

# A label that is not known of a type may have any value.
admits(requirement, labels) if {
	startswith(requirement.key, "karpenter.k8s.aws/instance-accelerator-")
	requirement.operator in {"NotIn", "DoesNotExist"}
}

admits(requirement, labels) if {
	open_label(requirement.key, labels)
	requirement.operator != "DoesNotExist"
}

admits(requirement, labels) if {
	open_label(requirement.key, labels)
	not startswith(requirement.key, "karpenter.k8s.aws/instance-gpu-")
}

admits(requirement, labels) if {
	requirement.operator == "In"
	labels[requirement.key] in requirement.values
}

admits(requirement, labels) if {
	requirement.operator == "NotIn"
	value := labels[requirement.key]
	not value in requirement.values
}

admits(requirement, labels) if {
	requirement.operator == "Exists"
	labels[requirement.key]
}

admits(requirement, labels) if {
	requirement.operator in {"Gt", "Gte", "Lt", "Lte"}
	labels[requirement.key]
	not outside(requirement, labels[requirement.key])
}

open_label(key, labels) if {
	not startswith(key, "karpenter.k8s.aws/instance-accelerator-")
	not labels[key]
}

outside(requirement, value) if {
	bound := to_number(requirement.values[0])
	not compares(requirement.operator, to_number(value), bound)
}

compares("Gt", number, bound) if number > bound

compares("Gte", number, bound) if number >= bound

compares("Lt", number, bound) if number < bound

compares("Lte", number, bound) if number <= bound
