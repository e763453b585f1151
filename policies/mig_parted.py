"""mig-parted's configuration documents: what it refuses in one, and what an entry makes of a GPU.

Source: NVIDIA/mig-parted v0.15.0, api/spec/v1 and pkg/types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gpuslice.catalog import GpuModel, InstanceType, gpu_models, mig_profiles
from policies.device_plugin import whole
from policies.mig_geometry import placeable, placeable_anywhere
from policies.model import notes
from policies.view import View
from policies.workloads import PREFIX

DISABLED = "all-disabled"
_NVIDIA = 0x10DE
_REQUIRED = ("devices", "mig-enabled")
_KEYS = (*_REQUIRED, "mig-devices", "device-filter")
# go-nvlib pkg/nvlib/device/mig_profile.go: attributes are added (+) or taken away (-), never both.
_PROFILE = re.compile(r"(\d+c\.)?\d+g\.\d+gb([+-][a-z][a-z.,]*)?")


def problems(document: View) -> Iterator[str]:
    """For what mig-parted does not read the document, and then applies no layout at all."""
    version = document["version"]
    if version.text() != "v1":
        yield f"sets {version.path} to {version.text()[:80]!r}; allowed: v1"
    for key, field in document.fields().items():
        if key not in ("version", "mig-configs"):
            yield f"sets {field.path}, which mig-parted refuses"
    configs = document["mig-configs"]
    if DISABLED not in configs.fields():
        yield f"lacks {configs[DISABLED].path}, which the operator gives nodes without a layout"
    for layout in configs.fields().values():
        yield from layout_problems(layout)


def layout_problems(layout: View) -> Iterator[str]:
    if not layout.items():
        yield f"has no entry in {layout.path}"
    for entry in layout.items():
        yield from _entry_problems(entry)


def is_valid(layout: View) -> bool:
    return not list(notes(lambda: layout_problems(layout)))


def valid_layouts(document: View) -> dict[str, View]:
    configs = document["mig-configs"].known()
    layouts = document["mig-configs"].fields() if isinstance(configs, Mapping) else {}
    return {name: layout for name, layout in layouts.items() if is_valid(layout)}


def _entry_problems(entry: View) -> Iterator[str]:
    for key, field in entry.fields().items():
        if key not in _KEYS:
            yield f"sets {field.path}, which mig-parted refuses; allowed: {', '.join(_KEYS)}"
    for key in _REQUIRED:
        if not entry[key].present:
            yield f"lacks {entry[key].path}"
    enabled = entry["mig-enabled"]
    if enabled.present and not isinstance(enabled.known(), bool):
        yield f"sets {enabled.path} to {str(enabled.known())[:80]!r}; allowed: true or false"
    yield from _device_problems(entry)
    yield from _count_problems(entry, enabled.known() is True)


def _device_problems(entry: View) -> Iterator[str]:
    devices = entry["devices"]
    if isinstance(devices.known(), str):
        if devices.text() != "all":
            yield f"sets {devices.path} to {devices.text()[:80]!r}; allowed: all, or a list of GPU numbers"
    elif any(whole(index) is None for index in devices.items()):
        yield f"sets {devices.path} to what are no GPU numbers"
    for text in _filters(entry):
        if _device_id(text) is None:
            yield f"filters by {text[:80]!r}, which is no GPU of NVIDIA; allowed: device id, then vendor, as 0x20B010DE"


def _count_problems(entry: View, enabled: bool) -> Iterator[str]:
    devices = entry["mig-devices"]
    if enabled and not devices.present:
        yield f"lacks {devices.path}"
    if not enabled and devices.fields():
        yield f"sets {devices.path}, although mig-enabled is not true"
    for name, count in devices.fields().items():
        if not _PROFILE.fullmatch(name):
            yield f"sets {count.path}, which is no MIG profile"
        number = whole(count)
        if number is None or number < 0:
            yield f"sets {count.path} to {str(count.known())[:80]!r}; allowed: a whole number, 0 or more"
    if devices.fields() and all(whole(count) == 0 for count in devices.fields().values()):
        yield f"sets every count of {devices.path} to 0"


def _filters(entry: View) -> list[str]:
    """The device filters of an entry; none where it means every GPU."""
    given = entry["device-filter"]
    return [given.text()] if isinstance(given.known(), str) and given.text() else _texts(given)


def _texts(given: View) -> list[str]:
    return [] if isinstance(given.known(), str) else given.texts()


def _device_id(text: str) -> int | None:
    """The PCI device id of a filter `<device><vendor>[:<subsystem>]`; None where it can match no GPU of NVIDIA."""
    try:
        number = int(text.partition(":")[0], 0)
    except ValueError:
        return None
    return number >> 16 if number & 0xFFFF == _NVIDIA else None


def counts(entry: View) -> dict[str, int]:
    """The instances that a valid entry makes of each GPU: profile to count."""
    found = {name: whole(count) or 0 for name, count in entry["mig-devices"].fields().items()}
    return {name: count for name, count in found.items() if count}


def resource(profile: str) -> str:
    """What the device plugin offers an instance as, under the MIG strategy `mixed`."""
    return f"{PREFIX}mig-{profile.replace('+', '.')}"


def applies(entry: View, gpu: GpuModel) -> bool:
    """Whether an entry is meant for this GPU model."""
    filters = _filters(entry)
    return not filters or _pci_id(gpu) in [_device_id(text) for text in filters]


def _pci_id(gpu: GpuModel) -> int | None:
    return int(gpu.pci_device_id, 16) if gpu.pci_device_id else None


def covered(entry: View, gpus: int) -> set[int]:
    """The numbers of the GPUs that an entry is meant for, on a node with so many."""
    if isinstance(entry["devices"].known(), str):
        return set(range(gpus))
    return set(range(gpus)) & {whole(index) for index in entry["devices"].items()}


def misplaced(entry: View) -> str:
    """What keeps a valid entry from being laid out on a GPU that it is meant for, "" where nothing does.

    A filter that names GPUs of the catalogue is judged on each of them. Otherwise one GPU that can hold it is enough.
    """
    wanted = counts(entry)
    named = {_device_id(text) for text in _filters(entry)}
    on = [g.mig_gpu for g in gpu_models().values() if g.mig_gpu and _pci_id(g) in named]
    wrong = [gpu for gpu in on if not placeable(gpu, wanted)]
    if wrong:
        return f"{spelled(wanted)} on {wrong[0]}"
    return "" if placeable_anywhere(wanted) else f"{spelled(wanted)} on any GPU"


def spelled(wanted: dict[str, int]) -> str:
    return " + ".join(f"{count} x {name}" for name, count in wanted.items())


def unfit(entries: list[View], instance_type: InstanceType) -> Iterator[str]:
    """For what valid entries do not slice every GPU of a node of this type, whose GPUs have MIG."""
    gpu, name = instance_type.gpu, instance_type.name
    meant = [entry for entry in entries if applies(entry, gpu)]
    sliced: set[int] = set()
    for entry in meant:
        numbers = covered(entry, instance_type.devices)
        sliced = sliced | numbers if counts(entry) else sliced - numbers
        if not misplaced(entry) and not placeable(str(gpu.mig_gpu), counts(entry)):
            yield f"cannot be placed on the {gpu.key} of {name}: {spelled(counts(entry))}"
    if not meant:
        yield f"has no entry for the {gpu.key} of {name}"
    elif len(sliced) < instance_type.devices:
        bare = instance_type.devices - len(sliced)
        yield f"leaves {bare} of the {instance_type.devices} GPUs of {name} without slices"


def generated() -> dict[str, View]:
    """The layouts that the MIG manager makes of the hardware where it is given none, for the GPUs with MIG on EC2."""
    layouts: dict[str, list[dict[str, object]]] = {}
    for gpu in gpu_models().values():
        if gpu.mig_status == "supported":
            for name, instances in _generated(str(gpu.mig_gpu)):
                entry = {"device-filter": f"{gpu.pci_device_id}10DE", "devices": "all", "mig-enabled": True}
                layouts.setdefault(f"all-{name}", []).append(entry | {"mig-devices": instances})
    return {name: View(entries, name) for name, entries in layouts.items()}


def _generated(mig_gpu: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Source: pkg/mig/builder: each profile as often as it fits, and a mixture of the smallest ones."""
    profiles = mig_profiles(mig_gpu)
    for profile in profiles.values():
        yield profile.name.replace("+", "."), {profile.name: profile.max_instances}
    yield "enabled", {}
    smallest: dict[int, str] = {}
    for profile in sorted(profiles.values(), key=lambda p: -p.max_instances):
        smallest.setdefault(profile.compute_slices, profile.name)
    yield "balanced", {smallest[1]: 2, smallest[2]: 1, smallest[3]: 1}
