"""W&B for runs that matter more than their log: none of its faults ends, delays or questions a training."""

import logging
import os
import shlex
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger

from srlab.extensions.wandb.result import log_result

__all__ = ["TolerantWandbLogger"]

log = logging.getLogger(__name__)

# W&B's process loses without a word what it cannot write, so that we look ourselves, this often.
_DISK_INTERVAL_S = 30.0
_DISK_BYTES = 1 << 16

# W&B still reads the last two as the first two.
_MODES = ("online", "offline", "disabled", "run", "dryrun")

# What runs plot against, beside Lightning's own axis of steps; summaries keep the best value that was seen.
_AXIS = "trainer/global_step"
_SUMMARIES = {"val/psnr": "max,last", "val/ssim": "max,last", "train/loss": "min,last"}


class TolerantWandbLogger(WandbLogger):
    """One W&B run, whatever becomes of its server, its process or its disk.

    If an online run cannot be started (no key, no server within ``init_timeout_s``), it is logged offline. If
    logging fails later, it ends and the training goes on. The console is told once each time, with what to
    do. Nothing ever asks for a key. Other ranks than the first talk to nobody.

    ``trainer/global_step`` counts finished optimizer steps, as ``metrics.csv`` and checkpoints do;
    Lightning's own logger numbers them from 0.

    Args:
        project: W&B's name for a collection of runs.
        name: of this run.
        save_dir: the run's folder; W&B writes below its ``wandb/``.
        mode: ``offline``, ``online`` or ``disabled``; None for what ``WANDB_MODE`` says.
        id: of the run, the same whenever it is resumed.
        group: runs that belong together; None for none.
        tags: to find the run by.
        entity: whose project; None for the user's own.
        init_timeout_s: how long starting may wait for the server.
        finish_timeout_s: how long the end may wait for uploads; what is left then lies on the disk.
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
        super().__init__(
            project=project,
            entity=entity,
            name=name,
            save_dir=save_dir,
            mode=mode,
            id=id,
            group=group,
            tags=list(tags),
        )
        # wandb warns of it, and Lightning always passes it
        self._wandb_init.pop("anonymous", None)
        self._init_timeout_s = init_timeout_s
        self._finish_timeout_s = finish_timeout_s
        self._guarded: _Guarded | None = None
        self._ended = False
        self._looked_at = float("-inf")

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started when first asked for; calls of it never raise."""
        if self._guarded is None:
            self._guarded = _Guarded(self._start(), self._attempt)
            for name, summary in _SUMMARIES.items():
                self._guarded.define_metric(name, step_metric=_AXIS, summary=summary)
        return self._guarded

    @property
    def closing_line(self) -> str | None:
        """How to upload or find the logged run; None where there is none."""
        if self._experiment is None or self._ended or not self._folder:
            return None
        if self._is_offline:
            return f"{self._sync_command}    # upload what was logged offline"
        return f"W&B: {self._experiment.url}"

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Add ``params`` to the run's configuration."""
        self._attempt(super().log_hyperparams, params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values at ``step``, Lightning's number of it: 0 for the first."""
        self._look_at_disk()
        self._attempt(super().log_metrics, metrics, None if step is None else step + 1)

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Log pictures; the files are copied at once."""
        self._attempt(super().log_image, key, images, step, **kwargs)

    @rank_zero_only
    def log_summary(self, values: Mapping[str, float | int | None]) -> None:
        """Set what stands for the run as a whole."""
        self.experiment.summary.update(dict(values))

    @rank_zero_only
    def log_result(self, summary: Mapping[str, Any], folder: Path, picture: Path) -> None:
        """Log scores, the comparison picture and the first restored images of a finished run."""
        log_result(self, summary, folder=folder, picture=picture)

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """End the W&B run, so that the next one of this process starts its own."""
        run = self._experiment
        if run is None:
            return
        self._look_at_disk(at_once=True)
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError:
            self._end(f"not all was uploaded within {self._finish_timeout_s:g} s", later=True)
        except Exception as error:
            self._end(_fault(error), later=False)

    def _start(self) -> Any:
        """The run: online if it was asked for and can be, else offline, else one that takes nothing."""
        mode = self._wandb_init["mode"] or os.environ.get("WANDB_MODE") or "online"
        try:
            self._wandb_init["settings"] = self._settings()
            if mode in ("online", "run", "shared"):
                return self._start_online()
            return super().experiment
        except Exception as error:
            self._end(_fault(error), later=False)
            return _Nothing()

    def _settings(self) -> Any:
        import wandb

        return wandb.Settings(
            init_timeout=self._init_timeout_s,
            finish_timeout=self._finish_timeout_s,
            finish_timeout_raises=True,
        )

    def _start_online(self) -> Any:
        import wandb

        try:
            if not wandb.login(prompt=False, verify=False):
                raise ValueError("there is no API key; give one with wandb login or WANDB_API_KEY")
            return super().experiment
        except Exception as error:
            self._wandb_init["mode"] = "offline"
            if wandb.run is None:
                wandb.teardown()  # else the id stays taken by the run that could not start
            run = super().experiment
            log.warning(
                "W&B: %s; this run is logged offline, to be uploaded with: %s",
                _fault(error),
                self._sync_command,
            )
            return run

    def _attempt(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Whatever is wrong with W&B, the training is worth more."""
        if self._ended:
            return None
        try:
            return action(*args, **kwargs)
        except Exception as error:
            self._end(_fault(error), later=False)
            return None

    def _look_at_disk(self, *, at_once: bool = False) -> None:
        if self._ended or not self._folder:
            return
        if not at_once and time.monotonic() - self._looked_at < _DISK_INTERVAL_S:
            return
        self._looked_at = time.monotonic()
        self._attempt(_write_something, self._folder)

    def _end(self, fault: str, *, later: bool) -> None:
        """Say it, once, and take no more."""
        if self._ended:
            return
        self._ended = True
        advice = f"; later: {self._sync_command}" if later else "; metrics.csv has the curve"
        log.warning("W&B: %s%s", fault, advice)

    @property
    def _is_offline(self) -> bool:
        return bool(self._experiment is not None and self._experiment.settings._offline)

    @property
    def _folder(self) -> Path | None:
        """Where W&B writes this run; None for a run that writes nothing."""
        settings = getattr(self._experiment, "settings", None)
        if settings is None or settings.mode == "disabled":
            return None
        return Path(settings.sync_dir)

    @property
    def _sync_command(self) -> str:
        """For all that processes of this run wrote, one folder each; W&B joins them by their id."""
        assert self._experiment is not None
        assert self._folder is not None
        kind, run_id = "offline-run" if self._is_offline else "run", self._experiment.id
        # other runs may write to the same folder, as WANDB_DIR says
        return f"wandb sync {shlex.quote(str(self._folder.parent))}/{kind}-*-{shlex.quote(run_id)}"


class _Guarded:
    """An object of W&B's whose methods are called through ``attempt``."""

    def __init__(self, target: Any, attempt: Callable[..., Any]) -> None:
        self._target = target
        self._attempt = attempt

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name in ("summary", "config"):
            return _Guarded(value, self._attempt)
        return partial(self._attempt, value) if callable(value) else value

    def __setitem__(self, key: str, value: Any) -> None:
        self._attempt(self._target.__setitem__, key, value)

    def __getitem__(self, key: str) -> Any:
        return self._target[key]


class _Nothing:
    """Stands for a run that could not be started: takes every call."""

    def __getattr__(self, name: str) -> "_Nothing":
        return self

    def __call__(self, *_args: Any, **_options: Any) -> None:
        return None


def _write_something(folder: Path) -> None:
    """Raises where nothing can be written: disk full, quota, folder gone."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0" * _DISK_BYTES)
        file.flush()


def _fault(error: Exception) -> str:
    """What went wrong on one line, without advice on W&B's own settings."""
    text = " ".join(str(error).partition("\nConsider")[0].split())
    return f"{type(error).__name__}: {text}" if not isinstance(error, ValueError) else text
