"""Faults of the pack itself."""

from __future__ import annotations

from benchmarks.mutants.model import Mutant

MUTANTS: tuple[Mutant, ...] = ()
