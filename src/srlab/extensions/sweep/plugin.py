"""Registers what runs the cells of ``-m``."""

from typing import Any

from srlab.app.multirun import MULTIRUN, Multirun


def _begin(config: Any, config_name: str) -> None:
    from srlab.extensions.sweep.front import begin

    begin(config, config_name)


def _run_cell(cfg: Any) -> float | None:
    from srlab.extensions.sweep.cell import run_cell

    return run_cell(cfg)


MULTIRUN.register("sweep", Multirun(begin=_begin, run_cell=_run_cell))
