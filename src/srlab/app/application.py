"""What train.py and evaluate.py share: schemas, resolvers, and errors that a user can act on."""

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from srlab.app.command_line import for_hydra
from srlab.app.known_keys import misspelt
from srlab.app.launch import check_shared_name, first_process_log, new_run_name
from srlab.app.presets import configuration_folder
from srlab.app.resume import folder_of_run
from srlab.config import EvaluateConfig, TrainConfig
from srlab.extensions.wandb.environment import wandb_variable
from srlab.terminal.output import lasting_output

__all__ = ["application", "register"]

log = logging.getLogger(__name__)

# What a user's configuration, files or data can raise; anything else is our own fault and keeps its
# traceback.
_USER_ERRORS = (ValueError, OSError, MemoryError, RuntimeError, HydraException, OmegaConfBaseException)


_FULL_ERROR = "HYDRA_FULL_ERROR"

# What a shell reports for a program that Ctrl-C ended.
_INTERRUPTED = 130


def register() -> None:
    """Make the typed schemas and the resolvers known to Hydra; may be called again."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="evaluate_schema", node=EvaluateConfig)
    OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)
    OmegaConf.register_new_resolver("new_run_name", new_run_name, replace=True)
    OmegaConf.register_new_resolver("first_process_log", first_process_log, replace=True)
    OmegaConf.register_new_resolver("wandb_variable", wandb_variable, replace=True)


def _run_dir(resume: str | None, new_run: str, *, _root_: DictConfig) -> str:
    """Folder that a run writes to: the one it resumes, else a new one."""
    try:
        folder = folder_of_run(resume, new_run, _root_)
        if folder == new_run:
            check_shared_name()
        return folder
    except (OSError, ValueError) as error:
        # Hydra asks before logging is set up, and would wrap the error in two others
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


def application(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], Any]]:
    """Turn ``main(cfg)`` into a Hydra application over this project's ``conf/``.

    A mistake of the user's ends with one message and exit status 2; ``HYDRA_FULL_ERROR=1`` shows the
    traceback too. Where standard output is closed or full, the work is done nevertheless, and the exit status
    says so (:mod:`srlab.terminal.output`). Each cell of a sweep (``-m``) is this same program, once more, as
    a process of its own.

    Args:
        config_name: the root configuration, ``train`` or ``evaluate``.
    """
    register()

    def decorate(main: Callable[[DictConfig], Any]) -> Callable[[], Any]:
        @functools.wraps(main)
        def guarded(cfg: DictConfig) -> Any:
            with _environment(_FULL_ERROR, wanted):
                sys.argv = typed  # what processes of other devices are started with
                return _run(main, cfg)

        composed = hydra.main(
            version_base="1.3", config_path=str(configuration_folder()), config_name=config_name
        )(guarded)
        typed: list[str] = []
        wanted: str | None = None

        @functools.wraps(main)
        def start() -> Any:
            nonlocal typed, wanted
            typed, wanted = sys.argv, os.environ.get(_FULL_ERROR)
            sys.argv = [typed[0], *for_hydra(typed[1:])]
            try:
                # Hydra raises what it would print
                with lasting_output(), _environment(_FULL_ERROR, "1"):
                    return composed()
            except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
                if wanted == "1":
                    raise
                sys.stderr.write(f"error: {_why_not_begun(error, config_name)}\n")
                sys.exit(2)
            finally:
                sys.argv = typed

        return start

    return decorate


def _run(main: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    """``main``, whose user's mistakes become one message."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        from srlab.extensions.sweep.cell import run_cell  # here: it needs POSIX, single runs do not

        return run_cell(cfg)
    try:
        return main(cfg)
    except KeyboardInterrupt:
        log.warning("interrupted")
        sys.exit(_INTERRUPTED)
    except _USER_ERRORS as error:
        if os.environ.get(_FULL_ERROR) == "1":
            raise
        log.error("%s", _message(error))
        sys.exit(2)


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """A variable of the environment that has another value for a while; None: that is unset."""
    before = os.environ.get(name)
    _set(name, value)
    try:
        yield
    finally:
        _set(name, before)


def _set(name: str, value: str | None) -> None:
    os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value


def _why_not_begun(error: BaseException, config_name: str) -> str:
    """What kept Hydra from calling ``main``: a word that was typed, or a folder that cannot be written."""
    cause: BaseException | None = error
    # Hydra's error for a choice that is not there is an OSError, too
    while cause is not None and (not isinstance(cause, OSError) or isinstance(cause, HydraException)):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return (
            f"{cause}: the folder of this run cannot be written; start where you may write, or name a folder "
            "with hydra.run.dir=FOLDER"
        )
    words = sys.argv[1:]
    if not any(word.startswith(("--config", "-c")) for word in words):  # those may know other choices
        faults = misspelt((word for word in words if not word.startswith("-")), config_name)
        if faults:
            return "; ".join(faults)
    below = error.__cause__
    return f"{error}\n{below}" if isinstance(below, OmegaConfBaseException) else str(error)


def _message(error: BaseException) -> str:
    """What went wrong in the words of whoever noticed it: Hydra wraps the errors of constructors."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return f"{kind}{error}"


# Hydra's launchers import this module in their workers, which resolve what they compose.
register()
