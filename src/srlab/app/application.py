"""Hydra applications over ``conf/`` whose user errors are one message and exit status 2."""

import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from srlab.app.config import EvaluateConfig, TrainConfig
from srlab.app.keys import misspelt, unknown_choice
from srlab.app.launch import configuration_folder, first_process_log, for_hydra, new_run_name
from srlab.app.multirun import multirun
from srlab.app.saved_config import run_folder
from srlab.extension_points import imported
from srlab.terminal.output import lasting_output

log = logging.getLogger(__name__)

# What a user's configuration, files or data can raise; anything else is a bug and keeps its traceback.
_USER_ERRORS = (ValueError, OSError, MemoryError, RuntimeError, HydraException, OmegaConfBaseException)
_FULL_ERROR = "HYDRA_FULL_ERROR"
# What a shell reports for a program that Ctrl-C ended.
_INTERRUPTED = 130


def register() -> None:
    """Make the schemas and resolvers known to Hydra; may be called again."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="evaluate_schema", node=EvaluateConfig)
    for resolver in (env, new_run_name, first_process_log):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


def env(name: str, default: Any = None) -> Any:
    """An environment variable, or ``default`` where it is unset or empty; separated by commas for a list."""
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    if default is None or isinstance(default, str):
        return value
    return [word.strip() for word in value.split(",") if word.strip()]


class Hooks(Callback):
    """What Hydra calls once a configuration is composed and before it logs or starts anything.

    Hydra turns an exception here into a warning, so errors end the program at once.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Choose the folder of the run, which Hydra's log file goes to."""
        with _errors_end_the_program():
            folder = run_folder(config)
            with read_write(config.hydra):
                config.hydra.run.dir = str(folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Start or continue a sweep; only the process that runs Hydra's engine returns."""
        with _errors_end_the_program():
            multirun("begin")(config, kwargs["config_name"])


@contextmanager
def _errors_end_the_program() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except Exception:  # a bug
        traceback.print_exc()
        sys.exit(1)


def application(config_name: str, main: str) -> Callable[..., Any]:
    """A Hydra application over this project's ``conf/``.

    A user's mistake ends with one message and exit status 2; ``HYDRA_FULL_ERROR=1`` adds the traceback.
    Where standard output is closed or full, the work is still done, and the exit status reports the loss
    (:mod:`srlab.terminal.output`). Each cell of a sweep (``-m``) is a process of its own that runs the same
    program.

    Args:
        config_name: the root configuration, ``train`` or ``evaluate``.
        main: ``module:function``, which gets the composed configuration; it is imported when it is called, so
            that ``--help`` and misspelt keys are answered without torch.

    Returns:
        The program. It reads the command line of this process, or the words after ``srlab train``.
    """
    return functools.partial(_start, main, config_name)


def _start(main: str, config_name: str, words: list[str] | None = None) -> Any:
    before, wants_traceback = sys.argv, os.environ.get(_FULL_ERROR)
    typed = before if words is None else [before[0], config_name, *words]

    def guarded(cfg: DictConfig) -> Any:
        with _full_errors(wants_traceback):
            sys.argv = typed  # Lightning starts the processes of other devices with it
            return _run(main, cfg)

    guarded.__module__ = f"srlab.app.{config_name}"  # names Hydra's job and its log file
    composed = hydra.main(
        version_base="1.3", config_path=str(configuration_folder()), config_name=config_name
    )(guarded)
    sys.argv = [before[0], *for_hydra(before[1:] if words is None else words)]
    try:
        # with this variable Hydra raises what it would print otherwise
        with lasting_output(), _full_errors("1"):
            return composed()
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        if wants_traceback == "1":
            raise
        sys.stderr.write(f"error: {_reason_not_started(error, config_name)}\n")
        sys.exit(2)
    finally:
        sys.argv = before


def _run(main: str, cfg: DictConfig) -> Any:
    """``main``, or the cell of a sweep; a user's mistake becomes one message."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return multirun("run_cell")(cfg)
    try:
        return imported(main)(cfg)
    except KeyboardInterrupt:
        log.warning("interrupted")
        sys.exit(_INTERRUPTED)
    except _USER_ERRORS as error:
        if os.environ.get(_FULL_ERROR) == "1":
            raise
        log.error("%s", _message(error))
        sys.exit(2)


@contextmanager
def _full_errors(value: str | None) -> Iterator[None]:
    """Set HYDRA_FULL_ERROR (None: unset it) while the block runs."""
    before = os.environ.pop(_FULL_ERROR, None)
    os.environ.update({} if value is None else {_FULL_ERROR: value})
    try:
        yield
    finally:
        os.environ.pop(_FULL_ERROR, None)
        os.environ.update({} if before is None else {_FULL_ERROR: before})


def _reason_not_started(error: BaseException, config_name: str) -> str:
    """Why Hydra did not call ``main``: a folder that cannot be written, or an override that is wrong."""
    cause: BaseException | None = error
    # Hydra's error for a choice that does not exist is an OSError, too
    while cause is not None and (not isinstance(cause, OSError) or isinstance(cause, HydraException)):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return (
            f"{cause}: the folder of this run cannot be written; start where you may write, or name a folder "
            "with hydra.run.dir=FOLDER"
        )
    words = sys.argv[1:]
    if not any(word.startswith(("--config", "-c")) for word in words):  # those may have other choices
        faults = misspelt((word for word in words if not word.startswith("-")), config_name)
        if faults:
            return "; ".join(faults)
        if (sentence := unknown_choice(error)) is not None:
            return sentence
    below = error.__cause__
    return f"{error}\n{below}" if isinstance(below, OmegaConfBaseException) else str(error)


def _message(error: BaseException) -> str:
    """The original message: Hydra wraps the errors of constructors."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, TypeError) and " missing " in str(error):
        return (
            f"{error}: its file in conf must set these; a file in conf/data gets those "
            'of every data set by "defaults: [loading@_here_: shared, _self_]"'
        )
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return f"{kind}{error}"


# Hydra's launchers import this module in their workers, which resolve what they compose.
register()

train = application("train", "srlab.app.training:train")
evaluate = application("evaluate", "srlab.app.scoring:score_sets")
