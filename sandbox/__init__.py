"""A real Kubernetes control plane and the real AWS Karpenter here; AWS and the nodes are simulated."""


class SandboxError(Exception):
    """The environment failed (a build, a process, a server). The message is complete: no traceback."""
