"""Runs a Pulumi program the way the engine's language host does, with a monitor that only records.

The steps are those of `pulumi-language-python-exec` in pulumi/pulumi: set the configuration, configure the
runtime, run the program inside a stack on an event loop of its own, wait for every registration. The
runtime keeps its state in context variables, so a copied context keeps runs apart.
"""

import asyncio
import contextvars
import gc
import os
import runpy
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offline.recording import Recording, Resource, in_dependency_order

if TYPE_CHECKING:
    from offline.monitor import Engine, Monitor, Registration

Program = Path | Callable[[], Any]


class ProgramFailed(Exception):
    """The program ended with an error; its text is the program's own message, without a traceback.

    An error that the program did not mean for its user also has its class and the place of its cause in the
    text. `traceback` is the whole of it as text, for whoever mends the program. (The error itself is not
    chained: it would keep the unfinished half of the program alive.)
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


def record(
    program: Program,
    *,
    project: str,
    stack: str,
    config: Mapping[str, str] | None = None,
    preview: bool,
    stack_references: Mapping[str, Mapping[str, Any]] | None = None,
) -> Recording:
    """Runs `program` and returns what it registered.

    `program` is a folder with a `__main__.py`, or the path of such a file, or a function without arguments.
    `config` has full keys (`gpu-slicing:pools`) and the values as the engine passes them: text, with
    structures as JSON. With `preview`, what only the cloud knows is unknown, as in a first preview; without,
    all values are known and the same in every run. `stack_references` gives the outputs of other stacks by
    their name as the program writes it. Raises ProgramFailed, whose text is fit for the user.

    Not for use on a thread whose event loop is running, or on two threads at once with a path (a program
    runs with its own working folder and import path, which belong to the whole process).
    """
    from offline.monitor import Engine, Monitor  # the SDK takes 0.3 s to load

    settings = dict(config or {})
    region = settings.get("aws:region")
    monitor = Monitor(
        project,
        stack,
        preview=preview,
        stack_references=stack_references,
        **({"region": region} if region else {}),
    )
    engine = Engine()
    entry = _entry_point(program)
    with _unfinished_is_silent():
        with _collector_paused():
            failure = contextvars.copy_context().run(_run, entry, monitor, engine, settings)
            if failure is None:
                return _recording(monitor, engine)
        gc.collect()  # now, while it is silent: the unfinished half of a failed program
    raise failure


@contextmanager
def _unfinished_is_silent() -> Iterator[None]:
    """Hides the SDK's coroutines that never ran: after one failure, the rest of the graph stays unresolved."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine 'Output.* was never awaited", RuntimeWarning)
        yield


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Loading the provider packages makes a million lasting objects; collecting among them takes 0.5 s of 1.5."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _entry_point(program: Program) -> Callable[[], Any]:
    if not isinstance(program, Path):
        return program
    path = (program / "__main__.py" if program.is_dir() else program).resolve()
    if not path.is_file():
        raise ProgramFailed(f"{path} does not exist: expected a program's folder or its __main__.py")
    return lambda: _run_file(path)


def _run_file(path: Path) -> None:
    with _process_state_of(path.parent):
        sys.argv = [str(path)]
        sys.path.insert(0, str(path.parent))
        runpy.run_path(str(path), run_name="__main__")


@contextmanager
def _process_state_of(folder: Path) -> Iterator[None]:
    """Runs in `folder`; afterwards puts back the working folder, arguments, import path and modules.

    Modules that the program loaded from its own folder are forgotten, so that another program's modules of
    the same name load afresh; installed packages stay.
    """
    cwd, argv, path, modules = Path.cwd(), sys.argv, list(sys.path), set(sys.modules)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(cwd)
        sys.argv, sys.path[:] = argv, path
        _forget_modules(folder, modules)


def _forget_modules(folder: Path, before: set[str]) -> None:
    installed = str(Path(sys.prefix).resolve())
    for name in set(sys.modules) - before:
        # A package that others had loaded before stays whole: half of it afresh would give two of each class.
        origin = getattr(sys.modules[name], "__file__", None)
        if origin is None or name.partition(".")[0] in before:
            continue
        file = str(Path(origin).resolve())
        if file.startswith(f"{folder}{os.sep}") and not file.startswith(f"{installed}{os.sep}"):
            del sys.modules[name]


def _run(
    program: Callable[[], Any], monitor: "Monitor", engine: "Engine", config: Mapping[str, str]
) -> ProgramFailed | None:
    """Runs the program in the current context; how it failed, if it did."""
    from pulumi import runtime
    from pulumi.runtime.stack import run_in_stack

    runtime.set_all_config(dict(config), [])
    runtime.settings.ROOT.set(None)
    runtime.configure(
        runtime.Settings(
            project=monitor.project,
            stack=monitor.stack,
            monitor=monitor,
            engine=engine,
            dry_run=monitor.preview,
            organization="organization",
            root_directory=str(Path.cwd()),
        )
    )
    try:
        # A factory, so that the runner does not replace the calling thread's own event loop.
        with asyncio.Runner(loop_factory=_quiet_loop) as runner:
            runner.run(run_in_stack(lambda: _called(program)))
    except Exception as error:
        return ProgramFailed(_message(error), traceback.format_exc())
    return None


def _quiet_loop() -> asyncio.AbstractEventLoop:
    """A loop that does not report unread errors: after one failure the rest of the graph stays unresolved.

    The language host silences asyncio for the same reason. The first error is raised all the same.
    """
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    return loop


def _called(program: Callable[[], Any]) -> Any:
    try:
        return program()
    except SystemExit as stop:
        if stop.code in (None, 0):
            return None
        text = stop.code if isinstance(stop.code, str) else f"the program exited with status {stop.code}"
        raise ProgramFailed(text) from stop


def _message(error: BaseException) -> str:
    from pulumi import RunError

    seen: set[int] = set()  # the SDK can raise an error from itself
    while error.__cause__ is not None and id(error) not in seen and not isinstance(error, ProgramFailed):
        seen.add(id(error))
        error = error.__cause__
    if isinstance(error, RunError | ProgramFailed):
        return str(error)
    return f"{type(error).__name__}: {error}{_place(error)}"


def _place(error: BaseException) -> str:
    """` (file.py line 3)`: the innermost line that is neither an installed package's nor Python's own."""
    libraries = (sys.prefix, str(Path(os.__file__).parent))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*libraries, "<"))]
    return f" ({Path(own[-1].filename).name} line {own[-1].lineno})" if own else ""


def _recording(monitor: "Monitor", engine: "Engine") -> Recording:
    from offline import wire

    resources = in_dependency_order(_resources(monitor))
    outputs, secret_paths = wire.read(monitor.stack_outputs)
    top_level = {name for name in outputs for path in secret_paths if _is_under(path, name)}
    return Recording(
        project=monitor.project,
        stack=monitor.stack,
        preview=monitor.preview,
        resources=resources,
        outputs=dict(sorted(outputs.items())),
        secret_outputs=frozenset(top_level),
        component_outputs={urn: wire.read(struct)[0] for urn, struct in sorted(monitor.component_outputs.items())},
        messages=tuple(sorted(engine.messages)),
    )


def _is_under(path: str, name: str) -> bool:
    from offline.values import property_path

    top = property_path("", name)
    return path == top or path.startswith((f"{top}.", f"{top}["))


def _resources(monitor: "Monitor") -> Iterator[Resource]:
    """Each registration as a resource, parents before children, with what the engine lets them inherit."""
    done: dict[str, Resource] = {}
    for urn in monitor.registrations:  # the SDK registers a parent before its children
        registration = monitor.registrations[urn]
        resource = (
            _read_resource(registration, monitor) if registration.read else _new_resource(registration, monitor, done)
        )
        done[urn] = resource
        yield resource


def _parent(registration: "Registration") -> str | None:
    parent: str = registration.request.parent
    return None if not parent or parent.split("::")[2] == "pulumi:pulumi:Stack" else parent


def _dependencies(urns: Any, monitor: "Monitor") -> frozenset[str]:
    return frozenset(monitor.children[urn][0] if urn in monitor.children else urn for urn in urns)


def _outputs(registration: "Registration") -> dict[str, Any]:
    if registration.request.DESCRIPTOR.name == "RegisterResourceRequest" and registration.request.remote:
        return registration.outputs
    return {**registration.inputs, **registration.outputs}


def _read_resource(registration: "Registration", monitor: "Monitor") -> Resource:
    from offline.monitor import provider_urn

    request = registration.request
    return Resource(
        urn=registration.urn,
        type=request.type,
        name=request.name,
        parent=_parent(registration),
        inputs=registration.inputs,
        secret_paths=registration.secret_paths,
        id=registration.id,
        outputs=_outputs(registration),
        dependencies=_dependencies(request.dependencies, monitor),
        provider=provider_urn(request.provider),
        read=True,
    )


def _new_resource(registration: "Registration", monitor: "Monitor", done: Mapping[str, Resource]) -> Resource:
    from offline.monitor import provider_urn

    request, parent = registration.request, _parent(registration)
    above = done.get(parent or "")
    timeouts = {name: getattr(request.customTimeouts, name) for name in ("create", "update", "delete")}
    return Resource(
        urn=registration.urn,
        type=request.type,
        name=request.name,
        parent=parent,
        inputs=registration.inputs,
        secret_paths=registration.secret_paths,
        id=registration.id,
        outputs=_outputs(registration),
        dependencies=_dependencies(request.dependencies, monitor) - {registration.urn},
        property_dependencies={
            key: _dependencies(value.urns, monitor) for key, value in sorted(request.propertyDependencies.items())
        },
        provider=provider_urn(request.provider),
        providers={key: provider_urn(ref) or ref for key, ref in sorted(request.providers.items())},
        protect=request.protect,
        delete_before_replace=request.deleteBeforeReplace,
        deleted_with=request.deletedWith or (above.deleted_with if above else None),
        retain_on_delete=request.retainOnDelete
        if request.HasField("retainOnDelete")
        else bool(above and above.retain_on_delete),
        ignore_changes=tuple(request.ignoreChanges),
        replace_on_changes=tuple(request.replaceOnChanges),
        custom_timeouts={name: value for name, value in timeouts.items() if value},
        aliases=tuple(sorted(_alias(alias) for alias in request.aliases)),
        import_id=request.importId or None,
        custom=request.custom,
        remote=request.remote,
    )


def _alias(alias: Any) -> str:
    """An alias as a URN, or as the parts of the former URN that differ: `name=old, parent=<urn>`."""
    if alias.urn:
        return str(alias.urn)
    spec = alias.spec
    parts = {
        "name": spec.name,
        "type": spec.type,
        "stack": spec.stack,
        "project": spec.project,
        "parent": "none" if spec.noParent else spec.parentUrn,
    }
    return ", ".join(f"{key}={value}" for key, value in parts.items() if value)
