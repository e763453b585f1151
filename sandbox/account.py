"""The simulated AWS account and machines as the rest of the sandbox sees them: what to ask, and how to start them.

Light on purpose: moto and boto3, which take seconds to import, live in the simulator's own process.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sandbox import SandboxError
from sandbox.processes import wait_for
from sandbox.state import Sandbox

SIMULATOR = "simulator"
ADDRESS_FILE = "simulator.json"

# What every client of the simulated account uses, Karpenter included.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox"}

_START_SECONDS = 60
_REQUEST_SECONDS = 60


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Subnet(_Data):
    cidr: str
    zone: str
    tags: dict[str, str] = Field(default_factory=dict)


class SecurityGroup(_Data):
    name: str
    tags: dict[str, str] = Field(default_factory=dict)


class CapacityReservation(_Data):
    id: str
    instance_type: str
    zone: str
    count: int = Field(ge=1)
    kind: str = Field(default="default", pattern="^(default|capacity-block)$")
    tags: dict[str, str] = Field(default_factory=dict)


class GpuStack(_Data):
    """What the ClusterPolicy's values say; the node simulator reads its configuration where these point."""

    namespace: str = "gpu-operator"
    plugin_config_map: str | None = None
    plugin_default: str = ""
    mig_config_map: str | None = None
    mig_strategy: str = "none"


class SeedRequest(_Data):
    """What a stack declares of AWS. `instance_types` empty means every type of the catalogue."""

    cluster_name: str
    kubernetes_version: str
    region: str
    vpc_cidr: str
    subnets: tuple[Subnet, ...] = Field(min_length=1)
    security_groups: tuple[SecurityGroup, ...] = ()
    node_role_name: str
    queue_name: str
    ami_aliases: tuple[str, ...] = ()
    instance_types: tuple[str, ...] = ()
    capacity_reservations: tuple[CapacityReservation, ...] = ()
    gpu_stack: GpuStack = GpuStack()


class SeedResult(_Data):
    """Ids in the simulated account: subnets by CIDR, security groups by name, images by SSM parameter."""

    account: str
    region: str
    endpoint: str
    vpc_id: str
    cluster_security_group_id: str
    subnet_ids: dict[str, str]
    security_group_ids: dict[str, str]
    image_ids: dict[str, str]
    queue_url: str
    node_role_arn: str


@dataclass(frozen=True)
class Simulator:
    """A running simulator: `aws` is the endpoint of the simulated AWS, `admin` the simulator's own."""

    aws: str
    admin: str

    def seed(self, request: SeedRequest) -> SeedResult:
        """Make the account hold what `request` says. Doing it twice changes nothing. Raises SandboxError."""
        return SeedResult.model_validate(self._ask("/seed", request.model_dump(mode="json")))

    def instances(self) -> list[dict[str, Any]]:
        """Every instance ever launched: id, type, state, zone, market, reservation, names, tags."""
        answer: list[dict[str, Any]] = self._ask("/instances")
        return answer

    def hold_mig(self, hold: bool) -> None:
        """Keep the MIG managers from starting, or let them: a handle on the time before MIG is applied."""
        self._ask("/mig-hold", {"hold": hold})

    def terminate(self, instance_id: str) -> None:
        """End an instance behind Karpenter's back, as a failing machine or a spot reclaim without notice does."""
        self._ask("/terminate", {"id": instance_id})

    def healthy(self) -> bool:
        try:
            self._ask("/healthz")
        except SandboxError:
            return False
        return True

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        # No proxy of the caller's environment may stand before loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(self.admin + path, data), timeout=_REQUEST_SECONDS) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise SandboxError(f"the simulator refused {path}: {_message(error)}") from None
        except (OSError, ValueError) as error:
            raise SandboxError(f"no answer from the simulator at {self.admin}: {error}") from None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)


def start(sandbox: Sandbox, arguments: Mapping[str, str] | None = None) -> Simulator:
    """The sandbox's simulator, started unless it runs. `arguments` are its options without dashes, such as
    `{"mig-delay": "5"}`. Raises SandboxError."""
    running = find(sandbox)
    if running is not None:
        return running
    file = sandbox.data_dir / ADDRESS_FILE
    file.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "sandbox.simulator", "--directory", str(sandbox.data_dir)]
    argv += ["--kubeconfig", str(sandbox.kubeconfig)]
    argv += [part for name, value in (arguments or {}).items() for part in (f"--{name}", value)]
    root = str(Path(__file__).resolve().parents[1])
    record = sandbox.spawn(SIMULATOR, argv, {"PYTHONPATH": root, "PYTHONUNBUFFERED": "1"})
    wait_for(file.exists, _START_SECONDS, "the simulator to start", watch=[record])
    addresses = json.loads(file.read_text())
    simulator = Simulator(addresses["aws"], addresses["admin"])
    sandbox.facts[SIMULATOR] = {"aws": simulator.aws, "admin": simulator.admin}
    sandbox.ports[SIMULATOR] = int(simulator.aws.rpartition(":")[2])
    sandbox.save()
    return simulator


def find(sandbox: Sandbox) -> Simulator | None:
    """The simulator that runs for this sandbox, None where none answers."""
    addresses = sandbox.facts.get(SIMULATOR)
    simulator = Simulator(addresses["aws"], addresses["admin"]) if addresses else None
    return simulator if simulator and simulator.healthy() else None
