"""Figures: PSNR against what it costs, and learning curves; as files, and as SVG inside a page."""

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab.extensions.report.comparison import Comparison, as_comparison
from srlab.extensions.report.runs import Run
from srlab.extensions.report.series import (
    COSTS,
    Curve,
    Point,
    axis_title,
    curve_panels,
    pareto_points,
)
from srlab.whole_files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SERIES", "curves_figure", "inline_svg", "pareto_figure", "save_figure"]

# Okabe and Ito's colours, which the colour-blind can tell apart, without their black and yellow.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f6fbf", "#8c6d46")
_INK = {"text": "#1b1f24", "muted": "#6a737d", "grid": "#dfe3e8"}
_DASHES = ("-", "--", ":", "-.")
_MOST_LABELS = 12  # configurations that a plot names in words; with more, each has its row's number alone
_LONGEST_LABEL = 26  # characters
_FILE_DPI, _LAYOUT_DPI = 160, 100
# Offsets of a label from its point, in points, tried in turn until one is free.
_PLACES = (
    (7, 5), (7, -11), (-7, 5), (-7, -11), (0, 12), (0, -18), (14, 16), (14, -22), (-14, 16), (-14, -22),
)  # fmt: skip
_STYLE = {
    "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "srlab", "pdf.fonttype": 42,
    "axes.spines.top": False, "axes.spines.right": False, "text.color": _INK["text"],
    "axes.edgecolor": _INK["muted"], "axes.labelcolor": _INK["text"], "xtick.color": _INK["muted"],
    "ytick.color": _INK["muted"], "xtick.labelcolor": _INK["text"], "ytick.labelcolor": _INK["text"],
    "grid.color": _INK["grid"], "axes.formatter.useoffset": False,
}  # fmt: skip


def pareto_figure(runs: Comparison | Sequence[Run], *, against: str = "latency") -> "Figure":
    """PSNR (mean of the sets, over seeds) against one cost, with the Pareto front.

    Args:
        runs: a comparison, or runs to compare.
        against: ``latency``, ``multiply_adds`` or ``params``.

    Raises:
        ValueError: an unknown cost, or no run has both it and a score.
    """
    if against not in COSTS:
        raise ValueError(f"against={against!r} is not a cost; choose one of {', '.join(COSTS)}")
    comparison = as_comparison(runs)
    points = pareto_points(comparison, against)
    if not points:
        raise ValueError(f"no finished run has a {COSTS[against][1]}: nothing to plot PSNR against")
    costs = [point.cost for point in points]
    with _style():
        figure, (axes,) = _new_figure(1)
        _draw_points(axes, points)
        _finish_axes(axes, axis_title(comparison, against), "PSNR (dB)")
        if min(costs) > 0 and max(costs) > 10 * min(costs):
            axes.set_xscale("log")
        axes.margins(0.16, 0.16)
        if comparison.parameters:
            labels = ", ".join(parameter.label for parameter in comparison.parameters)
            title = f"labels are row: {labels}"
            axes.set_title(title, fontsize=7.5, loc="left", color=_INK["muted"], parse_math=False)
        _label_points(figure, axes, points)
    return figure


def curves_figure(runs: Comparison | Sequence[Run]) -> "Figure":
    """Training loss and validation metrics by step: means over seeds, bands of one standard deviation.

    Raises:
        ValueError: no run has a curve.
    """
    comparison = as_comparison(runs)
    panels = curve_panels(comparison)
    if not panels:
        raise ValueError("no run has a curve: metrics.csv is missing or empty")
    with _style():
        figure, axes = _new_figure(len(panels))
        for place, (each, (title, curves)) in enumerate(zip(axes, panels, strict=True)):
            for curve in curves:
                _draw_curve(each, curve, part=f"part{place}")
            _finish_axes(each, "step", title)
        _legend(figure, axes[0])
        _settle(figure)
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Write in the format that the suffix of ``path`` names; the same figure gives the same bytes."""
    with whole_file(path) as partial:
        partial.write_bytes(_rendered(figure, path.suffix.removeprefix(".")))


def inline_svg(figure: "Figure", *, prefix: str, title: str) -> str:
    """An ``<svg>`` whose colours are the page's variables and whose ids begin with ``prefix``.

    Text stays text. The variables are ``--text``, ``--muted``, ``--grid`` and ``--series-0`` …
    """
    text = _rendered(figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    variables = {color: f"var(--{name})" for name, color in _INK.items()}
    variables |= {color: f"var(--series-{place})" for place, color in enumerate(SERIES)}
    for color, variable in variables.items():
        text = text.replace(color, variable)
    # the page decides about the width, not the figure's width in points
    for side in ("width", "height"):
        text = re.sub(rf'<svg ([^>]*?){side}="[^"]+"', r"<svg \1", text, count=1)
    return text.replace("<svg ", f'<svg role="group" aria-label="{escape(title)}" ', 1)


def _rendered(figure: "Figure", kind: str) -> bytes:
    """Without dates and random ids."""
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    stream = io.BytesIO()
    with _style():  # fonts are chosen when text is written, not when it is drawn
        figure.savefig(stream, format=kind, dpi=_FILE_DPI, metadata=metadata)
    return stream.getvalue()


def _style() -> AbstractContextManager[None]:
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def _color(number: int) -> str:
    """Of the configuration of that number, in every plot."""
    return SERIES[(number - 1) % len(SERIES)]


def _new_figure(panels: int) -> "tuple[Figure, list[Axes]]":
    """Two panels side by side; without pyplot: no window, no global state, also in a notebook."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-panels // 2)
    size = (5.6 if panels == 1 else 9.6, 3.9 * rows)
    figure = Figure(figsize=size, layout="constrained", dpi=_LAYOUT_DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0)
    axes: Any = figure.subplots(rows, min(panels, 2), squeeze=False).flat
    for unused in axes[panels:]:
        unused.set_axis_off()
    return figure, list(axes[:panels])


def _settle(figure: "Figure") -> None:
    """Lay out once, so that what is placed afterwards stays in place in every format."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _finish_axes(axes: "Axes", x_title: str, y_title: str) -> None:
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    axes.patch.set_alpha(0)
    axes.grid(visible=True, linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_points(axes: "Axes", points: Sequence[Point]) -> None:
    front = sorted((point.cost, point.psnr.mean) for point in points if point.on_front)
    axes.plot(
        *zip(*front, strict=True), color=_INK["muted"], linewidth=1.2, linestyle="--", gid="front", zorder=1
    )
    for point in points:
        number, place = point.configuration.number, (point.cost, point.psnr.mean)
        low, high = point.cost_range
        # a median lies between its percentiles, but after rounding it may not
        spread = [[max(0.0, point.cost - low)], [max(0.0, high - point.cost)]] if low < high else None
        bars = axes.errorbar(
            *place,
            xerr=spread,
            yerr=point.psnr.std,
            fmt="none",
            ecolor=_color(number),
            elinewidth=1,
            capsize=2,
        )
        for part_number, part in enumerate(bars.get_children()):
            part.set_gid(f"bars-{number}-part{part_number}")
        marker, size = ("o", 7) if point.on_front else ("X", 6)
        axes.plot(
            *place, marker=marker, markersize=size, color=_color(number), markeredgewidth=0.8, linestyle="none",
            gid=f"point-{number}",
        )  # fmt: skip


def _label_points(figure: "Figure", axes: "Axes", points: Sequence[Point]) -> None:
    """Each label takes the place beside its point where it covers the least of points and other labels."""
    _settle(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    centres = axes.transData.transform([(point.cost, point.psnr.mean) for point in points]).tolist()
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in centres]
    texts = {point.configuration.number: ", ".join(point.configuration.values) for point in points}
    in_words = len(points) <= _MOST_LABELS and max(map(len, texts.values())) <= _LONGEST_LABEL
    frame = axes.get_window_extent(renderer).extents
    for point in points:
        number, place = point.configuration.number, (point.cost, point.psnr.mean)
        text = f"{number}: {texts[number]}" if in_words and texts[number] else str(number)
        note = axes.annotate(
            text, place, textcoords="offset points", fontsize=7.5, gid=f"label-{number}", annotation_clip=False,
            parse_math=False,  # values of parameters are text
        )  # fmt: skip

        def cover(offset: tuple[int, int], note: Any = note) -> tuple[float, Any]:
            note.set_position(offset)
            note.set_horizontalalignment("left" if offset[0] > 0 else "right" if offset[0] < 0 else "center")
            box = note.get_window_extent(renderer).extents
            outside = (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, frame)
            return sum(_overlap(box, other) for other in taken) + 3 * outside, box

        best = min(_PLACES, key=lambda offset: cover(offset)[0])
        taken.append(cover(best)[1])


def _overlap(one: Any, other: Any) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _draw_curve(axes: "Axes", curve: Curve, *, part: str) -> None:
    """``part`` keeps the ids of the panels apart."""
    number = curve.configuration.number
    axes.plot(
        curve.steps,
        curve.means,
        color=_color(number),
        linestyle=_DASHES[(number - 1) // len(SERIES) % len(_DASHES)],
        linewidth=1.5,
        marker="o" if len(curve.steps) < 25 else None,
        markersize=3,
        alpha=1 if curve.of_finished else 0.55,
        label=f"{number}: {curve.configuration.label}" + ("" if curve.of_finished else " (unfinished)"),
        gid=f"curve-{number}-{part}",
    )
    if curve.stds is not None:
        low, high = (
            [mean + sign * std for mean, std in zip(curve.means, curve.stds, strict=True)] for sign in (-1, 1)
        )
        axes.fill_between(
            curve.steps, low, high, color=_color(number), alpha=0.18, linewidth=0, gid=f"band-{number}-{part}"
        )


def _legend(figure: "Figure", axes: "Axes") -> None:
    """Below the axes, in as many columns as fit; the figure grows by its rows."""
    handles, labels = axes.get_legend_handles_labels()
    # 19 letters of 7.5 points to an inch, and a line takes 8 of them
    columns = max(1, min(3, len(labels), int(19 * figure.get_figwidth()) // (max(map(len, labels)) + 8)))
    figure.set_figheight(figure.get_figheight() + 0.16 * -(-len(labels) // columns))
    legend = figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        fontsize=7.5,
        frameon=False,
        handlelength=3.6,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
