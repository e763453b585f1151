"""Linear and integer programmes, minimised by HiGHS. The only module that knows highspy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

TOLERANCE = 1e-6
"""What HiGHS allows a row, an integer or a bound to be off by, relative to its size."""


@dataclass(frozen=True)
class Result:
    """`values` of the columns and `duals` of the rows; None where no solution was found in time, or none exists.

    `bound`: no solution costs less, up to TOLERANCE; minus infinity where nothing is proven.
    `optimal`: the bound is reached.
    """

    values: list[float] | None
    duals: list[float] | None
    bound: float
    optimal: bool


@dataclass
class Programme:
    """Columns from 0 to a limit, rows between two limits."""

    costs: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    columns: list[Mapping[int, float]] = field(default_factory=list)

    def row(self, lower: float = -inf, upper: float = inf) -> int:
        """A new row; returns its number."""
        self.lower.append(lower)
        self.upper.append(upper)
        return len(self.lower) - 1

    def column(self, cost: float, limit: float, entries: Mapping[int, float]) -> int:
        """A new column with its entries by row; returns its number."""
        self.costs.append(cost)
        self.limits.append(limit)
        self.columns.append(entries)
        return len(self.costs) - 1

    def solve(self, seconds: float, whole: bool = True) -> Result:
        """Minimises in whole numbers, or in fractions. Raises ImportError where highspy is not installed."""
        import highspy

        highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        # One thread, and a fixed seed by default: the same question has the same answer.
        options = {"output_flag": False, "time_limit": max(seconds, 0.01), "mip_rel_gap": 0.0, "threads": 1}
        for name, value in options.items():
            highs.setOptionValue(name, value)
        highs.passModel(self._model(highspy, whole))
        highs.run()
        information, solution = highs.getInfo(), highs.getSolution()
        found = information.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        optimal = highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
        least = information.mip_dual_bound if whole else information.objective_function_value if optimal else -inf
        values = list(solution.col_value) if found else None
        duals = list(solution.row_dual) if optimal and not whole else None
        return Result(values, duals, least if -inf < least < inf else -inf, optimal)

    def _model(self, highspy: Any, whole: bool) -> Any:
        import numpy

        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = len(self.costs), len(self.lower)
        model.col_cost_, model.col_lower_ = numpy.array(self.costs), numpy.zeros(len(self.costs))
        model.col_upper_ = numpy.array(self.limits)
        model.row_lower_, model.row_upper_ = numpy.array(self.lower), numpy.array(self.upper)
        if whole:
            model.integrality_ = [highspy.HighsVarType.kInteger] * len(self.costs)
        matrix = model.a_matrix_
        matrix.format_ = highspy.MatrixFormat.kColwise
        matrix.start_ = numpy.cumsum([0, *(len(entries) for entries in self.columns)])
        matrix.index_ = numpy.array([row for entries in self.columns for row in entries], dtype=numpy.int32)
        matrix.value_ = numpy.array([float(value) for entries in self.columns for value in entries.values()])
        return model
