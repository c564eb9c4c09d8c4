"""Adds the published scores of a network, and the distance from them, to train.py and evaluate.py."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from srlab.tasks.columns import COMPARERS, Comparer, Comparison

if TYPE_CHECKING:
    from srlab.tasks.evaluation import EvaluationReport
    from srlab.terminal.tables import PlainTable


def _compare(report: "EvaluationReport", preset: str | None, training: str | None) -> Comparison:
    from srlab.extensions.literature.differences import compare

    return compare(report, preset, training)


def _table(comparisons: Sequence[Comparison]) -> "PlainTable":
    from srlab.extensions.literature.differences import difference_table

    return difference_table([each for comparison in comparisons for each in comparison.found])


COMPARERS.register("published", Comparer("published", _compare, _table))
