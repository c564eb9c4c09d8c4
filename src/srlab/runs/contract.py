"""The run folder: the names of files, metrics and axes that the core and its extensions agree on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

CONFIG_FILE = "config.yaml"
SUMMARY_FILE = "summary.json"  # written last: a folder with a summary holds a finished run
METRICS_FILE = "metrics.csv"
COSTS_FILE = "costs.json"
COMPARISON_FILE = "comparison.png"
CHECKPOINTS_FOLDER = "checkpoints"
LAST_CHECKPOINT = "last.ckpt"
BEST_CHECKPOINT = "best.ckpt"
IMAGES_FOLDER = "images"

# In the folder of a sweep, above its runs, and in the folder of each.
SWEEP_FILE = "sweep.json"
CELL_FILE = "cell.json"

#: Root key of ``config.yaml`` with the version of the folder's layout; srlab 0.1.0 wrote none.
SCHEMA_KEY = "schema_version"
SCHEMA_VERSION = 2

#: Column of ``metrics.csv``: finished optimizer steps.
STEP = "step"
#: The same number's name at W&B.
STEP_AXIS = "trainer/global_step"
TRAIN_LOSS = "train/loss"
DISCRIMINATOR_LOSS = "train/discriminator_loss"


def validation_key(metric: str, set_name: str | None = None) -> str:
    """Name under which a validation metric is logged, the mean over all sets or that of one set."""
    return f"val/{metric}" if set_name is None else f"val/{set_name}/{metric}"


#: Selects the best checkpoint, and is what sweeps maximize.
MONITOR = validation_key("psnr")


#: Exit status of a run whose network costs more than ``limits`` or ``latency.limit_ms`` allow.
OVER_LIMIT = 3


@runtime_checkable
class ResultLogger(Protocol):
    """A logger that also receives the result of a finished run."""

    @property
    def closing_line(self) -> str | None:
        """A line for the end of the console output, such as where to find the logged run."""
        ...

    def log_summary(self, values: Mapping[str, float | int | None]) -> None:
        """Log numbers that describe the run as a whole, such as its network's costs."""
        ...

    def log_result(self, summary: Mapping[str, Any], folder: Path, picture: Path) -> None:
        """Log the content of ``summary.json``, and pictures that lie in the run's folder."""
        ...

    def finish(self, exit_code: int) -> None:
        """Close the logger, so that the next run in this process starts its own."""
        ...
