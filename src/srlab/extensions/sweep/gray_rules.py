"""A sweep whose finished cells count gray images in one way gets no cells that count them in the other."""

import json
from collections.abc import Iterable
from pathlib import Path

from srlab.app.resume import SUMMARY_NAME
from srlab.extensions.sweep.records import Cell
from srlab.metrics.protocol import GrayRule, recorded_gray_rule

__all__ = ["refuse_earlier_gray_rule"]


def refuse_earlier_gray_rule(sweep: Path, cells: Iterable[Cell]) -> None:
    """Look into the summaries of cells that have a score.

    Args:
        sweep: its folder.
        cells: its records.

    Raises:
        ValueError: one was scored on gray images before protocols said how these count.
    """
    earlier = [cell.name for cell in cells if cell.objective is not None and _is_earlier(sweep / cell.name)]
    if earlier:
        raise ValueError(
            f"{len(earlier)} cells of {sweep}, among them {earlier[0]}, were scored when gray images counted "
            "as their own luma (gray=own), and those to come would count them as three equal channels "
            "(gray=replicate): name another folder with hydra.sweep.dir=…"
        )


def _is_earlier(folder: Path) -> bool:
    try:
        summary = json.loads((folder / SUMMARY_NAME).read_text())
    except FileNotFoundError:
        return False
    protocol = summary.get("protocol")
    if not protocol or "gray" in protocol:  # another program's cell, or one of ours that names its rule
        return False
    return recorded_gray_rule(summary["scores"], protocol) == GrayRule.own.name
