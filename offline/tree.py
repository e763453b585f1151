"""A recording as a tree for people and as JSON for programs. Nothing here runs anything."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offline.recording import Recording, Resource
from offline.values import UNKNOWN, property_path

if TYPE_CHECKING:
    from rich.tree import Tree

SECRET_TEXT = "<secret>"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class TreeNode:
    """A resource and what has it as its parent; the root stands for the stack and has no URN."""

    type: str
    name: str
    children: tuple["TreeNode", ...] = ()
    urn: str | None = None
    read: bool = False

    def size(self) -> int:
        """The number of resources below this node."""
        return sum(1 + child.size() for child in self.children)


def resource_tree(recording: Recording) -> TreeNode:
    """The resources under `<project> <stack>` by parent, siblings in the recording's order."""
    children: dict[str | None, list[Resource]] = {}
    for resource in recording.resources:
        children.setdefault(resource.parent, []).append(resource)

    def node(resource: Resource) -> TreeNode:
        below = tuple(node(child) for child in children.get(resource.urn, ()))
        return TreeNode(resource.type, resource.name, below, resource.urn, resource.read)

    roots = tuple(node(resource) for resource in children.get(None, ()))
    return TreeNode("pulumi:pulumi:Stack", f"{recording.project} {recording.stack}", roots)


def short_type(token: str) -> str:
    """`aws:iam/role:Role` as `aws:iam:Role`: the file that the class name repeats is left out."""
    package, _, rest = token.partition(":")
    module, _, kind = rest.rpartition(":")
    head, _, last = module.rpartition("/")
    return f"{package}:{head}:{kind}" if head and last.lower() == kind.lower() else token


def to_rich(tree: TreeNode) -> "Tree":
    """`tree` for a terminal: short types, names, and how many resources each component holds."""
    from rich.text import Text
    from rich.tree import Tree

    total = tree.size()
    root = Tree(Text.assemble((tree.name, "bold"), f"  {total} resource{'' if total == 1 else 's'}"))

    def grow(branch: Tree, nodes: tuple[TreeNode, ...]) -> None:
        for node in nodes:
            label = Text.assemble((short_type(node.type), "cyan"), " ", node.name)
            if node.read:
                label.append("  (exists already)", "dim")
            if node.children:
                label.append(f"  {node.size()}", "dim")
            grow(branch.add(label), node.children)

    grow(root, tree.children)
    return root


def counts_by_package(recording: Recording) -> dict[str, int]:
    """How many resources of each provider the program creates, most first: `{"aws": 41, ...}`.

    Components of the program itself and resources that exist already are not counted.
    """
    made = [r for r in recording.resources if (r.custom or r.remote) and not r.read]
    counts = Counter(r.type.partition(":")[0] for r in made)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def to_json(recording: Recording) -> dict[str, Any]:
    """The recording as JSON data, with unknown values as `<unknown>` and secrets as `<secret>`.

    The keys of a resource: urn, type, name, parent, custom, remote, read, provider, inputs, dependencies, and
    under `options` those resource options that are set.
    """
    return {
        "schemaVersion": SCHEMA_VERSION,
        "project": recording.project,
        "stack": recording.stack,
        "preview": recording.preview,
        "resources": [_resource_json(resource) for resource in recording.resources],
        "outputs": {
            name: SECRET_TEXT if name in recording.secret_outputs else _plain(value, "", frozenset())
            for name, value in recording.outputs.items()
        },
    }


def _resource_json(resource: Resource) -> dict[str, Any]:
    options = {
        "protect": resource.protect,
        "retainOnDelete": resource.retain_on_delete,
        "deleteBeforeReplace": resource.delete_before_replace,
        "deletedWith": resource.deleted_with,
        "ignoreChanges": list(resource.ignore_changes),
        "customTimeouts": dict(resource.custom_timeouts),
        "aliases": list(resource.aliases),
    }
    return {
        "urn": resource.urn,
        "type": resource.type,
        "name": resource.name,
        "parent": resource.parent,
        "custom": resource.custom,
        "remote": resource.remote,
        "read": resource.read,
        "provider": resource.provider,
        "inputs": _plain(resource.inputs, "", resource.secret_paths),
        "dependencies": sorted(resource.dependencies),
        "options": {key: value for key, value in options.items() if value},
    }


def _plain(value: Any, path: str, secrets: frozenset[str]) -> Any:
    """`value` for JSON; `path` is where it stands among the inputs that `secrets` are paths of."""
    if path in secrets:
        return SECRET_TEXT
    if value is UNKNOWN:
        return str(UNKNOWN)
    if isinstance(value, Mapping):
        return {key: _plain(item, property_path(path, key), secrets) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [_plain(item, property_path(path, index), secrets) for index, item in enumerate(value)]
    return value
