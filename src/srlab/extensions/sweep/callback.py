"""Where Hydra lets a sweep's supervision in."""

import sys
import traceback
from typing import Any

from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

__all__ = ["SweepCallback"]


class SweepCallback(Callback):
    """Hydra calls it between composing a sweep's configuration and starting its engine."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Begin the sweep or go on with it; only the engine's process returns from here."""
        from srlab.extensions.sweep.front import begin  # here: single runs make this object, too

        try:
            begin(config, kwargs["config_name"])
        # whatever is left to Hydra becomes a warning, and the cells go on with nobody over them
        except (ValueError, OSError, HydraException) as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(2)
        except Exception:  # a fault of ours
            traceback.print_exc()
            sys.exit(1)
