"""Registers the engine of sweeps."""

from srlab.app.multirun import MULTIRUN

MULTIRUN.register("begin", "srlab.extensions.sweep.front:begin")
MULTIRUN.register("run_cell", "srlab.extensions.sweep.cell:run_cell")
