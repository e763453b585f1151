"""Every case of every domain."""

import importlib

from base import Case

from policies.pack import DOMAINS

NAMES = [domain.__name__.rpartition(".")[2] for domain in DOMAINS]
CASES: list[Case] = [case for name in NAMES for case in importlib.import_module(f"cases_{name}").CASES]
