"""The `gpuslice` command: thin. Exit codes: 0 fine, 1 the input was refused, 2 the environment failed.

Results go to standard output, progress and warnings to standard error. Everything heavy is imported by the command
that needs it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gpuslice.planner import command as planner

if TYPE_CHECKING:
    from gpuslice.settings import Settings

FINE, REFUSED, FAILED = 0, 1, 2
# By name: to import the classes would load the whole program for each command.
REFUSALS = {
    "InputError",
    "SettingsError",
    "ProgramFailed",
    "PolicyRefused",
    "PolicyConfigRefused",
    "LoadError",
    "ConfigError",
    "BaseRefused",
}
FAILURES = {"SourceFailed", "SandboxError", "EngineFailed", "PolicyPackFailed", "GitFailed"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        finished = run(options)
        sys.stdout.flush()
        return finished
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:
        # Whoever read the output has enough of it; Python would complain when it flushes the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _say(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)
    except Exception as error:
        code = _known(error)
        if code is None:
            raise
        problems = getattr(error, "problems", None)
        return _say(f"{_count(len(problems), 'problem')}:\n{error}" if problems else str(error), code)


def _known(error: Exception) -> int | None:
    """The exit code of an error whose text is meant for the user; None for a defect of this program."""
    names = {c.__name__ for c in type(error).__mro__}
    if names & REFUSALS:
        return REFUSED
    return FAILED if names & FAILURES else None


def _say(text: str, code: int) -> int:
    print(f"gpuslice: {text}", file=sys.stderr)
    return code


def _count(number: int, noun: str) -> str:
    """`1 pool`, `2 pools`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


class _Progress:
    """Lines on standard error, each with the seconds since the command began."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"[{time.monotonic() - self.start:5.1f} s] {text}", file=sys.stderr, flush=True)


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))


def _validate(options: argparse.Namespace) -> int:
    from gpuslice.problems import SettingsError
    from gpuslice.project import read_settings

    try:
        settings = read_settings(options.file)
    except SettingsError as error:
        if not options.json:
            raise
        _print_json({"errors": [p.as_json() for p in error.problems]})
        return REFUSED
    from gpuslice.pools import Pool, warnings

    for warning in warnings(Pool.of(p) for p in settings.pools):
        print(f"gpuslice: warning: {warning}", file=sys.stderr)
    if options.json:
        _print_json({"errors": []})
    else:
        pools, tenants = _count(len(settings.pools), "pool"), _count(len(settings.tenants), "tenant")
        print(f"{options.file}: fine ({pools}, {tenants})")
    return FINE


def _preview(options: argparse.Namespace) -> int:
    from gpuslice.project import project_root
    from offline import preview
    from offline.base import find_base

    base = None if options.base is None else find_base(project_root(), options.stack, options.base)
    real = options.engine == "auto" and _settings(options.stack).cluster.mode != "sandbox"
    if real and _with_engine(options.stack, "preview"):
        preview.show_costs(_settings(options.stack), base)
        return FINE
    report = preview.preview(project_root(), options.stack)
    if options.json != "-":
        preview.show(report, base)
    if options.json:
        text = json.dumps(preview.as_json(report, base), indent=2, ensure_ascii=False)
        if options.json == "-":
            print(text)
        else:
            Path(options.json).write_text(text + "\n", encoding="utf-8")
    return REFUSED if report.policies is None or report.policies.refused else FINE


def _check(options: argparse.Namespace) -> int:
    from policies.check import check

    report, skipped = check(options.paths, options.config)
    for document in skipped:
        print(f"gpuslice: skipped {document}", file=sys.stderr)
    if options.json:
        _print_json(report.as_json())
    else:
        print("\n".join(report.lines()))
    return REFUSED if report.refused else FINE


def _render(options: argparse.Namespace) -> int:
    from gpuslice.project import read_settings, stack_file
    from gpuslice.render import leftovers, write

    written = write(read_settings(stack_file(options.stack)), options.output)
    for path in written:
        print(path)
    for path in leftovers(options.output, written):
        print(f"gpuslice: {path} is of an earlier render, and no longer part of the stack", file=sys.stderr)
    return FINE


def _mig(options: argparse.Namespace) -> int:
    from gpuslice.catalog import UnknownGpu
    from gpuslice.mig_report import layouts_report, placement_report
    from gpuslice.sharing.mig import MigLayoutError

    try:
        if options.layouts or not options.profiles:
            report = layouts_report(options.gpu)
        else:
            report = placement_report(options.gpu, options.profiles)
    except (UnknownGpu, MigLayoutError) as error:
        if options.json:
            _print_json({"gpu": options.gpu, "placeable": False, "reason": str(error)})
        return _say(str(error), REFUSED)
    if options.json:
        _print_json(report.data)
    else:
        print(report.text)
    return FINE if report.placeable else REFUSED


def _schema(options: argparse.Namespace) -> int:
    from gpuslice.schema import stack_schema

    text = json.dumps(stack_schema(), indent=2, ensure_ascii=False) + "\n"
    if options.output is None:
        print(text, end="")
    else:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")
    return FINE


def _settings(stack: str) -> Settings:
    from gpuslice.project import read_settings, stack_file

    return read_settings(stack_file(stack))


def _with_engine(stack: str, command: str, *flags: str) -> bool:
    """Runs the Pulumi CLI; False where it or AWS credentials are missing, which has then been said.

    Raises PolicyRefused where the pack refuses what the command would do.
    """
    from gpuslice.project import project_root
    from offline import engine

    installation = engine.usable(stack, command, _Progress())
    if installation is not None:
        engine.run(installation, project_root(), _settings(stack), command, *flags)
    return installation is not None


def _deploy(options: argparse.Namespace, command: str) -> int:
    if _with_engine(options.stack, command, *(["--yes"] if options.yes else [])):
        return FINE
    name = {"up": "up", "destroy": "down"}[command]
    return _say(f"`{name}` of stack {options.stack} needs the Pulumi CLI and AWS credentials (see above)", FAILED)


def _up(options: argparse.Namespace) -> int:
    from gpuslice.project import project_root

    if _settings(options.stack).cluster.mode == "sandbox":
        from sandbox import local

        return local.up(project_root(), options.stack, _Progress())
    return _deploy(options, "up")


def _down(options: argparse.Namespace) -> int:
    from gpuslice.project import project_root

    if _settings(options.stack).cluster.mode == "sandbox":
        from sandbox import local

        return local.down(project_root(), _Progress())
    return _deploy(options, "destroy")


def _sandbox(options: argparse.Namespace) -> int:
    from gpuslice.project import project_root
    from sandbox import local

    root = project_root()
    if options.action == "up":
        return local.start(root, _Progress())
    if options.action == "down":
        return local.down(root, _Progress())
    return local.status(root, as_json=options.json)


class _Parser(argparse.ArgumentParser):
    """A wrong command line is the user's input: exit code 1, where argparse has 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(REFUSED, f"{self.prog}: {message}\n{self.format_usage()}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="gpuslice", description="Shared GPUs on EKS from one pool description.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    validate = _command(commands, "validate", _validate, "the errors of a stack file")
    validate.add_argument("file", type=Path, metavar="FILE", help="such as Pulumi.dev.yaml")
    validate.add_argument("--json", action="store_true", help="errors as JSON on standard output")
    preview = _command(commands, "preview", _preview, "what a stack would make, without credentials")
    _stack(preview)
    preview.add_argument("--json", metavar="FILE", help="also write JSON into FILE; with - print nothing but JSON")
    preview.add_argument(
        "--engine",
        choices=("offline", "auto"),
        default="offline",
        help="auto: `pulumi preview` where the CLI and credentials are present",
    )
    preview.add_argument(
        "--base",
        metavar="REVISION|FILE",
        help="also show the change in cost: against the stack file in a revision of git, or against another file",
    )
    render = _command(commands, "render", _render, "the Kubernetes manifests of a stack as YAML files")
    _stack(render)
    render.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="made if it is not there")
    mig = _command(commands, "mig", _mig, "whether a MIG layout can be placed on a GPU, and where")
    mig.add_argument("--gpu", required=True, help="such as A100-40GB")
    mig.add_argument("profiles", nargs="*", metavar="PROFILE", help="such as 3g.20gb, or 1g.5gb=3 for three")
    mig.add_argument("--layouts", action="store_true", help="list the layouts that fill the GPU")
    mig.add_argument("--json", action="store_true", help="the answer as JSON on standard output")
    check = _command(commands, "check", _check, "the policy pack on manifests, exported states and previews")
    check.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a file, or a folder with YAML and JSON files"
    )
    check.add_argument("--config", type=Path, metavar="FILE", help="levels and options of the policies, as JSON")
    check.add_argument("--json", action="store_true", help="violations as JSON on standard output")
    planner.add_arguments(_command(commands, "plan", planner.run, "the cheapest pools for a list of workloads"))
    schema = _command(commands, "schema", _schema, "the JSON Schema of stack files, for editors")
    schema.add_argument("-o", "--output", type=Path, metavar="FILE", help="instead of standard output")
    _deployments(commands)
    return parser


def _deployments(commands: Any) -> None:
    up = _command(commands, "up", _up, "deploy a stack: into the sandbox, or with the Pulumi CLI")
    down = _command(commands, "down", _down, "take a stack away again")
    for command in (up, down):
        _stack(command, "local")
        command.add_argument("--yes", action="store_true", help="do not ask: for use without a terminal")
    sandbox = _command(commands, "sandbox", _sandbox, "the local control plane alone")
    sandbox.add_argument("action", choices=("up", "status", "down"))
    sandbox.add_argument("--json", action="store_true", help="the status as JSON on standard output")


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def _stack(command: argparse.ArgumentParser, default: str | None = None) -> None:
    text = "such as dev, whose settings are in Pulumi.dev.yaml" + (f" (default: {default})" if default else "")
    command.add_argument("--stack", required=default is None, default=default, metavar="NAME", help=text)


if __name__ == "__main__":
    sys.exit(main())
