"""Rules between fields: what cannot work is refused here, before anything is registered or bought.

Each check takes valid models and yields `Problem`s. The sources of the rules are named beside them; the numbers about
hardware come from `gpuslice.catalog`. A section with an error in one field is checked too, with a stand-in for that
field: `broken` names such fields, and a rule that would look at one of them is left out.
"""

from gpuslice.checks.cluster import cluster_problems
from gpuslice.checks.pool import pool_problems
from gpuslice.checks.stack import settings_problems

__all__ = ["cluster_problems", "pool_problems", "settings_problems"]
