"""Started by the engine: `pulumi preview --policy-pack policies`."""

import sys
from pathlib import Path

# The engine runs this file alone, with this folder as the working folder: the catalogue is one level up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from policies.pack import RULES
from policies.server import serve

serve(RULES)
