"""Columns that extensions add to tables, files and logs: measured costs and comparisons of scores.

An extension registers a :class:`Meter` or a :class:`Comparer` in its ``plugin.py``, and its columns, which
are plain data, appear in all outputs. Without the extension they are absent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from srlab.extension_points import Registry

if TYPE_CHECKING:
    import torch

    from srlab.models.network import Network
    from srlab.tasks.evaluation import EvaluationReport
    from srlab.terminal.tables import PlainTable

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class MeterSettings:
    """What costs are measured for: one float32 image restored to ``output_size`` (height, width)."""

    output_size: tuple[int, int]
    device: "torch.device"
    warmup: int
    repeats: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A cost of a network in every form that outputs need.

    Attributes:
        record: entries of ``costs.json``.
        fields: columns of CSV files.
        cells: columns of tables, by heading.
        summary: flat numbers for loggers, under names that carry their units.
        lines: conditions, for Markdown.
        remark: shown below tables; empty for none.
        value: the number that limits apply to.
    """

    record: Mapping[str, Any]
    fields: Mapping[str, Any]
    cells: Mapping[str, str]
    summary: Mapping[str, float | int | None]
    lines: Sequence[str] = ()
    remark: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Meter:
    """Measures one cost of a network, which is left as it was."""

    name: str
    measure: Callable[["Network", MeterSettings], Reading]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Scores of one evaluation against those of another source.

    Attributes:
        records: for JSON files.
        fields: columns of CSV files for each (set, protocol).
        lines: for Markdown.
        found: whatever ``Comparer.table`` needs.
    """

    records: Sequence[Mapping[str, Any]] = ()
    fields: Mapping[tuple[str, str], Row] = field(default_factory=dict)
    lines: Sequence[str] = ()
    found: Sequence[Any] = ()


@dataclass(frozen=True)
class Comparer:
    """Compares the scores of a network with others of the same network.

    Attributes:
        name: of the source.
        compare: takes the scores, the preset that the network is a trained one of, and the name of the
            training data; the latter are None where unknown.
        table: for a terminal, over several comparisons with something ``found``.
    """

    name: str
    compare: Callable[["EvaluationReport", str | None, str | None], Comparison]
    table: Callable[[Sequence[Comparison]], "PlainTable"]


METERS: Registry[Meter] = Registry("meter")
COMPARERS: Registry[Comparer] = Registry("comparer")


def absent_columns() -> str | None:
    """A log line that names the columns that are missing with their extensions; None if all are there."""
    columns: dict[str, object] = {name: METERS.get(name) for name in ("latency", "memory")}
    columns["published scores"] = COMPARERS.get("published")
    absent = ", ".join(name for name, found in columns.items() if found is None)
    return f"without columns for {absent}: no installed extension provides them" if absent else None


def listed(values: Mapping[str, Any]) -> str:
    """``name=value, …`` for conditions in text."""
    return ", ".join(f"{key}={value}" for key, value in values.items())
