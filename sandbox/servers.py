"""The command lines of the control plane's servers, and the kubeconfigs they and their users read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.build import Binaries
from sandbox.certificates import Authority, KeyPair
from sandbox.processes import LOOPBACK
from sandbox.state import Sandbox

ETCD = "etcd"
API_SERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
KWOK = "kwok"

SERVERS = (ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER, KWOK)
"""In the order in which they start."""

PORTS = (*SERVERS, "etcd-peer")

# Seconds; KWOK renews each node's lease well within it, as a kubelet does (its default is 40 too).
_NODE_LEASE_SECONDS = 40

# Requests per second and burst: client-side limits (20 and 30 by default) would make a thousand pods the
# test of a limit that no real cluster of this size has.
_CLIENT_RATE = ["--kube-api-qps=500", "--kube-api-burst=1000"]


@dataclass(frozen=True)
class Credentials:
    """Everything signed for one sandbox."""

    authority: Path
    server: KeyPair
    service_accounts: KeyPair
    clients: Mapping[str, KeyPair]

    def kubeconfig(self, user: str, endpoint: str) -> dict[str, Any]:
        """A kubeconfig that names the certificates by path."""
        pair = self.clients[user]
        cluster = {"server": endpoint, "certificate-authority": str(self.authority)}
        credentials = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        context = {"cluster": "sandbox", "user": user}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "gpu-slicing-sandbox", "context": context}],
            "current-context": "gpu-slicing-sandbox",
        }


def issue(directory: Path) -> Credentials:
    """Sign everything afresh. Kubernetes' own roles know the components by these user names."""
    authority = Authority(directory)
    clients = {
        "admin": authority.client("admin", "admin", "system:masters"),
        # KWOK stands for every kubelet at once, which no narrower role of Kubernetes allows.
        KWOK: authority.client(KWOK, KWOK, "system:masters"),
        CONTROLLER_MANAGER: authority.client(CONTROLLER_MANAGER, f"system:{CONTROLLER_MANAGER}"),
        SCHEDULER: authority.client(SCHEDULER, f"system:{SCHEDULER}"),
        ETCD: authority.client(ETCD, API_SERVER),
    }
    server = authority.server("server")
    return Credentials(authority.certificate, server, authority.signing_key("service-accounts"), clients)


def kubeconfig_path(sandbox: Sandbox, user: str) -> Path:
    """Where a user's kubeconfig lies."""
    return sandbox.kubeconfig if user == "admin" else sandbox.pki_dir / f"{user}.kubeconfig"


def etcd(sandbox: Sandbox, binaries: Binaries, credentials: Credentials) -> list[str]:
    client, peer = (f"https://{LOOPBACK}:{sandbox.ports[name]}" for name in (ETCD, "etcd-peer"))
    server = credentials.server
    return [
        str(binaries.etcd),
        "--name=sandbox",
        f"--data-dir={sandbox.data_dir / ETCD}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=sandbox={peer}",
        # Other users of the machine reach loopback too, and etcd itself knows no permissions.
        "--client-cert-auth",
        f"--trusted-ca-file={credentials.authority}",
        f"--cert-file={server.certificate}",
        f"--key-file={server.key}",
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={credentials.authority}",
        f"--peer-cert-file={server.certificate}",
        f"--peer-key-file={server.key}",
        # The data does not survive a restart anyway.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(sandbox: Sandbox, binaries: Binaries, credentials: Credentials) -> list[str]:
    store = credentials.clients[ETCD]
    accounts = credentials.service_accounts
    return [
        str(binaries.kube_apiserver),
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        # The service `kubernetes` cannot have a loopback address as its endpoint, and no pod really calls it.
        "--endpoint-reconciler-type=none",
        f"--secure-port={sandbox.ports[API_SERVER]}",
        *_serving(credentials),
        f"--client-ca-file={credentials.authority}",
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        # As EKS does: a pod that asks for an extended resource tolerates the taint of that name.
        "--enable-admission-plugins=ExtendedResourceToleration",
        "--allow-privileged=true",
        f"--etcd-servers=https://{LOOPBACK}:{sandbox.ports[ETCD]}",
        f"--etcd-cafile={credentials.authority}",
        f"--etcd-certfile={store.certificate}",
        f"--etcd-keyfile={store.key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={accounts.certificate}",
        f"--service-account-signing-key-file={accounts.key}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--profiling=false",
    ]


def controller_manager(sandbox: Sandbox, binaries: Binaries, credentials: Credentials) -> list[str]:
    return [
        str(binaries.kube_controller_manager),
        *_component(sandbox, CONTROLLER_MANAGER, credentials),
        f"--service-account-private-key-file={credentials.service_accounts.key}",
        f"--root-ca-file={credentials.authority}",
        "--use-service-account-credentials=true",
        "--allocate-node-cidrs=false",
    ]


def scheduler(sandbox: Sandbox, binaries: Binaries, credentials: Credentials) -> list[str]:
    return [str(binaries.kube_scheduler), *_component(sandbox, SCHEDULER, credentials)]


def kwok(sandbox: Sandbox, binaries: Binaries) -> list[str]:
    stages = sorted(binaries.kwok_stages.glob("*.yaml"))
    return [
        str(binaries.kwok),
        f"--kubeconfig={kubeconfig_path(sandbox, KWOK)}",
        "--manage-all-nodes",
        *(f"--config={stage}" for stage in stages),
        f"--node-lease-duration-seconds={_NODE_LEASE_SECONDS}",
        f"--server-address={LOOPBACK}:{sandbox.ports[KWOK]}",
        # The port that the nodes' kubelets would have; 0 leaves it out of their status.
        "--node-port=0",
    ]


def _component(sandbox: Sandbox, name: str, credentials: Credentials) -> list[str]:
    kubeconfig = kubeconfig_path(sandbox, name)
    return [
        f"--kubeconfig={kubeconfig}",
        # Given here, it need not be looked up in the cluster, which has it only after a while.
        f"--client-ca-file={credentials.authority}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={sandbox.ports[name]}",
        *_serving(credentials),
        # One instance of each: an election only delays the start.
        "--leader-elect=false",
        *_CLIENT_RATE,
        "--profiling=false",
    ]


def _serving(credentials: Credentials) -> list[str]:
    pair = credentials.server
    return [f"--tls-cert-file={pair.certificate}", f"--tls-private-key-file={pair.key}"]
