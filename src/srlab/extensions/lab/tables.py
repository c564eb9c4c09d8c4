"""Records as tables: for a terminal of any width, and in Markdown for the docs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from srlab.terminal.tables import PlainTable

# What a subject may differ in from the others of a table.
_DIALS = ("backend", "dtype", "compile", "mask", "checkpointing", "subnormals")
_WIDE = 110  # columns of a terminal that shows all figures
_NONE = "–"

_Json = Mapping[str, Any]
_Column = tuple[str, Callable[[_Json], str]]


def size_table(record: _Json, run: _Json, *, width: int) -> PlainTable:
    """The subjects of one size; terminals below 110 columns show the most important figures."""
    important, others = _columns(record)
    table = _table(run, important + (others if width >= _WIDE else []))
    table.title = f"{_size(record, run)}\n{_common(record, run)}"
    table.caption = _caption(record, all_columns=width >= _WIDE)
    return table


def markdown_tables(records: Sequence[_Json]) -> str:
    """Every size of every record, with its conditions above and its notes below."""
    return "\n".join(line for record in records for line in _markdown(record))


def _markdown(record: _Json) -> Iterator[str]:
    important, others = _columns(record)
    for run in record["sizes"]:
        known = [
            (heading, cell)
            for heading, cell in (*important, *others)
            if any(cell(subject) != _NONE for subject in run["subjects"])
        ]
        yield from (f"**{_size(record, run)}**: {_common(record, run)}.", "")
        yield _table(run, known).to_markdown()
    conditions = record["conditions"]
    yield f"{_caption(record, all_columns=True)} {_machine(conditions)}."
    yield from (f"- {note}" for note in record["notes"])
    yield from ("", f"`{conditions['command']}`", "")


def _table(run: _Json, columns: Sequence[_Column]) -> PlainTable:
    return PlainTable(
        [
            {"subject": _name(subject, run)} | {heading: cell(subject) for heading, cell in columns}
            for subject in run["subjects"]
        ],
        text=("subject",),
    )


def _columns(record: _Json) -> tuple[list[_Column], list[_Column]]:
    """Headings and cells: the most important ones, and the others."""
    if record["conditions"]["device"].startswith("cuda"):
        memory = [("allocated MiB", "allocated_mib"), ("reserved MiB", "reserved_mib")]
    else:
        memory = [("live MiB", "live_mib"), ("resident MiB", "resident_growth_mib")]
    live, held = (
        (heading, lambda subject, key=key: _number(subject["memory"][key])) for heading, key in memory
    )
    return [
        ("ms (p10–p90)", lambda subject: _spread(subject["time_ms"])),
        ("speed-up", lambda subject: _spread(subject["speedup"])),
        live,
        ("images/s", lambda subject: _number(subject["images_per_second"])),
    ], [
        ("MP/s", lambda subject: _number(subject["megapixels_per_second"])),
        held,
        ("G mult-adds", lambda subject: _number(subject["multiply_adds"], per=1e9)),
        ("% of matrix rate", lambda subject: _number(subject["share_of_matrix_rate"], per=0.01)),
    ]


def _name(subject: _Json, run: _Json) -> str:
    """The network, and what distinguishes it from the other subjects."""
    dials = [_dial(subject, dial) for dial in _varying(run)]
    return " ".join(part for part in (subject["model"], *dials) if part)


def _dial(subject: _Json, dial: str) -> str:
    if dial == "subnormals":  # records of 0.1.0 may lack it: nothing was flushed
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


def _varying(run: _Json) -> list[str]:
    return [dial for dial in _DIALS if len({_dial(subject, dial) for subject in run["subjects"]}) > 1]


def _size(record: _Json, run: _Json) -> str:
    settings = record["settings"]
    lr_size, output = ("x".join(map(str, run[key])) for key in ("lr_size", "output_size"))
    what = "inference" if settings["step"] == "inference" else "training step"
    return f"x{settings['scale']}, {lr_size} to {output}, batch {settings['batch']}, {what}"


def _common(record: _Json, run: _Json) -> str:
    """What all subjects share, and where they ran."""
    first, varying = run["subjects"][0], _varying(run)
    shared = [_dial(first, dial) for dial in ("backend", "dtype", "compile") if dial not in varying]
    conditions = record["conditions"]
    place = conditions["device_name"]
    if conditions["device"] == "cpu":
        place += f", {conditions['threads']} thread{'s' if conditions['threads'] > 1 else ''}"
    flushed = first.get("subnormals") == "flushed" and "subnormals" not in varying
    return ", ".join(part for part in [*shared, place, "subnormals flushed" if flushed else ""] if part)


def _caption(record: _Json, *, all_columns: bool) -> str:
    settings = record["settings"]
    rounds = f"{settings['repeats']} rounds" if record["complete"] else "the rounds that were finished"
    text = f"Speed-up over {settings['baseline']}, median and p10–p90 of {rounds}."
    return text if all_columns else f"{text} Wider than {_WIDE} columns: more figures."


def _machine(conditions: _Json) -> str:
    versions = [f"torch {conditions['torch_version']}"]
    versions += [f"driver {conditions['driver']}"] if conditions["driver"] else []
    commit = f"commit {conditions['commit'][:9]}" if conditions["commit"] else "no commit"
    return f"{conditions['device_name']}, {', '.join(versions)}, {conditions['date'][:10]}, {commit}"


def _spread(spread: _Json | None) -> str:
    if spread is None:
        return _NONE
    return f"{_number(spread['median'])} ({_number(spread['p10'])}–{_number(spread['p90'])})"


def _number(value: float | None, *, per: float = 1) -> str:
    """At least three digits."""
    if value is None:
        return _NONE
    value /= per
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3g}"
