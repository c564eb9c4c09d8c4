"""A TensorBoard logger with the keys and the step axis of ``metrics.csv``."""

import json
import shlex
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from srlab.extensions.optional_packages import require_packages
from srlab.runs.contract import COMPARISON_FILE, validation_key
from srlab.runs.records import read_scores


class RunTensorBoardLogger(TensorBoardLogger):
    """Writes event files to one folder, however often the run is stopped and resumed.

    Steps count finished optimizer steps, as in ``metrics.csv`` and checkpoints. When a resumed run logs a
    step that an earlier process has logged, TensorBoard shows the later values. Only the first rank logs.

    Args:
        save_dir: folder of the event files.

    Raises:
        ValueError: the package is not installed.
    """

    def __init__(self, *, save_dir: str) -> None:
        purpose = "logger=tensorboard, whose curves metrics.csv has too,"
        require_packages(["tensorboard"], purpose=purpose, extra="tensorboard")
        super().__init__(save_dir, name="", version="", default_hp_metric=False)
        self._config: str | None = None
        self._step: int | None = None

    @property
    def closing_line(self) -> str | None:
        """The command that shows the curves."""
        return None if self._step is None else f"tensorboard --logdir {shlex.quote(self.log_dir)}"

    @rank_zero_only
    def log_hyperparams(  # type: ignore[override]
        self, params: dict[str, Any] | Namespace, metrics: Any = None, step: int | None = None
    ) -> None:
        """Keep ``params``, which the page Text shows; they are written with the first values."""
        assert metrics is None
        assert step is None
        values = vars(params) if isinstance(params, Namespace) else params
        text = json.dumps(values, indent=2, default=str)
        self._config = "\n".join(f"    {line}" for line in text.splitlines())

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values at Lightning's ``step``, which is 0 for the first."""
        assert step is not None
        self._begin(step + 1)
        # Lightning adds epoch to every row; these runs are one
        values = {key: value for key, value in metrics.items() if key != "epoch"}
        super().log_metrics(values, self._step)

    @rank_zero_only
    def log_summary(self, values: Mapping[str, float | int | None]) -> None:
        """Log numbers that describe the whole run, at the step that was logged last."""
        known = {key: value for key, value in values.items() if value is not None}
        self._begin(self._step or 0)
        super().log_metrics(known, self._step)

    @rank_zero_only
    def log_result(self, summary: Mapping[str, Any], folder: Path, picture: Path) -> None:  # noqa: ARG002
        """Log the scores of the best checkpoint under ``best/``, and the comparison picture."""
        self._begin(summary["steps"])
        for mean in summary["scores"]:
            for metric, value in read_scores(mean).items():
                key = f"best/{validation_key(metric, mean['set_name'])}"
                self.experiment.add_scalar(key, value, summary["step"])
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        name = COMPARISON_FILE.partition(".")[0]
        self.experiment.add_image(name, pixels, summary["steps"], dataformats="HWC")

    @rank_zero_only
    def save(self) -> None:
        """Flush; Lightning's own would also write the configuration, which the run's folder has."""
        if self._step is not None:
            self.experiment.flush()

    @rank_zero_only
    def finish(self, exit_code: int) -> None:  # noqa: ARG002
        """Close the event file."""
        if self._step is not None:
            self.experiment.close()

    def _begin(self, step: int) -> None:
        """Start the event file, which replaces what earlier processes logged from ``step`` on."""
        if self._step is None:
            self._kwargs["purge_step"] = step
            if self._config is not None:
                self.experiment.add_text("config", self._config, step)
        self._step = step
