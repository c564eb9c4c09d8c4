"""Sweeps in which each cell is a separate process: Hydra schedules, this package supervises."""
