"""The policy pack on 500 resources: alone, beside the Pulumi SDK's own server, and beside conftest."""

from __future__ import annotations

import json
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import resources
from benchmarks.engines import REGO_RULES, Conftest, Found, Questions, conftest_version, sdk_server
from benchmarks.timing import RUNS, command, process, seconds
from policies.check import check
from policies.judge import Judge
from policies.load import load
from policies.pack import RULES
from policies.server import Analyzer
from sandbox import SandboxError

ASKED = tuple(rule for rule in RULES if rule.scope != "change")
"""Those that an engine can ask for: the others need what a resource was."""


@dataclass(frozen=True)
class Files:
    """What every engine reads, and the configuration that leaves the pack the rules that Rego says again."""

    folder: Path
    compliant: Path
    violating: Path
    empty: Path
    config: Path

    @classmethod
    def written(cls, folder: Path) -> Files:
        some = {"all": "disabled", **dict.fromkeys(REGO_RULES, "mandatory")}
        contents = {
            "compliant": resources.document(resources.compliant()),
            "violating": resources.document(resources.violating()),
            "empty": resources.document([]),
            "config": json.dumps(some),
        }
        paths = {name: folder / f"{name}.json" for name in contents}
        for name, path in paths.items():
            path.write_text(contents[name], encoding="utf-8")
        return cls(folder, **paths)


def main() -> None:
    print(f"\nPolicies on {resources.COUNT} resources, best of {RUNS} (target: all rules under 1 s in process)")
    with tempfile.TemporaryDirectory() as folder:
        files = Files.written(Path(folder))
        servers(files)
        checks(files)


def servers(files: Files) -> None:
    """All rules on what the engine sends for one preview, protocol buffers decoded, without gRPC."""
    wrong = load([files.violating]).resources
    agree("the SDK's server", Questions.about(wrong).ask(sdk_server(ASKED, wrong)), judged(files.violating))
    given = load([files.compliant]).resources
    questions = Questions.about(given)
    ours, theirs, judge = Analyzer(ASKED), sdk_server(ASKED, given), Judge(ASKED)
    print(f"  {len(ASKED)} rules in process, on the engine's messages")
    yardstick = seconds(lambda: questions.ask(ours))
    row("this pack's server", yardstick, yardstick)
    row("judging alone, the messages decoded before", seconds(lambda: judge.all(given)), yardstick)
    row("the Pulumi SDK's server, the same rules", seconds(lambda: questions.ask(theirs)), yardstick)


def checks(files: Files) -> None:
    """The same file, read and judged, by commands and in process."""
    try:
        conftest = Conftest.built(files.folder, progress)
    except SandboxError as error:
        print(f"  conftest is left out: {textwrap.shorten(str(error), 300)}")
        return
    for file in (files.compliant, files.violating):
        agree("conftest", conftest.judge(file), judged(file, files.config))
    print(f"  a JSON file, commands from start to end; {len(REGO_RULES)} rules in Rego")
    whole = seconds(process(*conftest.arguments(files.compliant)))
    row(f"conftest {conftest_version()}", whole, whole)
    ours = ("-m", "gpuslice.cli", "check", str(files.compliant))
    row(f"gpuslice check, the same {len(REGO_RULES)}", seconds(command(*ours, "--config", str(files.config))), whole)
    row(f"gpuslice check, all {len(RULES)}", seconds(command(*ours)), whole)
    print("  the same without starting: reading the file and judging")
    without = whole - seconds(process(*conftest.arguments(files.empty)))
    row("conftest, less its time on an empty file", without, without)
    some, every = (seconds(partial(check, [files.compliant], config)) for config in (files.config, None))
    row(f"this pack, the same {len(REGO_RULES)}", some, without)
    row(f"this pack, all {len(RULES)}", every, without)


def judged(file: Path, config: Path | None = None) -> Found:
    """What the pack finds in a file."""
    given = json.loads(config.read_text(encoding="utf-8")) if config else {}
    verdicts = Judge(RULES, given).all(load([file]).resources)
    return {(verdict.rule.id, verdict.urn.rpartition("::")[2]) for verdict in verdicts}


def agree(engine: str, found: Found, expected: Found) -> None:
    """Engines that do not find the same do not do the same work, and a ratio between them says nothing."""
    if found != expected:
        raise SystemExit(
            f"{engine} finds {sorted(found - expected)} more and {sorted(expected - found)} less than the pack"
        )


def row(label: str, taken: float, yardstick: float) -> None:
    print(f"    {label:<46} {taken:7.3f} s   {taken / yardstick:6.2f}")


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
