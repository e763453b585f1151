"""Every manifest that this project's stacks render, byte for byte: a change of the output is a change to review."""

import difflib

import pytest

from gpuslice.render import rendered
from tests.helpers import ROOT, STACKS, recorded

GOLDEN = ROOT / "tests" / "golden"
UPDATE = "if this is meant, write the files anew with: python -m pytest tests/unit/test_golden.py --update-golden"


def read(stack: str) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((GOLDEN / stack).glob("*"))}


def write(stack: str, files: dict[str, str]) -> None:
    folder = GOLDEN / stack
    folder.mkdir(parents=True, exist_ok=True)
    for name in read(stack).keys() - files.keys():
        (folder / name).unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def difference(expected: dict[str, str], found: dict[str, str]) -> str:
    """What differs, as a patch; nothing where the files agree."""
    lines: list[str] = []
    for name in sorted(expected.keys() | found.keys()):
        before, after = (files.get(name, "").splitlines(keepends=True) for files in (expected, found))
        lines += difflib.unified_diff(before, after, f"golden/{name}", f"rendered/{name}")
    return "".join(lines)


@pytest.mark.parametrize("stack", STACKS)
def test_the_rendered_files_are_the_golden_ones(stack, request):
    files = rendered(recorded(stack).settings)
    if request.config.getoption("update_golden"):
        write(stack, files)
    expected = read(stack)
    assert files.keys() == expected.keys(), UPDATE
    assert files == expected, f"{UPDATE}\n{difference(expected, files)}"


def test_a_difference_is_shown_as_a_patch():
    text = difference({"a.yaml": "x: 1\n"}, {"a.yaml": "x: 2\n", "b.yaml": "y: 1\n"})
    assert "-x: 1\n+x: 2\n" in text
    assert "+y: 1\n" in text


def test_no_folder_is_left_of_a_stack_that_is_gone():
    assert {path.name for path in GOLDEN.iterdir()} == set(STACKS)
