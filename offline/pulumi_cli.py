"""Where the real Pulumi CLI is, and the environment in which it should run.

Nothing here is needed for the credential-free preview.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Literal

Progress = Callable[[str], None]

INSTALL_TIMEOUT_S = 60.0
_VERSION_TIMEOUT_S = 20.0
# The SDK's installer waits without a limit, so it runs in a process that can be ended.
_INSTALLER = "import sys; from pulumi.automation import PulumiCommand; PulumiCommand.install(root=sys.argv[1])"


@dataclass(frozen=True)
class PulumiInstallation:
    """A Pulumi CLI that answered `pulumi version`. `version` has no leading v, such as `3.272.0`."""

    command: Path
    version: str
    source: Literal["path", "cache", "installed"]


def find_pulumi(
    cache: Path,
    progress: Progress,
    *,
    install: bool = True,
    timeout_s: float = INSTALL_TIMEOUT_S,
    installer: Sequence[str] = (sys.executable, "-c", _INSTALLER),
) -> PulumiInstallation | None:
    """The CLI on PATH, else one installed in `cache` before, else one that the SDK's installer puts there.

    The installer needs a network and is ended after `timeout_s` seconds. None when there is no CLI;
    `progress` has then been told why, in one line. `installer` is a command that takes the folder to fill.
    """
    on_path = shutil.which("pulumi")
    if on_path:
        found = _answering(Path(on_path), "path", progress)
        if found:
            return found
    root = cache / f"pulumi-{metadata.version('pulumi')}"
    binary = root / "bin" / "pulumi"
    if binary.exists():
        found = _answering(binary, "cache", progress)
        if found:
            return found
    if not install:
        return None
    progress(f"installing the Pulumi CLI {metadata.version('pulumi')} into {root}")
    problem = _install([*installer, str(root)], root, timeout_s)
    if problem:
        progress(f"the Pulumi CLI cannot be installed here: {problem}")
        return None
    return _answering(binary, "installed", progress)


def _answering(
    binary: Path, source: Literal["path", "cache", "installed"], progress: Progress
) -> PulumiInstallation | None:
    environment = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        done = subprocess.run(
            [binary, "version"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        progress(f"{binary} does not answer `pulumi version`: {_one_line(str(error))}")
        return None
    return PulumiInstallation(binary, done.stdout.strip().removeprefix("v"), source)


def _install(command: Sequence[str], root: Path, timeout_s: float) -> str | None:
    """Runs the installer; None when it succeeded, else the reason in one line."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{root}: {error.strerror}"
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        # Unbuffered, so that its last words are the last line of the log.
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return f"no answer within {timeout_s:g} s"
        finally:
            _end_group(process)
        return None if status == 0 else _last_line(log) or f"the installer ended with status {status}"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the installer and the downloads that it started: they are one process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()]
    return _one_line(lines[-1]) if lines else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def backend_environment(env: Mapping[str, str], home: Path, root: Path) -> dict[str, str]:
    """The variables to add to `env` so that the CLI has a place for its state and a key for secrets.

    Empty when the user is logged in (PULUMI_BACKEND_URL, PULUMI_ACCESS_TOKEN, or `pulumi login`, which writes
    `~/.pulumi/credentials.json`). Otherwise the state goes to `.pulumi-state` under `root`, and unless the
    user has a passphrase, one is generated there once, readable by the user only.
    Source: https://www.pulumi.com/docs/iac/cli/environment-variables/
    """
    if env.get("PULUMI_BACKEND_URL") or env.get("PULUMI_ACCESS_TOKEN") or _logged_in(env, home):
        return {}
    state = root / ".pulumi-state"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    added = {"PULUMI_BACKEND_URL": state.resolve().as_uri()}
    # An empty passphrase is a passphrase, so the question is whether the variable is set.
    if "PULUMI_CONFIG_PASSPHRASE" not in env and "PULUMI_CONFIG_PASSPHRASE_FILE" not in env:
        added["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(_passphrase_file(state.resolve()))
    return added


def _logged_in(env: Mapping[str, str], home: Path) -> bool:
    folder = Path(env["PULUMI_HOME"]) if env.get("PULUMI_HOME") else home / ".pulumi"
    try:
        credentials = json.loads((folder / "credentials.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(credentials, dict) and bool(credentials.get("current"))


def _passphrase_file(state: Path) -> Path:
    """The passphrase of this state. It is never replaced: the state's secrets cannot be read without it."""
    path = state / "passphrase"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(32))
    return path


_CREDENTIAL_VARIABLES = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def aws_credentials_present(env: Mapping[str, str], home: Path | None = None) -> bool:
    """True when the AWS SDK would find something to try: keys, a profile, a web identity or a container role.

    Nothing is verified and nothing is asked over a network, so instance roles (which only the metadata
    service can tell of) are not seen: set AWS_PROFILE there.
    Source of the order and names: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
    """
    if env.get("AWS_ACCESS_KEY_ID") and env.get("AWS_SECRET_ACCESS_KEY"):
        return True
    if env.get("AWS_WEB_IDENTITY_TOKEN_FILE") and env.get("AWS_ROLE_ARN"):
        return True
    if any(env.get(name) for name in _CREDENTIAL_VARIABLES):
        return True
    folder = (home or Path.home()) / ".aws"
    shared = Path(env.get("AWS_SHARED_CREDENTIALS_FILE") or folder / "credentials")
    config = Path(env.get("AWS_CONFIG_FILE") or folder / "config")
    return _mentions(shared, ("aws_access_key_id", "credential_process")) or _mentions(
        config, ("aws_access_key_id", "credential_process", "sso_", "role_arn", "login_session")
    )


def _mentions(path: Path, keys: Sequence[str]) -> bool:
    """True when a line of the file sets one of `keys` (a config file may hold a region alone)."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.strip().startswith(tuple(keys)) for line in lines)
