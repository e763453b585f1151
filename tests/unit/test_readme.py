"""What the documents tell a reader to type exists, and the figures that they show are those of the program."""

import argparse
import ast
import contextlib
import io
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from gpuslice import cli, docs
from gpuslice.load import load_settings
from gpuslice.pools import Pool
from gpuslice.project import read_settings, stack_file
from gpuslice.settings import Model
from offline import preview
from policies import docs as policy_docs
from tests.helpers import PRICES

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")],
    key=lambda path: str(path),
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, flags=re.MULTILINE))
STACKS = {p.name.split(".")[1] for p in ROOT.glob("Pulumi.*.yaml")}

every_page = pytest.mark.parametrize("path", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(text_of(path)) if found == language]


def snippets(path: Path) -> list[str]:
    """Everything set as code: lines after a prompt, and inline code."""
    prompts = [line[2:] for block in blocks(path, "console") for line in block.splitlines() if line.startswith("$ ")]
    return prompts + re.findall(r"`([^`\n]+)`", FENCE.sub("", text_of(path)))


def arguments_of(command: str, path: Path) -> list[list[str]]:
    """The arguments of every snippet that runs `command`."""
    found = []
    for snippet in snippets(path):
        with contextlib.suppress(ValueError):  # inline code with half a quote is no command
            words = shlex.split(snippet, comments=True)
            if words and words[0].rpartition("/")[2] == command:
                found.append(words[1:])
    return found


def commands() -> dict[str, argparse.ArgumentParser]:
    parser = cli._parser()
    (choices,) = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(choices)


# --- commands -----------------------------------------------------------------------------------------------------


@every_page
def test_every_make_target_exists(path):
    for words in arguments_of("make", path):
        for word in words:
            name, equals, value = word.partition("=")
            if equals and name == "STACK":
                assert value in {*STACKS, "NAME"}, words
            elif not equals:
                assert name in TARGETS, words


@every_page
def test_every_gpuslice_command_is_accepted_by_its_parser(path):
    """Commands with a blank to fill in (`FILE`, `NAME`) are tried with the blank as its value."""
    for words in filter(None, arguments_of("gpuslice", path)):
        assert words[0] in commands(), words
        # A name alone (`gpuslice mig`) speaks of the command; anything longer must be runnable.
        if len(words) > 1:
            cli._parser().parse_args(words)


def test_the_readme_names_every_make_target_and_every_command():
    listed = {word for words in arguments_of("make", README) for word in words if "=" not in word}
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert listed == set(phony[1].split())
    assert {words[0] for words in arguments_of("gpuslice", README) if words} == commands().keys()


@every_page
def test_every_python_module_that_is_run_exists(path):
    for words in arguments_of("python", path):
        assert words[0] == "-m"
        assert words[1] == "pytest" or find_spec(words[1]), words
        for name in words[2:]:
            assert (ROOT / name).exists(), words


# --- links --------------------------------------------------------------------------------------------------------


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@every_page
def test_every_link_leads_somewhere(path):
    for target in LINK.findall(FENCE.sub("", text_of(path))):
        if target.startswith("https://"):
            continue
        file, _, fragment = target.partition("#")
        page = (path.parent / file).resolve() if file else path
        assert page.exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text_of(page)), flags=re.MULTILINE)
            assert fragment in {anchor(heading) for heading in headings}, target


@every_page
def test_every_file_that_is_named_exists(path):
    """Inline code that looks like a path of this repository."""
    top = "gpuslice|components|offline|sandbox|tests|docs|examples|benchmarks"
    for snippet in snippets(path):
        if re.fullmatch(rf"({top})/[\w/.-]*", snippet):
            assert (ROOT / snippet).exists(), snippet


# --- what they show -----------------------------------------------------------------------------------------------


def stack_snippets() -> list[str]:
    return [block for page in PAGES for block in blocks(page, "yaml") if block.startswith("config:")]


@pytest.mark.parametrize("text", stack_snippets())
def test_every_stack_file_that_is_shown_is_valid(text):
    load_settings(yaml.safe_load(text)["config"], "readme")


def shown_pools() -> dict[str, Pool]:
    """The pools of the README's first stack file."""
    settings = load_settings(yaml.safe_load(blocks(README, "yaml")[0])["config"], "readme")
    return {pool.name: Pool.of(pool) for pool in settings.pools}


def derived() -> dict[str, dict[str, str]]:
    """The README's table of derived values: row to pool to cell."""
    (table,) = re.findall(r"^\| derived \|.*?(?=\n\n)", text_of(README), flags=re.MULTILINE | re.DOTALL)
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    pools = [name.strip(" `|") for name in head[1:]]
    return {row[0].strip("| "): dict(zip(pools, row[1:], strict=True)) for row in rows}


@pytest.mark.parametrize("name", ["t4-shared", "a100-mig"])
def test_the_table_of_derived_values_is_what_the_pool_derives(name):
    pool = shown_pools()[name]
    row = {key: cells[name] for key, cells in derived().items()}
    assert re.findall(r"`([^:`]+): 1`", row["a pod asks for"]) == [r.name for r in pool.resources]
    memory = [r.memory_mib for r in pool.resources]
    assert [int(m) for m in re.findall(r"(\d+) MiB", row["GPU memory that it can count on"])] == memory
    assert row["isolation from its neighbours"] == pool.isolation
    (overlay,) = pool.overlays
    capacity = {key.partition("/")[2]: count for key, count in overlay.capacity.items()}
    shown = dict(re.findall(r"`(?:nvidia\.com/)?([^:`]+): (\d+)`", row["NodeOverlay for a node"]))
    assert {key: int(count) for key, count in shown.items()} == capacity
    assert row["label that chooses the configuration"] == "`{}: {}`".format(*pool.config_label)
    numbers = [int(n) for n in re.findall(r"\d+", row["Karpenter limits"])]
    assert numbers == list(pool.limits.values())
    prices = {
        f"{pool.slice_price(resource, instance_type, PRICES):.3f}"
        for resource in pool.resources
        for instance_type in pool.types
    }
    assert set(re.findall(r"\$([\d.]+)", row["list price of a slice and hour"])) == prices


def test_the_table_of_derived_values_has_every_taint():
    row, pools = derived()["taints"], shown_pools()
    first, second = ([f"{t['key']}={t['value']}:{t['effect']}" for t in pools[name].taints] for name in row)
    assert re.findall(r"`([^`]+)`", row["t4-shared"]) == first
    assert row["a100-mig"].startswith("the same, and ")
    assert first + re.findall(r"`([^`]+)`", row["a100-mig"]) == second


def test_the_mig_answer_is_the_commands(capsys):
    (block,) = [b for b in blocks(README, "console") if b.startswith("$ .venv/bin/gpuslice mig")]
    command, shown = block.split("\n", 1)
    assert cli.main(shlex.split(command)[2:]) == cli.FINE
    assert capsys.readouterr().out == shown


def test_the_refusal_is_the_commands(tmp_path, capsys):
    """The stack `dev` with the misspelling that the README tells of."""
    (block,) = [b for b in blocks(README, "console") if b.startswith("$ .venv/bin/gpuslice validate")]
    broken = tmp_path / "Pulumi.dev.yaml"
    broken.write_text(text_of(ROOT / "Pulumi.dev.yaml").replace("replicas: 4", "replcas: 4", 1), encoding="utf-8")
    assert cli.main(["validate", str(broken)]) == cli.REFUSED
    assert capsys.readouterr().err == block.split("\n", 1)[1]


def test_the_preview_of_prod_is_the_one_that_is_shown():
    settings = read_settings(stack_file("prod", ROOT))
    pools = [Pool.of(pool) for pool in settings.pools]
    output = io.StringIO()
    console = Console(file=output, width=80, highlight=False)
    for table in (preview._slices_table(pools, PRICES), preview._cost_table(pools, PRICES)):
        console.print(table)
    now = [line.rstrip() for line in output.getvalue().splitlines() if line.strip()]
    (shown,) = [block for block in blocks(README, "text") if block.startswith("Slices")]
    assert [line for line in shown.splitlines() if line.strip()] == now


def test_the_summary_of_make_up_adds_up():
    """Measured text is copied by hand: its figures must still be those of the catalogue."""
    (block,) = [b for b in blocks(README, "console") if b.startswith("$ make up\n")]
    settings = read_settings(stack_file("local", ROOT))
    pool = Pool.of(settings.pools[0])
    (price,) = {t.usd_per_hour for t in pool.types}
    (resource,) = pool.resources
    pods = settings.verification.replicas
    nodes = -(-pods // resource.per_gpu)
    assert f"{pods}/{pods} running" in block
    assert f"{nodes} x {pool.types[0].name}" in block
    assert f"{resource.name}: {pods} of {nodes * resource.per_gpu} used" in block
    assert f"${nodes * price:.3f}/h" in block
    assert f"${pods * price:.3f}/h" in block
    assert f"{100 * (pods - nodes) // pods} % less with slices" in block


def test_the_house_names_folders_that_are_there():
    (house,) = [block for block in blocks(README, "text") if "one description of each pool" in block]
    for name in set(re.findall(r"\b([a-z]+)/(?=\s|[a-z])", house)):
        assert (ROOT / name).is_dir(), name


# --- the page of settings -----------------------------------------------------------------------------------------


def test_the_page_of_settings_is_up_to_date():
    assert text_of(docs.PAGE) == docs.page(), "run: .venv/bin/python -m gpuslice.docs"


def test_the_page_of_policies_is_what_their_records_say():
    assert text_of(policy_docs.PAGE) == policy_docs.page(), "run: .venv/bin/python -m policies.docs"


def models() -> dict[str, type[Model]]:
    found, pending = {}, list(Model.__subclasses__())
    while pending:
        model = pending.pop()
        found[model.__name__] = model
        pending += model.__subclasses__()
    return found


def test_what_is_said_of_a_setting_is_said_once():
    """A sentence beside the field wins, so one in the table would be dead; and no field may be gone."""
    for key in docs.MEANINGS:
        model, _, field = key.partition(".")
        assert models()[model].model_fields[field].description is None, key


def test_every_setting_of_every_model_is_on_the_page():
    page = docs.page()
    for name, model in models().items():
        if name in {"Settings", "Replicated"}:  # the whole, and a base
            continue
        for field in model.model_fields.values():
            assert f"| `{field.alias}` |" in page, f"{name}.{field.alias}"


# --- style --------------------------------------------------------------------------------------------------------


@every_page
def test_a_page_is_plain(path):
    text = text_of(path)
    assert text.endswith("\n")
    assert not re.search("[\U0001f000-\U0001ffff\u2600-\u27bf]", text)
    assert len(re.findall(r"^# ", FENCE.sub("", text), flags=re.MULTILINE)) == 1


def test_the_project_file_names_the_readme_and_the_licence():
    text = text_of(ROOT / "pyproject.toml")
    assert 'readme = "README.md"' in text
    assert 'license = "Apache-2.0"' in text
    assert "Apache License" in text_of(ROOT / "LICENSE")


def test_the_contract_version_of_the_readme_is_the_programs():
    (version,) = [
        node.value.value
        for node in ast.parse(text_of(ROOT / "__main__.py")).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "CONTRACT_VERSION"
    ]
    assert f"| `contractVersion` | {version};" in text_of(README)
