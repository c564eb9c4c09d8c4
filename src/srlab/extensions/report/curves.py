"""Learning curves of configurations: the mean of their runs and its spread."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from srlab.extensions.report.comparison import Comparison, Configuration

__all__ = ["CURVES", "Curve", "configuration_curves"]

# Metric and title of each panel.
CURVES = (("val/psnr", "validation PSNR (dB)"), ("train/loss", "training loss"))
_MOST_POINTS = 300  # of a drawn curve: a page that many runs fill stays small


@dataclass(frozen=True)
class Curve:
    """Of one configuration.

    Attributes:
        means: over runs, at each of ``steps``.
        stds: sample standard deviations; None for one run.
        of_finished: whether they are runs that finished.
    """

    configuration: Configuration
    steps: tuple[int, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...] | None
    of_finished: bool


def configuration_curves(comparison: Comparison, metric: str) -> list[Curve]:
    """Of every configuration whose runs logged ``metric``; unfinished runs count only where none finished.

    A mean takes the steps that all its runs have, so that it never jumps where one run ends. Of unfinished
    runs only the longest is drawn.
    """
    curves = []
    for configuration in comparison.configurations:
        runs = configuration.finished or configuration.runs
        logged = [dict(run.curves[metric]) for run in runs if metric in run.curves]
        if logged and not configuration.finished:
            logged = [max(logged, key=lambda curve: max(curve))]
        if logged:
            curves.append(_mean_curve(configuration, [_thinned(curve) for curve in logged]))
    return [curve for curve in curves if curve.steps]


def _mean_curve(configuration: Configuration, curves: Sequence[dict[int, float]]) -> Curve:
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    values = [[curve[step] for curve in curves] for step in steps]
    return Curve(
        configuration=configuration,
        steps=tuple(steps),
        means=tuple(map(fmean, values)),
        stds=tuple(map(stdev, values)) if len(curves) > 1 else None,
        of_finished=bool(configuration.finished),
    )


def _thinned(curve: dict[int, float]) -> dict[int, float]:
    """Means of groups of neighbours, at the last step of each; the same steps give the same groups."""
    steps = sorted(curve)
    size = -(-len(steps) // _MOST_POINTS)
    groups = [steps[start : start + size] for start in range(0, len(steps), size)]
    return {group[-1]: fmean(curve[step] for step in group) for group in groups}
