"""Every case of every domain. A rule without cases fails a test of its own."""

import importlib
import importlib.util

from base import Case

from policies.pack import DOMAINS

NAMES = [f"cases_{domain.__name__.rpartition('.')[2]}" for domain in DOMAINS]
FOUND = [name for name in NAMES if importlib.util.find_spec(name)]
CASES: list[Case] = [case for name in FOUND for case in importlib.import_module(name).CASES]
