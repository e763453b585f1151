"""Answers to `gpuslice mig`: where the instances of a layout go on a GPU, and which layouts fill it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpuslice.catalog import UnknownGpu, gpu_models, instance_types, mig_gpus, mig_profiles
from gpuslice.fields import nearest
from gpuslice.sharing.mig import MigLayoutError, layout_name, maximal_layouts, place


@dataclass(frozen=True)
class Report:
    """The same answer for a person and for a program; `placeable` decides the exit code."""

    text: str
    data: dict[str, Any]
    placeable: bool


def gpu_name(given: str) -> str:
    """The catalogue's name of a GPU that was given in any case. Raises UnknownGpu, with the nearest name."""
    by_name = {name.lower(): name for name in mig_gpus()}
    if given.lower() not in by_name:
        model = gpu_models().get(given.lower())
        why = "has no MIG" if model is not None and model.mig_status == "none" else "is not a GPU with MIG profiles"
        close = [name for name in mig_gpus() if name.lower().startswith(given.lower())] or [nearest(given, mig_gpus())]
        hint = f" Did you mean {' or '.join(close)}?" if close[0] else ""
        raise UnknownGpu(f"{given} {why}. Allowed: {', '.join(mig_gpus())}.{hint}")
    return by_name[given.lower()]


def parse_layout(profiles: Sequence[str]) -> dict[str, int]:
    """`3g.20gb 1g.5gb=4` as counts by profile. Raises MigLayoutError for a count that is not a whole number."""
    counts: Counter[str] = Counter()
    for text in profiles:
        name, equals, count = text.partition("=")
        if equals and not count.isdecimal():
            raise MigLayoutError(f"{text}: the count is not a whole number; write a profile as 1g.5gb or 1g.5gb=3")
        counts[name] += int(count) if equals else 1
    return dict(counts)


def placement_report(given: str, profiles: Sequence[str]) -> Report:
    gpu, layout = gpu_name(given), parse_layout(profiles)
    try:
        instances = place(gpu, layout)
    except MigLayoutError as error:
        data = {"gpu": gpu, "layout": layout, "placeable": False, "reason": str(error)}
        return Report(f"not placeable: {error}", data, False)
    rows = [{"profile": i.profile.name, "start": i.start, "memorySlices": i.profile.memory_slices} for i in instances]
    lines = [f"placeable on {gpu}; as a node label: nvidia.com/mig.config={layout_name(gpu, layout)}"]
    lines += [f"  {i.profile.name:<12} memory {_slices(i.start, i.stop - 1)}" for i in instances]
    return Report(
        "\n".join([*lines, *_warnings(gpu)]),
        _facts(gpu) | {"layout": layout, "placeable": True, "instances": rows},
        True,
    )


def layouts_report(given: str) -> Report:
    """The layouts to which no instance can be added."""
    gpu = gpu_name(given)
    found = maximal_layouts(gpu)
    lines = [f"{gpu}: {len(found)} layouts that leave no room for another instance", *map(_one_line, found)]
    profiles = [p.name for p in mig_profiles(gpu).values()]
    data = _facts(gpu) | {"profiles": profiles, "layouts": [dict(layout) for layout in found]}
    return Report("\n".join([*lines, *_warnings(gpu)]), data, True)


def _slices(first: int, last: int) -> str:
    return f"slice {first}" if first == last else f"slices {first} to {last}"


def _one_line(layout: Mapping[str, int]) -> str:
    return "  " + ", ".join(f"{count} x {name}" for name, count in layout.items())


def _facts(gpu: str) -> dict[str, Any]:
    models = [m for m in gpu_models().values() if m.mig_gpu == gpu]
    types = [t.name for t in instance_types().values() if t.gpu in models]
    return {"gpu": gpu, "instanceTypes": types, "mig": models[0].mig_status if models else "not on EC2"}


def _warnings(gpu: str) -> list[str]:
    facts = _facts(gpu)
    if facts["mig"] == "supported":
        return [f"EC2: {', '.join(facts['instanceTypes'])}"]
    return [f"Note: MIG on this GPU is {facts['mig']}: a stack that asks for it is refused."]
