"""Which container runtime an AL2023 node uses by default, as far as its user data says it.

Sources: aws/karpenter-provider-aws v1.14.1 (pkg/providers/amifamily/bootstrap: MIME archive, NodeConfig or shell) and
awslabs/amazon-eks-ami (nodeadm/internal/containerd/config.go: which schema of containerd the configuration is in).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from email import message_from_string
from typing import Any

import yaml

from policies.model import Item
from policies.view import View

NODE_CONFIG = "application/node.eks.aws"
_ARCHIVE_STARTS = ("MIME-Version:", "Content-Type:")
_NEW_PLUGINS = ("io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime")
_RUNTIME_PLUGIN, _OLD_PLUGIN = _NEW_PLUGINS[1], "io.containerd.grpc.v1.cri"


def default_runtime(node_class: Item) -> str:
    """The runtime that the user data names, "" where it leaves the image's. Of several parts the last one counts."""
    named = [_runtime(text) for text in _node_configs(node_class.data.at("spec", "userData").text())]
    return next((name for name in reversed(named) if name), "")


def _node_configs(user_data: str) -> Iterator[str]:
    """The NodeConfig documents; Karpenter takes their text as it stands, whatever its transfer encoding."""
    if not user_data.lstrip().startswith(_ARCHIVE_STARTS):
        yield user_data
        return
    for part in message_from_string(user_data.lstrip()).walk():
        if part.get_content_type() == NODE_CONFIG:
            yield str(part.get_payload())


def _runtime(node_config: str) -> str:
    text = _loaded(node_config).at("spec", "containerd", "config").text()
    # nodeadm takes a configuration without the new names for one in the old schema, and migrates it.
    plugin = _RUNTIME_PLUGIN if any(name in text for name in _NEW_PLUGINS) else _OLD_PLUGIN
    return View(_table(text)).at("plugins", plugin, "containerd", "default_runtime_name").text()


def _loaded(text: str) -> View:
    """The document, nothing where it is a shell script."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    return View(found if isinstance(found, dict) else None, "userData")


def _table(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}
