"""The programs ``train`` and ``evaluate``: from the command line to a run. Hydra is used here alone."""
