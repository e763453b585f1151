"""Recordings of this project's stacks, each made once, and pools and settings from a few words."""

import copy
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gpuslice.catalog.prices import on_demand
from gpuslice.load import load_settings
from gpuslice.pools import Pool
from gpuslice.settings import Settings
from offline import Recording, record
from offline.preview import StackRecording, engine_config, judged, record_stack

ROOT = Path(__file__).resolve().parents[1]
STACKS = ("local", "dev", "prod")
SHARED = {"name": "t4-shared", "instanceTypes": ["g4dn.xlarge"], "sharing": {"mode": "time-slicing", "replicas": 4}}
MIG = {"name": "a100-mig", "instanceTypes": ["p4d.24xlarge"], "sharing": {"mode": "mig", "layout": {"1g.5gb": 7}}}
PRICES = on_demand("us-east-1")
WHOLE = {"name": "h100-whole", "instanceTypes": ["p5.48xlarge"], "sharing": {"mode": "exclusive"}}


@cache
def recorded(stack: str, unknowns: bool = False) -> StackRecording:
    """A stack of this project as its program registers it."""
    return record_stack(ROOT, stack, unknowns=unknowns)


@cache
def previewed(stack: str) -> StackRecording:
    """The same as in a first preview, judged by the policy pack."""
    return judged(ROOT, stack, unknowns=True)


def config_of(sections: Mapping[str, Any], region: str = "us-east-1") -> dict[str, Any]:
    """`{"pools": [...]}` as a stack's configuration, full keys to data."""
    return {"aws:region": region} | {f"gpu-slicing:{name}": copy.deepcopy(data) for name, data in sections.items()}


def run(config: Mapping[str, Any], stack: str = "prod", *, unknowns: bool = False, **options: Any) -> Recording:
    """The whole program on a configuration."""
    return record(ROOT, project="gpu-slicing", stack=stack, config=engine_config(config), preview=unknowns, **options)


def stack_of(*pools: Mapping[str, Any], stack: str = "prod", **sections: Any) -> Settings:
    """The settings of a stack with these pools."""
    return load_settings(config_of({"pools": list(pools), **sections}), stack)


def pool(base: Mapping[str, Any] = SHARED, **changes: Any) -> Pool:
    """One pool, derived: `base` with changes."""
    return pools({**base, **changes})[0]


def pools(*given: Mapping[str, Any]) -> list[Pool]:
    return [Pool.of(p) for p in stack_of(*given).pools]


def multiset(objects: Iterable[Any]) -> Counter[str]:
    """For comparing lists of data whose order means nothing."""
    return Counter(json.dumps(o, sort_keys=True) for o in objects)
