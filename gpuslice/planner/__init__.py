"""Workloads to the cheapest pools: what a GPU plan costs, saves and must not promise."""
