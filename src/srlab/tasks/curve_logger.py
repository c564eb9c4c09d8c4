"""The curve of a run as one CSV file, continued when the run is resumed."""

import csv
import logging
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from srlab.atomic_files import atomic_write
from srlab.runs.contract import METRICS_FILE, STEP

log = logging.getLogger(__name__)

# Lightning calls save() after every logged row; writing the whole file each time would cost O(rows²) in all.
_SAVE_INTERVAL_S = 5.0


class CurveLogger(Logger):
    """Writes every logged metric to ``<folder>/metrics.csv``, one row a step, a column a metric.

    The column ``step`` counts completed optimizer steps, as checkpoints do; Lightning numbers steps from 0.

    Lightning's own CSV logger deletes the file of an earlier process in the same folder. This one appends,
    and when a resumed run logs a step that the file already has, the rows from there on are replaced. A
    failed write (disk full) is logged once and retried with the next save: training continues.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = Path(folder) / METRICS_FILE
        self.rows: list[dict[str, Any]] = []
        self._saved_at = float("-inf")
        self._fault: str | None = None
        if self.path.exists():
            with self.path.open(newline="") as file:
                self.rows = [{**row, STEP: int(row[STEP])} for row in csv.DictReader(file)]

    name = "curve"  # type: ignore[assignment] Lightning has properties
    version = ""  # type: ignore[assignment]

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` has the run's configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add ``metrics`` to the row of ``step`` and drop the rows beyond it."""
        if step is None:
            raise ValueError("metrics without a step have no row in a curve; pass step=trainer.global_step")
        finished = step + 1
        while self.rows and self.rows[-1][STEP] > finished:
            self.rows.pop()
        if not self.rows or self.rows[-1][STEP] != finished:
            self.rows.append({STEP: finished})
        # a run is one long epoch, always number 0
        self.rows[-1].update({key: float(value) for key, value in metrics.items() if key != "epoch"})

    @rank_zero_only
    def save(self) -> None:
        """Write the file unless that was done within the last seconds."""
        if time.monotonic() - self._saved_at > _SAVE_INTERVAL_S:
            self.write()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left; warn if that fails."""
        self.write()
        if self._fault is not None:
            log.warning("%s lacks the end of the curve: %s", self.path, self._fault)

    @rank_zero_only
    def write(self) -> None:
        """Write the file now."""
        if not self.rows:
            return
        self._saved_at = time.monotonic()
        columns = [STEP, *sorted({key for row in self.rows for key in row} - {STEP})]
        try:
            with atomic_write(self.path) as partial, partial.open("w", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(self.rows)
        except OSError as error:
            if self._fault is None:
                log.warning("the curve cannot be written now (%s); training continues and retries", error)
            self._fault = str(error)
        else:
            self._fault = None
