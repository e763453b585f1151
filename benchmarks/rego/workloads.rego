package main

template := ["spec", "template", "spec"]

pod_specs := {
	"kubernetes:core/v1:Pod": ["spec"],
	"kubernetes:core/v1:PodTemplate": ["template", "spec"],
	"kubernetes:core/v1:ReplicationController": template,
	"kubernetes:apps/v1:Deployment": template,
	"kubernetes:apps/v1:ReplicaSet": template,
	"kubernetes:apps/v1:StatefulSet": template,
	"kubernetes:apps/v1:DaemonSet": template,
	"kubernetes:batch/v1:Job": template,
	"kubernetes:batch/v1:CronJob": ["spec", "jobTemplate", "spec", "template", "spec"],
}

# Each workload once, with the GPU resources of each of its containers.
workloads := [workload |
	some resource in input.resources
	spec := object.get(resource.inputs, pod_specs[resource.type], {})
	containers := [container |
		some kind in ["initContainers", "containers", "ephemeralContainers"]
		some given in object.get(spec, kind, [])
		container := {"gpus": gpus(given), "init": kind == "initContainers", "stays": stays(kind, given)}
	]
	workload := {
		"name": resource.name,
		"namespace": object.get(resource.inputs, ["metadata", "namespace"], "default"),
		"tolerates": tolerates_gpu_taint(spec),
		"containers": containers,
		"asked": {name | some container in containers; some name, _ in container.gpus},
	}
]

gpus(container) := {name: number |
	some part in ["requests", "limits"]
	some name, _ in object.get(container, ["resources", part], {})
	startswith(name, "nvidia.com/")
	number := max([quantity(container.resources[p][name]) | some p in ["requests", "limits"]])
	number != 0
}

quantity(given) := units.parse(sprintf("%v", [given]))

stays("initContainers", container) := object.get(container, "restartPolicy", "") == "Always"

stays(kind, _) := true if kind != "initContainers"

is_slice(name) if name == "nvidia.com/gpu.shared"

is_slice(name) if startswith(name, "nvidia.com/mig-")

tolerates_gpu_taint(spec) if {
	some toleration in object.get(spec, "tolerations", [])
	object.get(toleration, "effect", "") in {"", "NoSchedule"}
	object.get(toleration, "key", "") in {"", "nvidia.com/gpu"}
	matches(toleration)
} else := false

matches(toleration) if toleration.operator == "Exists"

matches(toleration) if {
	object.get(toleration, "operator", "") in {"", "Equal"}
	toleration.key == "nvidia.com/gpu"
	toleration.value == "true"
}

deny contains {"msg": "tolerates the taint, asks for no GPU", "rule": "gpu-toleration-needs-gpu", "resource": w.name} if {
	some w in workloads
	w.tolerates
	count(w.asked) == 0
	not w.namespace in {"gpu-operator", "kube-system"}
}

deny contains {"msg": "does not tolerate the taint", "rule": "gpu-workload-tolerates-taint", "resource": w.name} if {
	some w in workloads
	count(w.asked) > 0
	not "nvidia.com/gpu" in w.asked
	not w.tolerates
}

deny contains {"msg": "asks for several slices", "rule": "one-slice-per-container", "resource": w.name} if {
	some w in workloads
	some container in w.containers
	some name, number in container.gpus
	is_slice(name)
	number != 1
}

deny contains {"msg": "holds several slices at a time", "rule": "one-slice-per-pod", "resource": w.name} if {
	some w in workloads
	some name in w.asked
	is_slice(name)
	some i, container in w.containers
	container.gpus[name]
	count([j | some j, other in w.containers; other.gpus[name]; at_once(i, container, j, other)]) > 1
}

# Counted at the last of those that run together: an init container runs beside those before it that stay.
at_once(i, _, i, _)

at_once(i, _, j, other) if {
	j < i
	other.stays
}
