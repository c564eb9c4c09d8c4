"""Records as tables: for a terminal of any width, and in Markdown for the docs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Any, NamedTuple

from srlab.terminal.names import escape_markdown
from srlab.terminal.tables import PlainTable

__all__ = ["markdown_tables", "roofline_table", "size_table"]

# What a subject may differ in from the others of a table.
_DIALS = ("backend", "dtype", "compile", "mask", "checkpointing", "subnormals")
_WIDE = 110


class _Column(NamedTuple):
    """A heading, the least width of a terminal that shows it, and a subject's cell."""

    heading: str
    from_width: int
    cell: Callable[[Mapping[str, Any]], str]


def size_table(record: Mapping[str, Any], run: Mapping[str, Any], *, width: int) -> PlainTable:
    """The subjects of one size; terminals below 110 columns leave some figures to the record."""
    columns = [column for column in _columns(record, run) if width >= column.from_width]
    table = PlainTable(
        ("subject", *(column.heading for column in columns)),
        text=("subject",),
        title=f"{_size(record, run)}\n{_common(record, run)}",
        caption=_caption(record, all_columns=width >= _WIDE),
    )
    for subject in run["subjects"]:
        table.add_row(_name(subject, run), *(column.cell(subject) for column in columns))
    return table


def roofline_table(run: Mapping[str, Any], *, width: int) -> PlainTable:
    """What each network needs at least, and how far its subjects are from the time that allows.

    Terminals below 110 columns leave the bytes to the record.
    """
    shown = [width >= _WIDE or not heading.startswith("MB") for heading in _ROOFLINE_HEADINGS]
    table = PlainTable(
        ("subject", *compress(_ROOFLINE_HEADINGS, shown)),
        text=("subject",),
        title="Against the ceilings",
        caption="least: operations, or each byte once; by layers: operators' reads and writes",
    )
    for name, *cells in _roofline_rows(run):
        table.add_row(name, *compress(cells, shown))
    return table


def markdown_tables(records: Sequence[Mapping[str, Any]]) -> str:
    """Every size of every record, with its conditions above and its notes below."""
    return "\n".join(line for record in records for line in _markdown(record))


def _markdown(record: Mapping[str, Any]) -> Iterator[str]:
    for run in record["sizes"]:
        columns = [column for column in _columns(record, run) if _is_known(column, run)]
        yield from (f"**{_size(record, run)}**: {_common(record, run)}.", "")
        yield from _markdown_table(
            ["subject", *(column.heading for column in columns)],
            [[_name(each, run), *(column.cell(each) for column in columns)] for each in run["subjects"]],
        )
        if run["rooflines"]:
            yield from _markdown_table(["subject", *_ROOFLINE_HEADINGS], list(_roofline_rows(run)))
    conditions = record["conditions"]
    yield f"{_caption(record, all_columns=True)} {_machine(conditions)}."
    yield from (f"- {note}" for note in record["notes"])
    yield from ("", f"`{conditions['command']}`", "")


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"| :--- |{' ---: |' * (len(headings) - 1)}"
    yield from (f"| {' | '.join(map(escape_markdown, row))} |" for row in rows)
    yield ""


def _is_known(column: _Column, run: Mapping[str, Any]) -> bool:
    return any(column.cell(subject) != _NONE for subject in run["subjects"])


def _columns(record: Mapping[str, Any], run: Mapping[str, Any]) -> list[_Column]:
    on_cuda = record["conditions"]["device"].startswith("cuda")
    peak, beside = ("allocated_mib", "reserved_mib") if on_cuda else ("live_mib", "resident_growth_mib")
    return [
        _Column("ms (p10–p90)", 0, lambda subject: _spread(subject["time_ms"])),
        _Column("speed-up", 0, lambda subject: _spread(subject["speedup"])),
        _Column(
            "allocated MiB" if on_cuda else "live MiB", 0, lambda subject: _number(subject["memory"][peak])
        ),
        _Column("images/s", 0, lambda subject: _number(subject["images_per_second"])),
        _Column("MP/s", _WIDE, lambda subject: _number(subject["megapixels_per_second"])),
        _Column(
            "reserved MiB" if on_cuda else "resident MiB",
            _WIDE,
            lambda subject: _number(subject["memory"][beside]),
        ),
        _Column("G mult-adds", _WIDE, lambda subject: _number(subject["multiply_adds"], per=1e9)),
        _Column(
            "% of matrix rate", _WIDE, lambda subject: _number(subject["share_of_matrix_rate"], per=0.01)
        ),
        *(
            [_Column("J/image", _WIDE, lambda subject: _number(subject["joules_per_image"]))]
            if any(subject["joules_per_image"] is not None for subject in run["subjects"])
            else []
        ),
    ]


_ROOFLINE_HEADINGS = (
    "G mult-adds", "MB once", "least ms", "times it", "MB by layers", "by layers ms", "times it",
)  # fmt: skip


def _roofline_rows(run: Mapping[str, Any]) -> Iterator[list[str]]:
    names = {subject["label"]: _name(subject, run) for subject in run["subjects"]}
    for line in run["rooflines"]:
        needs = line["needs"]
        for label, times in line["times_the_least"].items():
            yield [
                names[label],
                _number(needs["multiply_adds"], per=1e9),
                _number(needs["compulsory_bytes"], per=1e6),
                _number(line["least_ms"]),
                _number(times),
                _number(needs["layer_bytes"], per=1e6),
                _number(line["least_layer_ms"]),
                _number(line["times_the_layer_least"][label]),
            ]


def _name(subject: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """The network, and what distinguishes it from the other subjects."""
    dials = [_dial(subject, dial) for dial in _varying(run)]
    return " ".join(part for part in (subject["model"], *dials) if part)


def _dial(subject: Mapping[str, Any], dial: str) -> str:
    if dial == "subnormals":  # records of 0.1.0 lack it: nothing was flushed
        return "" if subject.get(dial) == "flushed" else "subnormals kept"
    value = subject[dial]
    if dial == "backend":
        ran = subject["resolved_backend"]
        return (value or "") if ran in (value, None) else f"{value} ({ran})"
    if dial == "checkpointing":
        return "checkpointing" if value else ""
    if dial == "mask":
        return "rebuilt masks" if value == "rebuilt" else ""
    return value


def _varying(run: Mapping[str, Any]) -> list[str]:
    return [dial for dial in _DIALS if len({_dial(subject, dial) for subject in run["subjects"]}) > 1]


def _size(record: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    settings = record["settings"]
    lr_size, output = ("x".join(map(str, run[key])) for key in ("lr_size", "output_size"))
    what = "inference" if settings["step"] == "inference" else "training step"
    return f"x{settings['scale']}, {lr_size} to {output}, batch {settings['batch']}, {what}"


def _common(record: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """What all subjects share, and where they ran."""
    first = run["subjects"][0]
    shared = [_dial(first, dial) for dial in ("backend", "dtype", "compile") if dial not in _varying(run)]
    conditions = record["conditions"]
    place = conditions["device_name"]
    if conditions["device"] == "cpu":
        place += f", {conditions['threads']} thread{'s' if conditions['threads'] > 1 else ''}"
    flushed = first.get("subnormals") == "flushed" and "subnormals" not in _varying(run)
    return ", ".join(part for part in [*shared, place, "subnormals flushed" if flushed else ""] if part)


def _caption(record: Mapping[str, Any], *, all_columns: bool) -> str:
    settings = record["settings"]
    rounds = str(settings["repeats"])
    if not record["complete"]:
        rounds = f"the rounds that were finished of {rounds}"
    else:
        rounds += " rounds"
    text = f"Speed-up over {settings['baseline']}, median and p10–p90 of {rounds}."
    return text if all_columns else f"{text} Wider than {_WIDE} columns: more figures."


def _machine(conditions: Mapping[str, Any]) -> str:
    versions = [f"torch {conditions['torch_version']}"]
    versions += [f"driver {conditions['driver']}"] if conditions["driver"] else []
    commit = conditions["commit"][:9] if conditions["commit"] else "of no checkout"
    return f"{conditions['device_name']}, {', '.join(versions)}, {conditions['date'][:10]}, commit {commit}"


_NONE = "–"


def _spread(spread: Mapping[str, float] | None) -> str:
    if spread is None:
        return _NONE
    return f"{_number(spread['median'])} ({_number(spread['p10'])}–{_number(spread['p90'])})"


def _number(value: float | None, *, per: float = 1) -> str:
    """Three digits or more."""
    if value is None:
        return _NONE
    value /= per
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3g}"
