"""The simulated world around the control plane, in one process: AWS (moto), the machines and their GPU stack.

`python -m sandbox.simulator --directory DIR` serves moto and a small administration endpoint on loopback, writes
both addresses to DIR/simulator.json once they answer, and keeps the cluster's Nodes in step with the instances
that Karpenter launched.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gpuslice import catalog
from sandbox import SandboxError, fleet, nodes
from sandbox.account import ADDRESS_FILE, SeedRequest, SeedResult
from sandbox.aws import SimulatedAws, on_demand_prices
from sandbox.client import ApiRefused, Cluster, connect
from sandbox.nodes import Delays, GpuNode, Surroundings

POLL_SECONDS = 0.3
RETRY_SECONDS = 1.0
CLAIMS = ("karpenter.sh/v1", "NodeClaim")
NODE_CLASSES = ("karpenter.k8s.aws/v1", "EC2NodeClass")
_GONE = ("terminated", "shutting-down")

log = logging.getLogger("simulator")


@dataclass
class World:
    """What the administration endpoint changes and the node loop reads."""

    aws: SimulatedAws
    delays: Delays = field(default_factory=Delays)
    seeded: SeedRequest | None = None
    hold_mig: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def seed(self, request: SeedRequest) -> SeedResult:
        with self.lock:
            result = self.aws.seed(request)
            self.seeded = request
        return result

    def terminate(self, instance_id: str) -> None:
        if self.seeded is None:
            raise SandboxError("nothing is seeded yet")
        self.aws.terminate(self.seeded.region, instance_id)

    def instances(self) -> list[dict[str, Any]]:
        return self.aws.instances(self.seeded.region) if self.seeded else []


class NodeLoop:
    """Keeps Nodes in step with instances: joins the machines, plays their GPU stack, removes the dead ones."""

    def __init__(self, world: World, cluster: Cluster) -> None:
        self.world = world
        self.cluster = cluster
        self.gpu_nodes: dict[str, GpuNode] = {}
        self._errors: dict[tuple[str, str], str] = {}

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; an API server that is away, or says no, only costs one round."""
        trouble = ""
        while not stop.wait(RETRY_SECONDS if trouble else POLL_SECONDS):
            before, trouble = trouble, ""
            try:
                self.round(time.monotonic())
            except SandboxError as error:
                trouble = str(error)
            except Exception as error:
                trouble = f"{type(error).__name__}: {error}"
                log.debug("a round failed", exc_info=True)
            if trouble and trouble != before:
                log.warning("%s; trying again", trouble)

    def round(self, now: float) -> None:
        if self.world.seeded is None:
            return
        instances = {instance["id"]: instance for instance in self.world.instances()}
        by_name = {node["metadata"]["name"]: node for node in self.cluster.list("v1", "Node")}
        for claim in self.cluster.list(*CLAIMS):
            instance = instances.get(_instance_id(claim.get("status", {}).get("providerID", "")))
            if instance and instance["state"] == "running" and instance["private_dns_name"] not in by_name:
                self._join(claim, instance, now)
        seen = self._surroundings(by_name)
        for name, node in by_name.items():
            with _one_refusal(name):
                self._keep(node, instances, now, seen)
        for name in self.gpu_nodes.keys() - by_name.keys():
            del self.gpu_nodes[name]

    def _join(self, claim: Mapping[str, Any], instance: Mapping[str, Any], now: float) -> None:
        if claim["metadata"].get("deletionTimestamp"):
            return
        name = instance["private_dns_name"]
        with _one_refusal(name):
            node_class = self._node_class(claim)
            figures = self._figures(instance["type"])
            resources = nodes.machine_resources(*figures, nodes.disk_size(node_class))
            self.cluster.create(nodes.node_manifest(claim, instance, node_class, resources))
            log.info("node %s joined: %s, %s, %s", name, instance["id"], instance["type"], instance["market"])
            self._track(name, instance["type"], node_class, now)

    def _figures(self, instance_type: str) -> tuple[int, int, int]:
        """(vCPUs, memory in MiB, pods): the catalogue's for GPU types, EC2's for the others."""
        kind = catalog.instance_types().get(instance_type)
        if kind is not None:
            return kind.vcpus, kind.memory_mib, kind.max_pods
        return self.world.aws.machine(instance_type)

    def _track(self, name: str, instance_type: str, node_class: Mapping[str, Any], now: float) -> None:
        kind = catalog.instance_types().get(instance_type)
        if kind is not None:
            user_data = nodes.bottlerocket_user_data(node_class)
            self.gpu_nodes[name] = GpuNode(kind, now, self.world.delays, user_data)

    def _node_class(self, claim: Mapping[str, Any]) -> Mapping[str, Any]:
        reference = claim["spec"]["nodeClassRef"]["name"]
        return self.cluster.get(*NODE_CLASSES, reference) or {}

    def _keep(self, node: Mapping[str, Any], instances: Mapping[str, Any], now: float, seen: Surroundings) -> None:
        name = node["metadata"]["name"]
        identifier = _instance_id(node["spec"].get("providerID", ""))
        if not identifier:
            return
        instance = instances.get(identifier)
        if instance is None or instance["state"] in _GONE:
            self._remove(node)
            return
        if name not in self.gpu_nodes:
            # A node from before this process: the GPU stack starts again, as after a reboot.
            self._track(name, instance["type"], self._node_class_of(node), now)
        gpu_node = self.gpu_nodes.get(name)
        if gpu_node is not None:
            self._play(node, gpu_node, now, seen)

    def _node_class_of(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        name = node["metadata"].get("labels", {}).get("karpenter.k8s.aws/ec2nodeclass")
        return (self.cluster.get(*NODE_CLASSES, name) if name else None) or {}

    def _play(self, node: Mapping[str, Any], gpu_node: GpuNode, now: float, seen: Surroundings) -> None:
        name = node["metadata"]["name"]
        labels = node["metadata"].get("labels", {})
        pods = partial(self._whole_gpu_pods, name)
        view = gpu_node.step(now, replace(seen, labels=labels, whole_gpu_pods=pods))
        self._tell(name, view.errors)
        if change := nodes.metadata_change(node, view):
            self.cluster.patch("v1", "Node", name, {"metadata": change})
        if status := nodes.status_change(node, view.resources):
            self.cluster.patch_status("v1", "Node", name, status)
            log.info("node %s advertises %s", name, status["capacity"])

    def _whole_gpu_pods(self, node: str) -> int:
        pods = self.cluster.list("v1", "Pod")
        return sum(pod["spec"].get("nodeName") == node and nodes.holds_whole_gpu(pod) for pod in pods)

    def _tell(self, node: str, errors: Mapping[str, str]) -> None:
        for source, text in errors.items():
            if self._errors.get((node, source)) != text:
                self._errors[node, source] = text
                log.error("node %s: %s: %s", node, source, text)

    def _remove(self, node: Mapping[str, Any]) -> None:
        """What EKS' cloud controller does: a Node whose instance is gone is deleted; Karpenter ends the finalizer."""
        if not node["metadata"].get("deletionTimestamp"):
            name = node["metadata"]["name"]
            self.cluster.delete("v1", "Node", name)
            log.info("node %s removed: its instance is gone", name)

    def _surroundings(self, by_name: Mapping[str, Any]) -> Surroundings:
        assert self.world.seeded is not None
        stack = self.world.seeded.gpu_stack
        maps = {}
        if by_name:
            for name in filter(None, (stack.plugin_config_map, stack.mig_config_map)):
                found = self.cluster.get("v1", "ConfigMap", name, stack.namespace)
                if found is not None:
                    maps[name] = found.get("data") or {}
        return Surroundings({}, stack, maps, hold_mig=self.world.hold_mig)


def _instance_id(provider_id: str) -> str:
    """`aws:///us-east-1a/i-0abc` -> `i-0abc`; empty for anything else."""
    return provider_id.rpartition("/")[2] if provider_id.startswith("aws:///") else ""


@contextmanager
def _one_refusal(name: str) -> Iterator[None]:
    """A refusal for one node (deleted meanwhile, changed by another) is retried in the next round."""
    try:
        yield
    except ApiRefused as refusal:
        if refusal.status not in (404, 409):
            log.warning("node %s: %s", name, refusal)


class Admin(BaseHTTPRequestHandler):
    """GET /healthz, /instances; POST /seed, /mig-hold {"hold"}, /terminate {"id"}, and AWS' price list at /."""

    world: World

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._answer(200, {"seeded": self.world.seeded is not None})
        elif self.path == "/instances":
            self._answer(200, self.world.instances())
        else:
            self._answer(404, {"error": f"no {self.path}"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if self.path == "/seed":
                result = self.world.seed(SeedRequest.model_validate_json(body))
                self._answer(200, result.model_dump())
            elif self.headers.get("X-Amz-Target", "").endswith(".GetProducts"):
                self._answer(200, fleet.price_list(on_demand_prices(), json.loads(body)))
            elif self.path == "/terminate":
                self.world.terminate(json.loads(body)["id"])
                self._answer(200, {})
            elif self.path == "/mig-hold":
                self.world.hold_mig = bool(json.loads(body)["hold"])
                self._answer(200, {"hold": self.world.hold_mig})
            else:
                self._answer(404, {"error": f"no {self.path}"})
        except (ValidationError, SandboxError, ValueError, KeyError, TypeError) as error:
            self._answer(400, {"error": str(error)})
        except Exception as error:
            log.exception("%s failed", self.path)
            self._answer(500, {"error": f"{type(error).__name__}: {error}"})

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def main(arguments: list[str] | None = None) -> None:
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    aws = SimulatedAws(options.aws_port)
    world = World(aws, Delays(options.labels_delay, options.plugin_delay, options.mig_delay))
    admin = ThreadingHTTPServer(("127.0.0.1", options.admin_port), type("Handler", (Admin,), {"world": world}))
    threading.Thread(target=admin.serve_forever, daemon=True).start()
    _publish(options.directory, aws.endpoint, f"http://127.0.0.1:{admin.server_port}")
    log.info("AWS at %s, administration on port %d", aws.endpoint, admin.server_port)
    NodeLoop(world, connect(options.kubeconfig or options.directory / "kubeconfig")).run(stop)
    admin.shutdown()
    aws.stop()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    defaults = asdict(Delays())
    parser = argparse.ArgumentParser(prog="python -m sandbox.simulator", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--kubeconfig", type=Path, help="default: DIRECTORY/kubeconfig")
    parser.add_argument("--aws-port", type=int, default=0)
    parser.add_argument("--admin-port", type=int, default=0)
    for name, value in defaults.items():
        parser.add_argument(f"--{name}-delay", type=float, default=value, metavar="SECONDS")
    return parser.parse_args(arguments)


def _publish(directory: Path, aws: str, admin: str) -> None:
    """Written last and in one move: whoever sees the file can use both addresses."""
    temporary = directory / f".{ADDRESS_FILE}"
    temporary.write_text(json.dumps({"pid": os.getpid(), "aws": aws, "admin": admin}))
    temporary.replace(directory / ADDRESS_FILE)


if __name__ == "__main__":
    main()
