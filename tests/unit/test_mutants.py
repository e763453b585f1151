"""The named mutants of `make mutants` still apply to the code that they break."""

import pytest

from benchmarks.mutants import policy_code, program
from benchmarks.mutants.model import DoesNotApply as Stale
from benchmarks.mutants.model import Edit, Mutant, applied, check

MUTANTS = [*program.MUTANTS, *policy_code.MUTANTS]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies(mutant):
    check(mutant)


def test_every_fault_of_the_list_that_this_project_can_have_is_there():
    numbers = {int(mutant.name.split()[0]) for mutant in MUTANTS}
    assert numbers == set(range(1, 67))


def test_names_are_unique():
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)


def test_a_fault_is_made_and_taken_back(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    with applied(Mutant("none", (Edit("a.py", "x = 1", "x = 2"),)), tmp_path):
        assert (tmp_path / "a.py").read_text() == "x = 2\n"
    assert (tmp_path / "a.py").read_text() == "x = 1\n"


@pytest.mark.parametrize("text", ["", "x = 1\nx = 1\n"])
def test_a_fault_whose_place_is_not_clear_is_out_of_date(tmp_path, text):
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(Stale, match=r"a\.py has \d times"):
        check(Mutant("none", (Edit("a.py", "x = 1", "x = 2"),)), tmp_path)
