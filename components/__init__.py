"""Component resources: thin shells that register what `gpuslice` derived. One job and one file each.

The files have no `from __future__ import annotations`: Pulumi infers a component's schema from real annotations.
"""
