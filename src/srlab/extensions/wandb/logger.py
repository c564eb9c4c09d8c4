"""A W&B logger whose faults do not end a training."""

import logging
import os
import shlex
import tempfile
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import wandb
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger

from srlab.extensions.wandb.dashboard import COMPARISON, RESTORED
from srlab.metrics.registry import find_metric, list_metrics
from srlab.runs.contract import MONITOR, STEP_AXIS, TRAIN_LOSS, validation_key
from srlab.runs.records import read_scores

log = logging.getLogger(__name__)

# W&B accepts "run" and "dryrun" as older names of the first two.
_MODES = ("online", "offline", "disabled", "run", "dryrun")

# W&B's process drops what it cannot write without an error, so the disk is checked here, this often.
_DISK_INTERVAL_S = 30.0
_DISK_BYTES = 1 << 16

_CONDITIONS = ("date", "commit", "srlab_version", "torch_version", "device", "seed")


class TolerantWandbLogger(WandbLogger):
    """Logs to one W&B run, whatever happens to its server, its process or its disk.

    An online run that cannot be started (no key, no server within ``init_timeout_s``) is logged offline. If
    logging fails later, it ends, and the training continues. Each is one warning with what to do. It never
    asks for a key. Only the first rank logs.

    ``trainer/global_step`` counts finished optimizer steps, as ``metrics.csv`` and checkpoints do; with
    Lightning's own logger it starts at 0.

    Args:
        project: W&B project.
        name: display name of the run.
        save_dir: the run's folder; W&B writes to its subfolder ``wandb``.
        mode: ``offline``, ``online`` or ``disabled``; None: the value of ``WANDB_MODE``.
        id: id of the run, the same whenever it is resumed.
        group: group of the run, such as its sweep; None: no group.
        tags: tags of the run.
        entity: user or team that owns the project; None: the user's own.
        init_timeout_s: how long to wait for the server at the start.
        finish_timeout_s: how long to wait for uploads at the end; the rest stays on the disk.
    """

    def __init__(
        self,
        *,
        project: str,
        name: str,
        save_dir: str,
        mode: str | None,
        id: str | None,
        group: str | None,
        tags: Sequence[str],
        entity: str | None = None,
        init_timeout_s: float,
        finish_timeout_s: float,
    ) -> None:
        if mode is not None and mode not in _MODES:
            source = " (from WANDB_MODE)" if mode == os.environ.get("WANDB_MODE") else ""
            raise ValueError(f"mode must be one of {', '.join(_MODES[:3])}, got {mode!r}{source}")
        where = {"project": project, "entity": entity, "name": name, "save_dir": save_dir, "group": group}
        settings = wandb.Settings(
            init_timeout=init_timeout_s, finish_timeout=finish_timeout_s, finish_timeout_raises=True
        )
        super().__init__(**where, id=id, mode=mode, tags=list(tags), settings=settings)
        # Lightning always passes it, and wandb warns about it
        self._wandb_init.pop("anonymous", None)
        self._finish_timeout_s = finish_timeout_s
        self._has_ended = False
        self._disk_checked_at = float("-inf")

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started when first asked for."""
        if self._experiment is None:
            self._start()
        return self._experiment

    @property
    def closing_line(self) -> str | None:
        """How to upload or find the logged run; None where there is none."""
        if self._has_ended or not self._folder:
            return None
        if self.experiment.settings._offline:
            return f"{self._sync_command}    # upload what was logged offline"
        return f"W&B: {self.experiment.url}"

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Add ``params`` to the run's configuration."""
        self._attempt(super().log_hyperparams, params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values at Lightning's ``step``, which is 0 for the first."""
        self._check_disk()
        self._attempt(super().log_metrics, metrics, None if step is None else step + 1)

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Log pictures; files are copied at once."""
        self._attempt(super().log_image, key, images, step, **kwargs)

    @rank_zero_only
    def log_summary(self, values: Mapping[str, float | int | None]) -> None:
        """Set values of the run's summary."""
        self._attempt(lambda: self.experiment.summary.update(dict(values)))

    @rank_zero_only
    def log_result(self, summary: Mapping[str, Any], folder: Path, picture: Path) -> None:
        """Log the scores of a finished run, the comparison picture and the first restored images."""
        self.log_summary(_result_summary(summary))
        for key, (path, caption) in _pictures(summary, folder, picture).items():
            self.log_image(key, [str(path)], step=summary["steps"] - 1, caption=[caption])

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """End the W&B run, so that the next one of this process starts its own."""
        if self._experiment is None:
            return
        self._check_disk(now=True)
        try:
            self._experiment.finish(exit_code=exit_code)
        except TimeoutError:
            fault = f"not all was uploaded within {self._finish_timeout_s:g} s"
            self._end(fault, f"later: {self._sync_command}")
        except Exception as error:
            self._end(_describe(error))

    def _start(self) -> None:
        """Start an online run if asked to and possible, else an offline one."""
        mode = self._wandb_init["mode"] or os.environ.get("WANDB_MODE") or "online"
        try:
            if mode in ("online", "run", "shared") and not wandb.login(prompt=False, verify=False):
                raise ValueError("there is no API key; give one with wandb login or WANDB_API_KEY")
            run = super().experiment
        except Exception as error:
            if mode in ("offline", "dryrun", "disabled"):
                raise
            self._wandb_init["mode"] = "offline"
            if wandb.run is None:
                wandb.teardown()  # releases the id, which the failed start has taken
            run = super().experiment
            remedy = f"this run is logged offline, to be uploaded with: {self._sync_command}"
            log.warning("W&B: %s; %s", _describe(error), remedy)
        # summaries keep the best value as well
        run.define_metric(TRAIN_LOSS, step_metric=STEP_AXIS, summary="min,last")
        for metric in map(find_metric, list_metrics()):
            best = "max" if metric.higher_is_better else "min"
            run.define_metric(validation_key(metric.name), step_metric=STEP_AXIS, summary=f"{best},last")

    def _attempt(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``action``; if it fails, logging ends and the training continues."""
        if self._has_ended:
            return
        try:
            action(*args, **kwargs)
        except Exception as error:
            self._end(_describe(error))

    def _check_disk(self, *, now: bool = False) -> None:
        if self._has_ended or not self._folder:
            return
        if now or time.monotonic() - self._disk_checked_at >= _DISK_INTERVAL_S:
            self._disk_checked_at = time.monotonic()
            self._attempt(_write_block, self._folder)

    def _end(self, fault: str, advice: str = "metrics.csv has the curve") -> None:
        """Warn, once, and log nothing more."""
        if not self._has_ended:
            self._has_ended = True
            log.warning("W&B: %s; %s", fault, advice)

    @property
    def _folder(self) -> Path | None:
        """Folder of W&B's files; None for a run that is not started or disabled."""
        if self._experiment is None or self._experiment.settings.mode == "disabled":
            return None
        return Path(self._experiment.settings.sync_dir)

    @property
    def _sync_command(self) -> str:
        """Uploads what all processes of this run wrote, one folder each; W&B joins them by their id."""
        run = self.experiment
        kind = "offline-run" if run.settings._offline else "run"
        folder = Path(run.settings.sync_dir).parent  # with WANDB_DIR other runs may write to it too
        return f"wandb sync {shlex.quote(str(folder))}/{kind}-*-{shlex.quote(run.id)}"


def _result_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Flat numbers of a run's ``summary.json``, with the same keys for all runs."""
    flat: dict[str, Any] = {"step": summary["steps"], "best/step": summary["step"]}
    for source, means in (("best", summary["scores"]), ("bicubic", summary["bicubic"])):
        values = defaultdict(list)
        for mean in means:
            for metric, value in read_scores(mean).items():
                flat[f"{source}/{validation_key(metric, mean['set_name'])}"] = value
                values[metric].append(value)
        flat |= {f"{source}/{validation_key(metric)}": fmean(each) for metric, each in values.items()}
    flat["best/gain"] = flat[f"best/{MONITOR}"] - flat[f"bicubic/{MONITOR}"]
    flat["gray_images"] = sum(len(mean["gray_images"]) for mean in summary["scores"])
    flat["gray_rule"] = summary["protocol"]["gray"]
    return flat | {f"conditions/{key}": summary["conditions"][key] for key in _CONDITIONS}


def _pictures(summary: Mapping[str, Any], folder: Path, comparison: Path) -> dict[str, tuple[Path, str]]:
    """Pictures of a run with their captions: the comparison and the first restored images."""
    restored = [entry for entry in summary["images"] if entry["restored"]]
    found = {COMPARISON: (comparison, "")}
    for key, entry in zip(RESTORED, restored, strict=False):
        scores = {find_metric(name): value for name, value in read_scores(entry).items()}
        shown = ", ".join(f"{metric.label} {metric.show(value)}" for metric, value in scores.items())
        found[key] = folder / entry["restored"], f"{entry['set_name']}/{entry['name']}: {shown}"
    return found


def _write_block(folder: Path) -> None:
    """Raises an error where nothing can be written: full disk, quota, deleted folder."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0" * _DISK_BYTES)
        file.flush()


def _describe(error: Exception) -> str:
    """The error on one line, without W&B's advice about its own settings."""
    text = " ".join(str(error).partition("\nConsider")[0].split())
    return f"{type(error).__name__}: {text}" if not isinstance(error, ValueError) else text
