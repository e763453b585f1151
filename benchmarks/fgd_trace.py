"""Pods and nodes in openb format, and the order in which one run's pods arrive.

The columns are those of the openb lists (Alibaba cluster trace 2023, the form used by FGD, USENIX ATC 2023).
Pods: cpu_milli, memory_mib, num_gpu, gpu_milli and, in some lists, gpu_spec (models joined by "|"; empty is any).
Nodes: sn, cpu_milli, memory_mib, gpu, model.
"""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuslice.planner.errors import InputError, shown

WHOLE = 1000
"""Thousandths in one GPU."""
MOST_GPUS = 64
"""Per node or pod: a larger number is a slip of the pen."""
MOST_ARRIVALS = 1_000_000
_MOST = 2**40
Ints = NDArray[np.int64]
_Item = TypeVar("_Item")


class PodType(NamedTuple):
    """What one pod asks for: milli CPU, MiB, GPUs, thousandths of each GPU, models it accepts (none: all)."""

    cpu: int
    memory: int
    gpus: int
    milli: int
    models: tuple[str, ...] = ()

    @property
    def demand(self) -> int:
        """Thousandths of a GPU, over all its GPUs."""
        return self.gpus * self.milli

    @property
    def shares(self) -> bool:
        return self.gpus == 1 and self.milli < WHOLE

    @property
    def request(self) -> PodType:
        """The same without memory, which no policy looks at."""
        return self._replace(memory=0)

    def accepts(self, model: str) -> bool:
        return not self.models or model in self.models


class Node(NamedTuple):
    """Milli CPU, MiB and GPUs of a node."""

    name: str
    cpu: int
    memory: int
    gpus: int
    model: str


@dataclass(frozen=True)
class _Row:
    path: Path
    line: int
    cells: dict[str, str | None]

    def refuse(self, column: str, wanted: str) -> InputError:
        value = shown(self.cells.get(column))
        return InputError([f"{self.path}, line {self.line}, column {column}: {value} is not {wanted}"])

    def text(self, column: str) -> str:
        return (self.cells.get(column) or "").strip()

    def number(self, column: str, least: int = 0, most: int = _MOST) -> int:
        text = self.text(column)
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
        if not least <= value <= most:
            limit = "" if most == _MOST else f" to {most}"
            raise self.refuse(column, f"a whole number from {least}{limit}")
        return value


def _rows(path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    """Raises InputError for a file that is no such table."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for column in columns:
                if column not in (reader.fieldnames or ()):
                    raise InputError([f"{path}, line 1: no column {column}"])
            for cells in reader:
                yield _Row(path, reader.line_num, cells)
    except OSError as error:
        raise InputError([f"{path}: {error.strerror}"]) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError([f"{path}: no CSV file in UTF-8 ({error})"]) from error


def _some(path: Path, what: str, items: list[_Item]) -> list[_Item]:
    if not items:
        raise InputError([f"{path}, line 2: there are no {what}"])
    return items


def _pod(row: _Row) -> PodType:
    gpus = row.number("num_gpu", most=MOST_GPUS)
    milli = row.number("gpu_milli", least=1, most=WHOLE) if gpus else 0
    if gpus > 1 and milli < WHOLE:
        raise row.refuse("gpu_milli", f"{WHOLE}, which a pod with several GPUs must ask for")
    # A pod without a GPU runs beside any model, as in the simulator of FGD.
    models = sorted({model for model in row.text("gpu_spec").split("|") if model}) if gpus else []
    return PodType(row.number("cpu_milli"), row.number("memory_mib"), gpus, milli, tuple(models))


def read_pods(path: Path) -> list[PodType]:
    """The pods of a list in its order. Raises InputError with the line and the column."""
    rows = _rows(path, ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli"))
    pods = _some(path, "pods", [_pod(row) for row in rows])
    if not any(pod.gpus for pod in pods):
        raise InputError([f"{path}, column num_gpu: no pod asks for a GPU"])
    return pods


def _node(row: _Row) -> Node:
    if not row.text("sn"):
        raise row.refuse("sn", "a name")
    gpus = row.number("gpu", most=MOST_GPUS)
    return Node(row.text("sn"), row.number("cpu_milli"), row.number("memory_mib"), gpus, row.text("model"))


def read_nodes(path: Path) -> list[Node]:
    """The nodes of a list in its order. Raises InputError with the line and the column."""
    nodes, lines = [], dict[str, int]()
    for row in _rows(path, ("sn", "cpu_milli", "memory_mib", "gpu", "model")):
        node = _node(row)
        if lines.setdefault(node.name, row.line) != row.line:
            raise row.refuse("sn", f"a new name: line {lines[node.name]} has it")
        nodes.append(node)
    if not any(node.gpus for node in _some(path, "nodes", nodes)):
        raise InputError([f"{path}, column gpu: no node has a GPU"])
    return nodes


@dataclass(frozen=True)
class Run:
    """One run: the pods in the order of their arrival, and the nodes in the order in which ties are broken."""

    pods: tuple[PodType, ...]
    nodes: tuple[Node, ...]

    @property
    def capacity(self) -> int:
        """Thousandths of a GPU."""
        return WHOLE * sum(node.gpus for node in self.nodes)


def arrivals(pods: Sequence[PodType], nodes: Sequence[Node], seed: int, ratio: float) -> Run:
    """The pods of the list, shuffled, then clones of random pods of it until the demand is `ratio` x the GPUs.

    As the simulator of FGD does it (its tuning ratio): the clones come after the whole list, in the order drawn, and
    the clone that would pass the mark (counted with one of its GPUs) ends the draw. A list that asks for more than
    the mark loses random pods instead. Nodes are shuffled too, since ties go to the first. The generator is Python's:
    the seeds are the numbers of theirs, the orders are not.
    """
    rng = random.Random(seed)
    order, source = list(pods), list(pods)
    rng.shuffle(order)
    mark = ratio * WHOLE * sum(node.gpus for node in nodes)
    demand = sum(pod.demand for pod in order)
    while demand > mark:
        demand -= order.pop(rng.randrange(len(order))).demand
    if len(order) == len(source):
        while demand < mark and demand + (clone := rng.choice(source)).milli <= mark:
            demand += clone.demand
            order.append(clone)
            if len(order) > MOST_ARRIVALS:
                raise InputError([f"the pods ask for too little: {MOST_ARRIVALS} do not reach {ratio:.0%} of the GPUs"])
    ties = list(nodes)
    rng.shuffle(ties)
    return Run(tuple(order), tuple(ties))


@dataclass(frozen=True)
class Mix:
    """The distinct requests of a list, memory aside, as arrays: C, of them P that share a GPU and Q that do not.

    All that a policy may know of the pods to come: how often the list has each request.
    """

    requests: tuple[PodType, ...]
    counts: Ints
    models: tuple[str, ...]

    @classmethod
    def of(cls, pods: Sequence[PodType], nodes: Sequence[Node]) -> Mix:
        counted = sorted(Counter(pod.request for pod in pods).items())
        models = tuple(sorted({node.model for node in nodes}))
        return cls(tuple(pod for pod, _ in counted), np.array([count for _, count in counted]), models)

    @cached_property
    def cpu(self) -> Ints:
        return np.array([pod.cpu for pod in self.requests])

    @cached_property
    def demand(self) -> Ints:
        return np.array([pod.demand for pod in self.requests])

    @cached_property
    def allowed(self) -> NDArray[np.bool_]:
        """(models, C)"""
        return np.array([[pod.accepts(model) for pod in self.requests] for model in self.models])

    @cached_property
    def sharing(self) -> Ints:
        """(P) which requests share a GPU."""
        return np.flatnonzero([pod.shares for pod in self.requests])

    @cached_property
    def others(self) -> Ints:
        """(Q) which requests take whole GPUs or none."""
        return np.flatnonzero([not pod.shares for pod in self.requests])

    @cached_property
    def shares(self) -> Ints:
        """(D) the distinct shares."""
        return np.unique(self.demand[self.sharing])

    @cached_property
    def share(self) -> Ints:
        """(P) which of `shares` each asks for."""
        return np.searchsorted(self.shares, self.demand[self.sharing])

    @cached_property
    def wholes(self) -> Ints:
        """(E) the distinct numbers of GPUs that the others ask for."""
        return np.unique(self.demand[self.others]) // WHOLE

    @cached_property
    def whole(self) -> Ints:
        """(Q) which of `wholes` each asks for."""
        return np.searchsorted(self.wholes, self.demand[self.others] // WHOLE)
