"""Where Hydra lets a sweep's supervision in."""

import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

__all__ = ["SweepCallback"]


class SweepCallback(Callback):
    """Hydra calls it between composing a sweep's configuration and starting its engine."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Begin the sweep or go on with it; only the engine's process returns from here."""
        from srlab.runtime.sweep.front import begin  # here: single runs make this object, too

        try:
            begin(config, kwargs["config_name"])
        except (ValueError, OSError) as error:  # Hydra would turn it into a warning and go on
            sys.stderr.write(f"error: {error}\n")
            sys.exit(2)
