"""What Kubernetes can promise: pools of equal replicas, where any pods may meet on a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gpuslice.planner.model import MILLION


def equal_pools(shares: Iterable[int], max_replicas: int) -> dict[int, tuple[int, int]]:
    """Fewest GPUs when every GPU of a pool shows the same number of replicas: replicas -> (GPUs, pods).

    The Kubernetes scheduler counts replicas and knows no shares, so any `r` pods of a pool of `r` replicas may meet: a
    pod of share `s` (millionths) may go in pools of at most `1/s` replicas, and spare slots of one pool may take pods
    that would be allowed more. ValueError: a share over one GPU or below 0, or no replica at all.

    Why one pass is exact: taken by replicas, rising, pool `r` must hold those pods, not yet held, that are allowed no
    more than `r`. With fewer GPUs they would not fit; each GPU beyond those does at least as well with one replica
    more, where it has more slots and still suits all who wait.
    """
    if max_replicas < 1:
        raise ValueError(f"replicas: {max_replicas} is below 1")
    allowed: Counter[int] = Counter()
    for share, count in Counter(shares).items():
        if not 0 <= share <= MILLION:
            raise ValueError(f"share {share}: only 0 to {MILLION} fit a GPU")
        allowed[min(max_replicas, MILLION // share) if share else max_replicas] += count
    pools, due, spare = {}, 0, 0
    waiting = allowed.total()
    for replicas in sorted(allowed):
        due = allowed[replicas] - spare
        gpus = max(0, -(-due // replicas))
        spare = gpus * replicas - due
        if gpus:
            pods = min(gpus * replicas, waiting)
            pools[replicas] = (gpus, pods)
            waiting -= pods
    return pools
