"""What all figures share: colours, style, size; written as files, and as SVG inside a page."""

import io
import re
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from srlab.atomic_files import atomic_write

# Okabe and Ito's colours, which the colour-blind can tell apart, without their black and yellow.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f6fbf", "#8c6d46")
INK = {"text": "#1b1f24", "muted": "#6a737d", "grid": "#dfe3e8"}
STYLE: Any = {
    "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "srlab", "pdf.fonttype": 42,
    "axes.spines.top": False, "axes.spines.right": False, "text.color": INK["text"],
    "axes.edgecolor": INK["muted"], "axes.labelcolor": INK["text"], "xtick.color": INK["muted"],
    "ytick.color": INK["muted"], "xtick.labelcolor": INK["text"], "ytick.labelcolor": INK["text"],
    "axes.grid": True, "axes.axisbelow": True, "grid.color": INK["grid"], "grid.linewidth": 0.6,
    "axes.formatter.useoffset": False, "axes.facecolor": "none", "figure.facecolor": "none",
    "legend.fontsize": 7.5, "legend.frameon": False, "legend.handlelength": 3.6,
}  # fmt: skip


def save_figure(figure: Figure, path: Path) -> None:
    """Write in the format that the suffix of ``path`` names; the same figure gives the same bytes."""
    with atomic_write(path) as partial:
        partial.write_bytes(_rendered(figure, path.suffix.removeprefix(".")))


def inline_svg(figure: Figure, *, prefix: str, title: str) -> str:
    """An ``<svg>`` whose colours are the page's variables and whose ids begin with ``prefix``.

    Text stays text. The variables are ``--text``, ``--muted``, ``--grid`` and ``--series-0`` …
    """
    text = _rendered(figure, "svg").decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    for name, color in (*INK.items(), *((f"series-{place}", color) for place, color in enumerate(SERIES))):
        text = text.replace(color, f"var(--{name})")
    # the page decides about the width, not the figure's width in points
    for side in ("width", "height"):
        text = re.sub(rf'<svg ([^>]*?){side}="[^"]+"', r"<svg \1", text, count=1)
    return text.replace("<svg ", f'<svg role="group" aria-label="{escape(title)}" ', 1)


@matplotlib.rc_context(STYLE)  # fonts are chosen when text is written, not when it is drawn
def _rendered(figure: Figure, kind: str) -> bytes:
    """Without dates and random ids."""
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, dpi=160, metadata=metadata)
    return stream.getvalue()


def new_figure(panels: int) -> tuple[Figure, list[Axes]]:
    """At most two panels side by side; without pyplot: no window, no global state, also in a notebook."""
    rows = -(-panels // 2)
    figure = Figure(figsize=(5.6 if panels == 1 else 9.6, 3.9 * rows), layout="constrained", dpi=100)
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(rows, min(panels, 2), squeeze=False).flat
    for unused in axes[panels:]:
        unused.set_axis_off()
    return figure, list(axes[:panels])


def series_color(number: int) -> str:
    """Of the configuration with this number, from 1."""
    return SERIES[(number - 1) % len(SERIES)]
