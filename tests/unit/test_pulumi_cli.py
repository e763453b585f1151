"""Finding the Pulumi CLI with stand-ins for it and for its installer, and the environment it runs in."""

import os
import stat
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlparse

import psutil
import pulumi
import pytest

from offline.pulumi_cli import aws_credentials_present, backend_environment, find_pulumi

VERSION = pulumi._version.version
CREDENTIALS = '{"current": "https://api.pulumi.com", "accounts": {}}'


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def on_path(tmp_path, monkeypatch) -> Path:
    """An empty folder that comes first on PATH; nothing else on PATH holds a `pulumi`."""
    folder = tmp_path / "path"
    folder.mkdir()
    others = [p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "pulumi").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), *others]))
    return folder


@pytest.fixture
def said() -> list[str]:
    return []


def cached(cache: Path) -> Path:
    return cache / f"pulumi-{VERSION}" / "bin" / "pulumi"


def installer(body: str) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import sys, time, os\nfrom pathlib import Path\nroot = Path(sys.argv[1])\n{body}")


WORKING_INSTALLER = installer(
    "binary = root / 'bin' / 'pulumi'\n"
    "binary.parent.mkdir(parents=True)\n"
    "binary.write_text('#!/bin/sh\\necho v3.0.1')\n"
    "binary.chmod(0o755)"
)
MUST_NOT_RUN = installer("raise SystemExit('the installer ran')")


class TestFinding:
    def test_the_one_on_path_wins(self, on_path, tmp_path, said):
        mine = script(on_path / "pulumi", "echo v3.250.1")
        script(cached(tmp_path), "echo v3.1.0")
        found = find_pulumi(tmp_path, said.append, installer=MUST_NOT_RUN)
        assert found is not None
        assert (found.command, found.version, found.source) == (mine, "3.250.1", "path")
        assert said == []

    def test_then_the_one_in_the_cache(self, on_path, tmp_path, said):
        binary = script(cached(tmp_path), "echo v3.1.0")
        found = find_pulumi(tmp_path, said.append, installer=MUST_NOT_RUN)
        assert found is not None
        assert (found.command, found.version, found.source) == (binary, "3.1.0", "cache")

    def test_a_broken_one_is_named_and_passed_over(self, on_path, tmp_path, said):
        script(on_path / "pulumi", "exit 7")
        script(cached(tmp_path), "echo v3.1.0")
        found = find_pulumi(tmp_path, said.append, installer=MUST_NOT_RUN)
        assert found is not None
        assert found.source == "cache"
        assert len(said) == 1
        assert "does not answer" in said[0]
        assert str(on_path / "pulumi") in said[0]

    def test_then_the_installer_fills_the_cache(self, on_path, tmp_path, said):
        found = find_pulumi(tmp_path, said.append, installer=WORKING_INSTALLER)
        assert found is not None
        assert (found.command, found.version, found.source) == (cached(tmp_path), "3.0.1", "installed")
        again = find_pulumi(tmp_path, said.append, installer=MUST_NOT_RUN)
        assert again is not None
        assert again.source == "cache"

    def test_the_installer_can_be_left_out(self, on_path, tmp_path, said):
        assert find_pulumi(tmp_path, said.append, install=False, installer=MUST_NOT_RUN) is None
        assert said == []


class TestInstallerFails:
    def test_its_last_line_says_why(self, on_path, tmp_path, said):
        broken = installer("print('Traceback ...')\nraise OSError('no route to host')")
        assert find_pulumi(tmp_path, said.append, installer=broken) is None
        assert said[-1] == "the Pulumi CLI cannot be installed here: OSError: no route to host"
        assert "\n" not in said[-1]

    def test_one_that_says_nothing(self, on_path, tmp_path, said):
        assert find_pulumi(tmp_path, said.append, installer=installer("sys.exit(4)")) is None
        assert said[-1].endswith("the installer ended with status 4")

    def test_one_that_hangs_is_ended_with_its_children(self, on_path, tmp_path, said):
        hanging = installer(
            "import subprocess\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            "(root / 'child').write_text(str(child.pid))\n"
            "time.sleep(600)"
        )
        start = time.monotonic()
        assert find_pulumi(tmp_path, said.append, timeout_s=3, installer=hanging) is None
        assert time.monotonic() - start < 60
        assert said[-1].endswith("no answer within 3 s")
        child = int((cached(tmp_path).parents[1] / "child").read_text())
        assert ended(child)

    def test_a_cache_that_cannot_be_written(self, on_path, tmp_path, said):
        (tmp_path / "file").write_text("")
        assert find_pulumi(tmp_path / "file", said.append, installer=MUST_NOT_RUN) is None
        assert "cannot be installed here" in said[-1]

    def test_an_installer_that_leaves_nothing(self, on_path, tmp_path, said):
        assert find_pulumi(tmp_path, said.append, installer=installer("")) is None
        assert "does not answer" in said[-1]


def ended(pid: int) -> bool:
    """Waits until the process is gone; a killed orphan may stay a zombie until its new parent reads it."""
    try:
        process = psutil.Process(pid)
        for _ in range(500):
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            time.sleep(0.01)
    except psutil.NoSuchProcess:
        return True
    return False


class TestBackend:
    @pytest.mark.parametrize("key", ["PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"])
    def test_a_login_by_variable_is_left_alone(self, key, tmp_path):
        assert backend_environment({key: "x"}, tmp_path, tmp_path) == {}
        assert list(tmp_path.iterdir()) == []

    def test_a_login_by_command_is_left_alone(self, tmp_path):
        (tmp_path / ".pulumi").mkdir()
        (tmp_path / ".pulumi" / "credentials.json").write_text(CREDENTIALS)
        assert backend_environment({}, tmp_path, tmp_path) == {}

    def test_pulumi_home_moves_the_credentials(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "credentials.json").write_text(CREDENTIALS)
        assert backend_environment({"PULUMI_HOME": str(tmp_path / "elsewhere")}, tmp_path, tmp_path) == {}

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"current": ""}', '{"accounts": {}}'])
    def test_credentials_without_a_login_do_not_count(self, text, tmp_path):
        (tmp_path / ".pulumi").mkdir()
        (tmp_path / ".pulumi" / "credentials.json").write_text(text)
        assert "PULUMI_BACKEND_URL" in backend_environment({}, tmp_path, tmp_path)

    def test_a_local_backend_with_a_passphrase_of_its_own(self, tmp_path):
        root = tmp_path / "a b"
        added = backend_environment({}, tmp_path, root)
        assert unquote(urlparse(added["PULUMI_BACKEND_URL"]).path) == str(root / ".pulumi-state")
        passphrase = Path(added["PULUMI_CONFIG_PASSPHRASE_FILE"])
        assert passphrase == root / ".pulumi-state" / "passphrase"
        assert stat.S_IMODE(passphrase.stat().st_mode) == 0o600
        assert stat.S_IMODE(passphrase.parent.stat().st_mode) == 0o700
        assert len(passphrase.read_text()) >= 32

    def test_the_passphrase_stays_and_differs_between_places(self, tmp_path):
        texts = []
        for name in ("one", "one", "two"):
            added = backend_environment({}, tmp_path, tmp_path / name)
            texts.append(Path(added["PULUMI_CONFIG_PASSPHRASE_FILE"]).read_text())
        assert texts[0] == texts[1] != texts[2]

    @pytest.mark.parametrize("given", [{"PULUMI_CONFIG_PASSPHRASE": ""}, {"PULUMI_CONFIG_PASSPHRASE_FILE": "/x"}])
    def test_the_users_passphrase_is_kept(self, given, tmp_path):
        assert set(backend_environment(given, tmp_path, tmp_path)) == {"PULUMI_BACKEND_URL"}
        assert not (tmp_path / ".pulumi-state" / "passphrase").exists()


class TestCredentials:
    @pytest.mark.parametrize(
        "env",
        [
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
            {"AWS_PROFILE": "prod"},
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": "arn"},
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost/x"},
            {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"},
        ],
    )
    def test_variables(self, env, tmp_path):
        assert aws_credentials_present(env, tmp_path)

    @pytest.mark.parametrize(
        "env",
        [
            {},
            {"AWS_REGION": "us-east-1"},
            {"AWS_ACCESS_KEY_ID": "a"},
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            {"AWS_PROFILE": ""},
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"},
        ],
    )
    def test_half_of_it_is_not_enough(self, env, tmp_path):
        assert not aws_credentials_present(env, tmp_path)

    @pytest.mark.parametrize(
        ("name", "text", "present"),
        [
            ("credentials", "[default]\naws_access_key_id = a\naws_secret_access_key = b\n", True),
            ("credentials", "[default]\n# aws_access_key_id = a\n", False),
            ("config", "[default]\nregion = us-east-1\n", False),
            ("config", "[profile dev]\nsso_session = acme\n", True),
            ("config", "[profile dev]\nrole_arn = arn\nsource_profile = default\n", True),
            ("config", "[default]\ncredential_process = /bin/x\n", True),
        ],
    )
    def test_shared_files(self, name, text, present, tmp_path):
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / name).write_text(text)
        assert aws_credentials_present({}, tmp_path) is present

    def test_files_in_another_place(self, tmp_path):
        moved = tmp_path / "mine"
        moved.write_text("[default]\naws_access_key_id = a\n")
        assert aws_credentials_present({"AWS_SHARED_CREDENTIALS_FILE": str(moved)}, tmp_path)
        assert aws_credentials_present({"AWS_CONFIG_FILE": str(moved)}, tmp_path)
