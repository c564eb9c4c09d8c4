"""Evaluations as terminal tables, Markdown, CSV and JSON, all from the same rows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from srlab.atomic_files import atomic_write
from srlab.metrics.registry import find_metric
from srlab.runs.records import plain, write_json
from srlab.tasks.columns import COMPARERS, Comparer, Comparison, Row, listed
from srlab.tasks.conditions import Conditions
from srlab.tasks.evaluation import EvaluationReport, SetMean
from srlab.terminal.names import escape_markdown
from srlab.terminal.tables import PlainTable, to_csv

_TEXT = ("model", "in training", "set", "protocol")
# A terminal has 80 columns.
_FILES_ONLY = ("trainable (K)", "activations (M)")
_GRAY_COUNTS = {"replicate": "counted as three equal channels", "own": "scored on their own values"}


@dataclass(frozen=True)
class Evaluation:
    """The scores of one network and what they were obtained under."""

    report: EvaluationReport
    conditions: Conditions

    @cached_property
    def comparisons(self) -> tuple[tuple[Comparer, Comparison], ...]:
        """With the scores that extensions know, such as published ones; a self-ensemble has none."""
        if self.report.restoration.ensemble:
            return ()
        preset, training = self.conditions.preset, self.conditions.training
        return tuple((each, each.compare(self.report, preset, training)) for each in COMPARERS)

    def costs(self, form: Literal["fields", "cells"]) -> Row:
        """One form of the costs; empty if they were not measured."""
        return self.conditions.costs.merged(form) if self.conditions.costs else {}

    def compared(self, mean: SetMean) -> Row:
        """What the comparisons say of the mean of a set."""
        place = mean.set_name, mean.protocol
        return {
            key: value for _, each in self.comparisons for key, value in each.fields.get(place, {}).items()
        }

    def differences(self) -> list[Any]:
        """The records of all comparisons."""
        return [record for _, comparison in self.comparisons for record in comparison.records]


def summary_rows(evaluations: Sequence[Evaluation]) -> list[Row]:
    """One row for each network, scale, set and protocol; numbers unrounded."""
    return [
        {
            "model": evaluation.conditions.model,
            "scale": evaluation.report.scale,
            **_in_training(evaluation),
            "set": mean.set_name,
            "protocol": mean.protocol,
            "images": mean.images,
            **mean.scores,
            **evaluation.costs("fields"),
            **evaluation.compared(mean),
            "lr_source": mean.lr_source,
            "gray_images": " ".join(mean.gray_images),
            "gray_rule": mean.gray_rule,
        }
        for evaluation in evaluations
        for mean in evaluation.report.means
    ]


def image_rows(evaluations: Sequence[Evaluation]) -> list[Row]:
    """One row for each image and protocol."""
    rows = []
    for evaluation in evaluations:
        names = {"model": evaluation.conditions.model, "scale": evaluation.report.scale}
        for record in map(asdict, evaluation.report.images):
            scores = record.pop("scores")
            rows.append({**names, **record, **scores})
    return rows


def display_tables(evaluations: Sequence[Evaluation]) -> list[PlainTable]:
    """For a terminal of any width: scores of every set, costs of every network, comparisons."""
    scores = PlainTable(
        [_score_cells(each, mean) for each in evaluations for mean in each.report.means],
        text=_TEXT,
        title=f"means over images, on {evaluations[0].report.device}",
    )
    return [scores, *cost_table(evaluations, left_out=_FILES_ONLY), *comparison_tables(evaluations)]


def cost_table(evaluations: Sequence[Evaluation], *, left_out: Sequence[str] = ()) -> list[PlainTable]:
    """One row for each network; no table where nothing was measured.

    Args:
        evaluations: those without costs have empty cells.
        left_out: headings of columns that are not shown.
    """
    measured = [each.conditions.costs for each in evaluations if each.conditions.costs]
    if not measured:
        return []
    rows = [{**_name_cells(each), **each.costs("cells")} for each in evaluations]
    title = "multiply-adds of 1280x720, as published and as executed"
    if len(measured[0].readings) > 1:
        height, width = measured[0].output_size
        title += f"; latency and memory of one {width}x{height} image on {evaluations[0].report.device}"
    remarks = dict.fromkeys(reading.remark for costs in measured for reading in costs.readings)
    shown = [{key: cell for key, cell in row.items() if key not in left_out} for row in rows]
    return [PlainTable(shown, text=_TEXT, title=title, caption="; ".join(filter(None, remarks)))]


def comparison_tables(evaluations: Sequence[Evaluation]) -> list[PlainTable]:
    """One table for each source of other scores that has some of these networks."""
    found: dict[str, tuple[Comparer, list[Comparison]]] = {}
    for evaluation in evaluations:
        for comparer, comparison in evaluation.comparisons:
            if comparison.found:
                found.setdefault(comparer.name, (comparer, []))[1].append(comparison)
    return [comparer.table(comparisons) for comparer, comparisons in found.values()]


def to_markdown(evaluations: Sequence[Evaluation]) -> str:
    """The table, then the conditions that belong to it."""
    pairs = [(each, mean) for each in evaluations for mean in each.report.means]
    rows = [{**_score_cells(each, mean), **each.costs("cells")} for each, mean in pairs]
    lines = [PlainTable(rows, text=_TEXT).to_markdown().rstrip("\n")]
    for evaluation in evaluations:
        lines += ["", *_condition_lines(evaluation)]
    return "\n".join(lines) + "\n"


def write_evaluations(evaluations: Sequence[Evaluation], folder: Path) -> list[Path]:
    """Write ``evaluation.{json,csv,md}`` and ``images.csv``; each file appears complete or not at all."""
    rows, images = summary_rows(evaluations), image_rows(evaluations)
    details = [
        {
            "report": asdict(each.report),
            "conditions": each.conditions.record(),
            "differences": each.differences(),
        }
        for each in evaluations
    ]
    write_json(folder / "evaluation.json", {"rows": rows, "evaluations": details})
    texts = {"evaluation.csv": to_csv(rows), "images.csv": to_csv(images)}
    texts["evaluation.md"] = to_markdown(evaluations)
    for name, text in texts.items():
        with atomic_write(folder / name) as partial:
            # names of files need not be Unicode
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in ("evaluation.json", *texts)]


def _name_cells(evaluation: Evaluation) -> dict[str, str]:
    scale = f"x{evaluation.report.scale:g}"
    return {"model": evaluation.conditions.model, "scale": scale, **_in_training(evaluation)}


def _in_training(evaluation: Evaluation) -> dict[str, str]:
    """Whether the network has seen such scales; empty for a network of one scale."""
    seen = evaluation.conditions.seen(evaluation.report.scale)
    return {} if seen is None else {"in training": seen}


def _score_cells(evaluation: Evaluation, mean: SetMean) -> dict[str, str]:
    cells = _name_cells(evaluation)
    cells |= {"set": mean.set_name, "protocol": mean.protocol, "images": str(mean.images)}
    for name, value in mean.scores.items():
        metric = find_metric(name)
        cells[metric.heading] = metric.show(value)
    return cells


def _condition_lines(evaluation: Evaluation) -> list[str]:
    report, conditions = evaluation.report, evaluation.conditions
    lines = [f"protocol {listed(plain(protocol))}" for protocol in report.protocols]
    lines += [f"protocol {name}: skipped, it scores only model=bicubic" for name in report.skipped_protocols]
    lines += [f"set {escape_markdown(name)}: absent" for name in report.absent_sets]
    lines += [_source_line(mean) for mean in report.means]
    lines += _restoration_lines(report)
    if conditions.trained_range is not None:
        low, high = conditions.trained_range
        seen = conditions.seen(report.scale)
        lines.append(f"x{report.scale:g} is {seen}: the training had x{low:g} to x{high:g}")
    readings = conditions.costs.readings if conditions.costs else ()
    lines += [line for reading in readings for line in reading.lines]
    lines += [line for _, comparison in evaluation.comparisons for line in comparison.lines]
    head = (
        f"**{escape_markdown(conditions.model)} x{report.scale:g}**: "
        f"checkpoint {escape_markdown(conditions.checkpoint)}; "
        f"{report.dtype} on {report.device}; srlab {conditions.srlab_version}, "
        f"commit {conditions.commit or 'unknown'}; torch {conditions.torch_version}, "
        f"Python {conditions.python_version}; {conditions.date}."
    )
    return [head, "", *(f"- {line}" for line in lines)]


def _source_line(mean: SetMean) -> str:
    line = f"{escape_markdown(mean.set_name)}, {mean.protocol}: LR {mean.lr_source}"
    if not mean.gray_images:
        return line
    names = escape_markdown(", ".join(mean.gray_images))
    return f"{line}; gray files, {_GRAY_COUNTS[mean.gray_rule]}: {names}"


def _restoration_lines(report: EvaluationReport) -> list[str]:
    """What was not one pass over the whole image at the network's own scale."""
    lines = []
    if report.resized_from is not None:
        lines.append(
            f"the network ran at x{report.resized_from}, and MATLAB's bicubic interpolation resized its "
            f"results to x{report.scale:g}"
        )
    if report.restoration.ensemble:
        lines.append("self-ensemble (+): mean of eight flips and turns; costs are those of one pass")
    tiled = [each for each in report.images if each.tile]
    if tiled:
        sides = sorted({each.tile for each in tiled})
        halo = "the whole receptive reach" if report.restoration.exact else "the default halo"
        lines.append(
            f"tiles of {', '.join(map(str, sides))} LR pixels, overlapping by {halo}: {len(tiled)} of "
            f"{len(report.images)} scores, {escape_markdown(tiled[0].name)} first"
        )
    return lines
