"""Every case of every domain."""

import importlib

from base import Case

from policies.pack import DOMAINS
from policies.rules import changes

# The rules on changes have tests of their own: their cases are updates, not programs.
NAMES = [domain.__name__.rpartition(".")[2] for domain in DOMAINS if domain is not changes]
CASES: list[Case] = [case for name in NAMES for case in importlib.import_module(f"cases_{name}").CASES]
