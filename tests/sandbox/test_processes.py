"""Child processes: detached, identified beyond their pid, ended for sure."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sandbox import SandboxError
from sandbox.processes import (
    ProcessRecord,
    alive,
    end_processes,
    free_ports,
    log_tail,
    marked,
    memory_mib,
    spawn,
    terminate,
    terminate_all,
    wait_for,
)
from sandbox.state import Sandbox

READY = "print('ready', flush=True)"
FOREVER = f"import signal; {READY}; signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}\nwhile True: signal.pause()"


def python(name: str, program: str, log_dir: Path, **env: str) -> ProcessRecord:
    record = spawn(name, [sys.executable, "-c", program], {"PATH": os.environ["PATH"], **env}, log_dir)
    if READY in program:
        wait_for(lambda: "ready" in Path(record.log).read_text(), 20, f"{name} to start", watch=[record])
    return record


def test_a_child_is_detached_and_ends_when_asked(tmp_path):
    record = python("child", FOREVER, tmp_path)
    assert alive(record)
    assert os.getsid(record.pid) == record.pid
    assert memory_mib(record) > 1
    terminate(record)
    assert not alive(record)
    assert memory_mib(record) == 0


def test_a_child_that_ignores_the_request_is_killed(tmp_path):
    record = python("stubborn", STUBBORN, tmp_path)
    terminate(record, grace=0.2)
    assert not alive(record)


def test_an_ended_child_is_dead_though_nobody_waited_for_it(tmp_path):
    record = python("brief", "pass", tmp_path)
    wait_for(lambda: not alive(record), 20, "the child to end")
    assert not psutil.pid_exists(record.pid), "a zombie is left"


def test_a_process_that_got_the_pid_of_an_old_one_is_left_alone(tmp_path):
    record = python("newcomer", FOREVER, tmp_path)
    old = replace(record, create_time=record.create_time - 3600)
    assert not alive(old)
    terminate(old, grace=0.1)
    assert alive(record), "the newcomer was ended for its pid"
    terminate(record)


def test_ending_what_is_gone_is_no_error(tmp_path):
    record = python("brief", "pass", tmp_path)
    wait_for(lambda: not alive(record), 20, "the child to end")
    terminate_all([record, record])


def test_a_child_outlives_its_parent_and_keeps_no_pipe_open(tmp_path):
    program = (
        "import sys, pathlib; from sandbox.processes import spawn;"
        f"r = spawn('orphan', [sys.executable, '-c', {FOREVER!r}], {{}}, pathlib.Path({str(tmp_path)!r}));"
        "import json; print(json.dumps(r.as_dict()))"
    )
    # communicate() reads to the end of both pipes: an inherited one would block it until the timeout.
    parent = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert parent.returncode == 0, parent.stderr
    record = ProcessRecord.from_dict(json.loads(parent.stdout))
    try:
        assert alive(record)
    finally:
        terminate(record)
    assert not alive(record)


def test_the_environment_is_exactly_the_one_given(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the user")
    record = python("env", "import os; print('AWS_SECRET_ACCESS_KEY' in os.environ, os.environ['A'])", tmp_path, A="1")
    wait_for(lambda: not alive(record), 20, "the child to end")
    assert Path(record.log).read_text().split() == ["False", "1"]


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SandboxError, match=r"cannot start ghost \(/no/such/program\): No such file"):
        spawn("ghost", ["/no/such/program"], {}, tmp_path)


def test_processes_are_found_by_their_mark(tmp_path):
    mine = python("mine", FOREVER, tmp_path, SANDBOX_TEST_MARK=str(tmp_path))
    other = python("other", FOREVER, tmp_path, SANDBOX_TEST_MARK=f"{tmp_path}-2")
    found = marked("SANDBOX_TEST_MARK", str(tmp_path))
    assert [process.pid for process in found] == [mine.pid]
    end_processes(found, 10)
    assert (alive(mine), alive(other)) == (False, True)
    terminate(other)


def test_free_ports_are_distinct_and_free():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))


def test_wait_for_returns_the_value_and_polls(tmp_path):
    answers = iter([None, 0, "", "value"])
    assert wait_for(lambda: next(answers), 20, "an answer", poll=0) == "value"


def test_wait_for_names_what_it_waited_for():
    with pytest.raises(SandboxError, match=r"waited 0\.05 s in vain for the moon"):
        wait_for(lambda: False, 0.05, "the moon", poll=0.01)


def test_wait_for_shows_the_log_of_a_process_that_died(tmp_path):
    record = python("server", "raise SystemExit('bad flag: --colour')", tmp_path)
    with pytest.raises(SandboxError) as caught:
        wait_for(lambda: False, 60, "the server", watch=[record])
    message = str(caught.value)
    assert message.startswith("server died while waiting for the server")
    assert "bad flag: --colour" in message
    assert record.log in message


def test_log_tail_shows_the_end_only(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(10_000)))
    shown = log_tail(log, lines=3)
    assert shown.splitlines() == [f"  the end of {log}:", "  | line 9997", "  | line 9998", "  | line 9999"]
    log.write_bytes(b"\xff\xfe broken \x80")
    assert "broken" in log_tail(log)
    log.write_text("")
    assert log_tail(log) == f"  ({log} is empty)"
    assert "No such file" in log_tail(tmp_path / "absent.log")


def test_the_state_comes_back_as_it_was_saved(tmp_path):
    record = ProcessRecord("etcd", 12, 34.5, ("etcd", "--a"), "/log")
    Sandbox(tmp_path, {"etcd": 1}, {"etcd": record}, {"x": [1, {"y": None}]}).save()
    loaded = Sandbox.load(tmp_path)
    assert (loaded.ports, loaded.processes, loaded.facts) == ({"etcd": 1}, {"etcd": record}, {"x": [1, {"y": None}]})
    assert loaded.state_file.stat().st_mode & 0o777 == 0o600
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_no_state_is_said_with_the_way_out(tmp_path):
    assert Sandbox.find(tmp_path) is None
    with pytest.raises(SandboxError, match="start one with `gpuslice sandbox up`"):
        Sandbox.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"version": 99}', '{"version": 1, "ports": 3, "processes": {}, "facts": {}}',
     '{"version": 1, "ports": {}, "processes": {"a": {"pid": "x"}}, "facts": {}}', "\x00"],
)  # fmt: skip
def test_a_damaged_state_is_one_clear_message(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(SandboxError, match=r"state\.json.*`gpuslice sandbox down` clears it"):
        Sandbox.find(tmp_path)


def test_spawned_children_are_recorded_and_marked(tmp_path):
    sandbox = Sandbox(tmp_path)
    record = sandbox.spawn("child", [sys.executable, "-c", FOREVER], {"B": "2"})
    try:
        assert Sandbox.load(tmp_path).processes == {"child": record}
        environment = psutil.Process(record.pid).environ()
        assert environment["GPU_SLICING_SANDBOX"] == str(tmp_path.resolve())
        assert environment["B"] == "2"
        assert Path(environment["HOME"]).is_relative_to(tmp_path)
    finally:
        os.kill(record.pid, signal.SIGKILL)
