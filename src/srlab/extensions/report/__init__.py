"""Comparison of runs: tables, figures and one page.

>>> from srlab.extensions.report import ablation_table, compare, curves_figure, pareto_figure, read_runs
>>> comparison = compare(read_runs("multirun/2026-11-21_10-00-00"))  # doctest: +SKIP
>>> ablation_table(comparison)  # a notebook shows it as Markdown  # doctest: +SKIP
>>> pareto_figure(comparison, against="latency")  # or curves_figure(comparison)  # doctest: +SKIP

Functions of a comparison also take a list of runs.
"""

from srlab.extensions.report.ablation import ablation_table
from srlab.extensions.report.comparison import Comparison, Configuration, compare, compare_images
from srlab.extensions.report.curves import curves_figure
from srlab.extensions.report.latencies import LabLatencies, read_latencies
from srlab.extensions.report.latency_measurement import measure_latencies
from srlab.extensions.report.pareto import pareto_figure
from srlab.extensions.report.run_folders import read_runs
from srlab.extensions.report.runs import ImageScore, Run, RunCosts
from srlab.extensions.report.tables import AblationTable, to_csv, to_latex, to_markdown
from srlab.extensions.report.writing import write_report

__all__ = [
    "AblationTable", "Comparison", "Configuration", "ImageScore", "LabLatencies", "Run", "RunCosts",
    "ablation_table", "compare", "compare_images", "curves_figure", "measure_latencies", "pareto_figure",
    "read_latencies", "read_runs", "to_csv", "to_latex", "to_markdown", "write_report",
]  # fmt: skip
