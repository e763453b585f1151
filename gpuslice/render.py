"""Writes the Kubernetes half of a stack as YAML files, for those who deploy with GitOps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gpuslice.manifests.stack import helm_values, stack_manifests
from gpuslice.pools import Pool
from gpuslice.settings import Settings

HEADER = "# Made by gpuslice render. Change the stack's settings instead of this file.\n"


class _Dumper(yaml.SafeDumper):
    """Block text for strings of several lines, so that configurations inside ConfigMaps can be read; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def dump(documents: Sequence[Mapping[str, Any]]) -> str:
    """YAML documents, keys in the order of the data."""
    return str(yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120))


def rendered(settings: Settings) -> dict[str, str]:
    """File name to text: every manifest of the stack, and the values of the charts that it needs."""
    pools = [Pool.of(p) for p in settings.pools]
    files = {name: dump(objects) for name, objects in stack_manifests(settings).items()}
    files |= {name: dump([values]) for name, values in helm_values(settings, pools).items()}
    return {name: HEADER + text for name, text in files.items()}


def write(settings: Settings, folder: Path) -> list[Path]:
    """Writes `rendered` into the folder, which is made if need be, and returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in rendered(settings).items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
