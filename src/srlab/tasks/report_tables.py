"""Evaluations as a terminal table, Markdown, CSV and JSON, all from the same rows."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

from srlab.atomic_files import atomic_write
from srlab.extensions.lab.costs import Costs
from srlab.extensions.lab.latency import BUSY_MARK
from srlab.metrics.protocol import GrayRule
from srlab.tasks.conditions import Conditions
from srlab.tasks.evaluation import EvaluationReport, ImageRecord
from srlab.tasks.published import Difference, difference_columns, difference_table, differences
from srlab.terminal.names import escape_markdown
from srlab.terminal.tables import PlainTable

__all__ = ["Evaluation", "display_tables", "image_rows", "summary_rows", "to_markdown", "write_evaluations"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """The scores of one network and what they were obtained under."""

    report: EvaluationReport
    conditions: Conditions

    @property
    def differences(self) -> tuple[Difference, ...]:
        """From what papers print for this network."""
        return differences(self.report, self.conditions.preset, training=self.conditions.training)


def summary_rows(evaluations: Sequence[Evaluation]) -> list[Row]:
    """One row for each network, scale, set and protocol; numbers unrounded, None where not measured."""
    return [
        {
            "model": evaluation.conditions.model,
            "scale": evaluation.report.scale,
            "set": mean.set_name,
            "protocol": mean.protocol,
            "images": mean.images,
            "psnr": mean.psnr,
            "ssim": mean.ssim,
            **_costs(evaluation.conditions.costs),
            **difference_columns(found, mean),
            "lr_source": mean.lr_source,
            "gray_images": " ".join(mean.gray_images),
            "gray_rule": mean.gray_rule,
        }
        for evaluation in evaluations
        for found in [evaluation.differences]
        for mean in evaluation.report.means
    ]


def image_rows(evaluations: Sequence[Evaluation]) -> list[Row]:
    """One row for each image and protocol."""
    return [
        {"model": evaluation.conditions.model, "scale": evaluation.report.scale, **asdict(record)}
        for evaluation in evaluations
        for record in evaluation.report.images
    ]


def display_tables(evaluations: Sequence[Evaluation]) -> list[PlainTable]:
    """For a terminal of any width: scores of every set, costs of every network, difference from papers."""
    rows = summary_rows(evaluations)
    scores = _table("means over images of PSNR (dB) and SSIM", _SCORE_COLUMNS, rows)
    measured = evaluations[0].conditions.costs
    height, width = measured.output_size if measured else (0, 0)
    networks = {(row["model"], row["scale"]): row for row in rows}
    remarks = (each.conditions.costs.latency.remark for each in evaluations if each.conditions.costs)
    costs = _table(
        "multiply-adds of 1280x720, as published and as executed; latency and memory of one "
        f"{width}x{height} image on {evaluations[0].report.device}",
        _COST_COLUMNS,
        list(networks.values()),
        caption="; ".join(dict.fromkeys(filter(None, remarks))),
    )
    found = [difference for evaluation in evaluations for difference in evaluation.differences]
    return [scores, costs, *([difference_table(found)] if found else [])]


def _table(title: str, headings: Sequence[str], rows: Sequence[Row], *, caption: str = "") -> PlainTable:
    table = PlainTable(headings, text=_TEXT_COLUMNS, title=title, caption=caption)
    for row in rows:
        table.add_row(*(_COLUMNS[heading](row) for heading in headings))
    return table


def to_markdown(evaluations: Sequence[Evaluation]) -> str:
    """The table, then the conditions that belong to it."""
    ruler = [":---" if heading in _TEXT_COLUMNS else "---:" for heading in _COLUMNS]
    rows = [[escape_markdown(show(row)) for show in _COLUMNS.values()] for row in summary_rows(evaluations)]
    lines = ["| " + " | ".join(cells) + " |" for cells in (list(_COLUMNS), ruler, *rows)]
    for evaluation in evaluations:
        lines += ["", *_condition_lines(evaluation), *_difference_lines(evaluation)]
    return "\n".join(lines) + "\n"


def write_evaluations(evaluations: Sequence[Evaluation], folder: Path) -> list[Path]:
    """Write ``evaluation.{json,csv,md}`` and ``images.csv``; each file appears whole or not at all."""
    rows, images = summary_rows(evaluations), image_rows(evaluations)
    details = [{**asdict(each), "differences": list(map(asdict, each.differences))} for each in evaluations]
    content = {"rows": rows, "evaluations": details}
    texts = {
        "evaluation.json": json.dumps(_plain(content), indent=1, allow_nan=False) + "\n",
        "evaluation.csv": _to_csv(rows, list(rows[0]) if rows else []),
        "evaluation.md": to_markdown(evaluations),
        "images.csv": _to_csv(images, ["model", "scale", *(field.name for field in fields(ImageRecord))]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with atomic_write(folder / name) as partial:
            # names of files need not be Unicode
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in texts]


def _costs(costs: Costs | None) -> Row:
    columns = {
        "parameters": lambda costs: costs.parameters.all,
        "trainable_parameters": lambda costs: costs.parameters.trainable,
        "multiply_adds": lambda costs: costs.multiply_adds,
        "executed_multiply_adds": lambda costs: costs.executed_multiply_adds,
        "activations": lambda costs: costs.activations,
        "latency_median_ms": lambda costs: costs.latency.median_ms,
        "latency_p10_ms": lambda costs: costs.latency.p10_ms,
        "latency_p90_ms": lambda costs: costs.latency.p90_ms,
        "latency_busy": lambda costs: costs.latency.load.is_busy,
        "peak_memory_mib": lambda costs: costs.memory.peak_mib,
    }
    return {name: None if costs is None else read(costs) for name, read in columns.items()}


def _show(key: str, pattern: str, divisor: float = 1) -> Callable[[Row], str]:
    def show(row: Row) -> str:
        value = row[key]
        return "–" if value is None else pattern.format(value / divisor if divisor != 1 else value)

    return show


def _show_latency(row: Row) -> str:
    if row["latency_median_ms"] is None:
        return "–"
    mark = BUSY_MARK if row["latency_busy"] else ""
    return f"{{latency_median_ms:.1f}}{mark} ({{latency_p10_ms:.1f}} to {{latency_p90_ms:.1f}})".format(**row)


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "model": _show("model", "{}"),
    "scale": _show("scale", "x{}"),
    "set": _show("set", "{}"),
    "protocol": _show("protocol", "{}"),
    "images": _show("images", "{}"),
    "PSNR": _show("psnr", "{:.3f}"),
    "SSIM": _show("ssim", "{:.4f}"),
    "params (K)": _show("parameters", "{:.1f}", 1e3),
    "mult-adds (G)": _show("multiply_adds", "{:.2f}", 1e9),
    "executed (G)": _show("executed_multiply_adds", "{:.2f}", 1e9),
    "activations (M)": _show("activations", "{:.1f}", 1e6),
    "latency ms (p10 to p90)": _show_latency,
    "peak memory (MiB)": _show("peak_memory_mib", "{:.0f}"),
}
_SCORE_COLUMNS = ("model", "scale", "set", "protocol", "images", "PSNR", "SSIM")
_FILES_ONLY = ("activations (M)",)  # a terminal has 80 columns
_COST_COLUMNS = (
    "model",
    "scale",
    *(heading for heading in _COLUMNS if heading not in (*_SCORE_COLUMNS, *_FILES_ONLY)),
)
_TEXT_COLUMNS = frozenset({"model", "set", "protocol"})
_GRAY_COUNTS = {
    GrayRule.replicate: "counted as three equal channels",
    GrayRule.own: "scored on their own values",
}


def _condition_lines(evaluation: Evaluation) -> list[str]:
    report, conditions = evaluation.report, evaluation.conditions
    lines = [
        f"**{escape_markdown(conditions.model)} x{report.scale}**: "
        f"checkpoint {escape_markdown(conditions.checkpoint)}; "
        f"{report.dtype} on {report.device}; srlab {conditions.srlab_version}, "
        f"commit {conditions.commit or 'unknown'}; torch {conditions.torch_version}, "
        f"Python {conditions.python_version}; {conditions.date}.",
        "",
    ]
    lines += [f"- protocol {_settings(asdict(protocol))}" for protocol in report.protocols]
    lines += [
        f"- protocol {name}: skipped, it scores only model=bicubic" for name in report.skipped_protocols
    ]
    lines += [f"- set {escape_markdown(name)}: absent" for name in report.absent_sets]
    lines += [
        f"- {escape_markdown(mean.set_name)}, {mean.protocol}: LR {mean.lr_source}"
        + (
            f"; gray files, {_GRAY_COUNTS[GrayRule[mean.gray_rule]]}: "
            f"{escape_markdown(', '.join(mean.gray_images))}"
            if mean.gray_images
            else ""
        )
        for mean in report.means
    ]
    if conditions.costs is not None:
        lines += _cost_lines(conditions.costs)
    return lines


def _cost_lines(costs: Costs) -> list[str]:
    height, width = costs.output_size
    return [
        f"- parameters: {_settings(asdict(costs.parameters))}",
        "- multiply-adds: of the official formulation at 1280x720, padding included; not counted: "
        + "; ".join(map(str, costs.uncounted)),
        f"- latency and memory: one restored image of {width}x{height}",
        f"- latency: {_settings({**asdict(costs.latency), 'load': str(costs.latency.load)})}",
        f"- memory: {_settings(asdict(costs.memory))}",
    ]


def _difference_lines(evaluation: Evaluation) -> list[str]:
    return [
        f"- {each.set_name}, {each.protocol}: {each.psnr:+.3f} dB"
        + ("" if each.ssim is None else f" and SSIM {each.ssim:+.4f}")
        + f" from the published {each.reference.shown} (trained on {each.reference.training}; "
        + f"{', '.join(each.reference.sources)})"
        for each in evaluation.differences
    ]


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_plain(value)}" for key, value in values.items())


def _to_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    """Data as JSON can hold it: enum members by name, infinite numbers as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
