"""Sweeps whose every cell is a process of its own: Hydra's engines schedule, this package supervises."""
