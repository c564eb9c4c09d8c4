"""Figures as files for a paper, and as SVG that a page can hold and recolour."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from srlab.atomic_files import atomic_write
from srlab.extensions.report.plots import INK, SERIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inline_svg", "save_figure"]

_RESOLUTION = 160  # dots per inch of a PNG


def save_figure(figure: "Figure", path: Path) -> None:
    """Write in the format that the suffix of ``path`` names; the same figure gives the same bytes."""
    kind = path.suffix.removeprefix(".")
    with atomic_write(path) as partial:
        partial.write_bytes(_rendered(figure, kind))


def inline_svg(figure: "Figure", *, prefix: str, title: str) -> str:
    """An ``<svg>`` whose colours are the page's variables and whose ids begin with ``prefix``.

    Text stays text. A colour in the figure stands for a variable: ``--text``, ``--muted``, ``--grid`` and
    ``--series-0`` …
    """
    from html import escape

    text = _rendered(figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    variables = {color: f"var(--{name})" for name, color in INK.items()}
    variables |= {color: f"var(--series-{place})" for place, color in enumerate(SERIES)}
    for color, variable in variables.items():
        text = text.replace(color, variable)
    # the width of the page decides, not the width in points
    text = re.sub(r'<svg ([^>]*?)width="[^"]+"', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)height="[^"]+"', r"<svg \1", text, count=1)
    named = f'<svg role="group" aria-label="{escape(title)}" '
    return text.replace("<svg ", named, 1)


def _rendered(figure: "Figure", kind: str) -> bytes:
    """Neither dates nor random ids."""
    import matplotlib

    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    stream = io.BytesIO()
    # what rcParams say counts when text is written, not when it is drawn
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "srlab", "pdf.fonttype": 42}):
        figure.savefig(stream, format=kind, dpi=_RESOLUTION, metadata=metadata)
    return stream.getvalue()
