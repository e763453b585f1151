"""The pack on files, without an engine: for GitOps and for the pull requests of other repositories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from policies.config import ConfigError
from policies.judge import Judge
from policies.load import load, preview_changes
from policies.pack import RULES
from policies.report import Report, Violation


def check(paths: Iterable[Path], config: Path | None) -> tuple[Report, list[str]]:
    """The verdict on everything in the paths, and what in them was skipped.

    Raises LoadError for files that cannot be judged, ConfigError for the configuration, and OSError.
    """
    judge = Judge(RULES, read_config(config) if config else {})
    loaded = load(paths)
    verdicts = judge.all(loaded.resources) + judge.changes(loaded.changes)
    report = Report(len(RULES), len(loaded.resources), tuple(Violation.of(v) for v in verdicts))
    return report, loaded.skipped


def judge_changes(preview: Mapping[str, Any], config: Path | None) -> Report:
    """The verdict of the rules on changes over what `pulumi preview --json` printed."""
    judge = Judge(RULES, read_config(config) if config else {})
    changes = preview_changes(preview["steps"])
    rules = [rule for rule in RULES if rule.scope == "change"]
    return Report(len(rules), len(changes), tuple(Violation.of(v) for v in judge.changes(changes)))


def check_config(config: Path | None) -> None:
    """Raises ConfigError, with every problem, for a configuration that the pack would refuse."""
    Judge(RULES, read_config(config) if config else {})


def read_config(path: Path) -> Any:
    """The configuration file as data. Raises ConfigError where it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
