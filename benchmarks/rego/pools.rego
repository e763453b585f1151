package main

import data.karpenter

deny contains {"msg": "lacks the GPU taint", "rule": "gpu-pool-taint", "resource": name} if {
	some name in (karpenter.asking & karpenter.buying) - karpenter.tainted
}

deny contains {"msg": "may buy GPUs", "rule": "general-pool-excludes-gpus", "resource": name} if {
	some name in (karpenter.buying - karpenter.asking) - karpenter.tainted
}

deny contains {"msg": "has a taint twice", "rule": "distinct-taints", "resource": pool.name} if {
	some pool in karpenter.pools
	taints := array.concat(karpenter.taints(pool, "taints"), karpenter.taints(pool, "startupTaints"))
	some i, first in taints
	some j, second in taints
	i < j
	first.key == second.key
	first.effect == second.effect
}

deny contains {"msg": "lacks limits.nodes", "rule": "gpu-pool-has-limits", "resource": pool.name} if {
	some pool in gpu_pools
	object.get(pool.inputs.spec, ["limits", "nodes"], null) == null
}

deny contains {"msg": "lacks a limit of its GPUs", "rule": "gpu-pool-has-limits", "resource": pool.name} if {
	some pool in gpu_pools
	limits := object.get(pool.inputs.spec, "limits", {})
	count([name | some name, limit in limits; startswith(name, "nvidia.com/"); limit != null]) == 0
}

gpu_pools := [pool |
	some pool in karpenter.pools
	pool.name in karpenter.buying & (karpenter.asking | karpenter.tainted)
]
