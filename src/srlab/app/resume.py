"""``resume=RUN`` and ``rerun=RUN``: a saved configuration with changes, and a state to start from."""

import copy
import logging
import zipfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from srlab.app.keys import check_known, parsed_overrides
from srlab.app.launch import configuration_folder, is_first_process
from srlab.app.saved_config import AUTO, differing_keys, flat, load_config, named_run, trackers
from srlab.checkpoints.files import OUR_ENTRY, read_file
from srlab.runs import contract
from srlab.runs.contract import CONFIG_FILE, MONITOR
from srlab.runs.folder import RunFolder
from srlab.runs.provenance import provenance
from srlab.tasks.checkpoint_io import validation_is_due
from srlab.terminal.command_lines import typed_override
from srlab.terminal.names import some

log = logging.getLogger(__name__)

# Files of an attempt that ended before its first checkpoint.
_LEFTOVERS = (
    *(CONFIG_FILE, contract.SUMMARY_FILE, contract.METRICS_FILE),
    *(contract.COSTS_FILE, contract.COMPARISON_FILE),
)

# What Lightning needs to continue.
_NEEDED = ("global_step", "loops", "optimizer_states", "lr_schedulers", "state_dict")

_NETWORK = (
    "resume keeps the network in {folder}, and this would make it another one: start a new run, perhaps with "
    "initial_weights={folder}"
)
_LIMIT = "limits decide whether a run begins, and {folder} has begun: leave it out, or start a new run"
_PLACE = "a resumed run writes to its own folder, {folder}: leave it out"

# Why a resumed run cannot change a key or the keys below it, and what to do. Other keys take effect,
# since their objects are built again, and a checkpoint restores none of the options of these.
_REFUSED = {
    "initial_weights": "a resumed run starts from its checkpoint: leave it out, or start a new run",
    "latency.limit_ms": _LIMIT,
    "limits": _LIMIT,
    "model": _NETWORK,
    "paths.new_run": _PLACE,
    "paths.run": _PLACE,
    "protocol": "the best score so far was measured under the protocol in {folder}: keep it, and compare "
    "protocols with evaluate.py",
    "scale": _NETWORK,
    "shift_schedule": _NETWORK,
}


def resumed_config(resume: Path, overrides: list[str]) -> DictConfig:
    """The configuration of the run at ``resume``, its folder or one of its checkpoints, with changed values.

    Raises:
        ValueError: an override exchanges a whole group (``model=…``), which would be another run, or changes
            what a resumed run cannot change.
    """
    folder = named_run(resume)
    cfg = load_config(folder)
    before = copy.deepcopy(cfg)
    _change(cfg, overrides, "resume", folder)
    check_obeyed(before, cfg, folder)
    cfg.resume = str(resume)
    cfg.paths.run = str(folder)
    return cfg


def check_obeyed(before: DictConfig, now: DictConfig, folder: Path) -> None:
    """Raise a ``ValueError`` with key, values and remedy for changes that a resumed run cannot make.

    Values are compared after interpolation, so that changes through other keys are found, too.
    """
    values = [flat(cfg) for cfg in (before, now)]
    for key in sorted(values[0].keys() | values[1].keys()):
        one, other = (each.get(key, "not set") for each in values)
        reason = next((why for each, why in _REFUSED.items() if f"{key}.".startswith(f"{each}.")), None)
        if one != other and reason is not None:
            raise ValueError(f"{key}={other} instead of {one}: {reason.format(folder=folder)}")


def repeated_config(composed: DictConfig, overrides: list[str]) -> DictConfig:
    """The configuration of the run at ``composed.rerun`` for a new folder, with changed values."""
    folder = named_run(Path(composed.rerun), key="rerun")
    if is_first_process():
        _warn_of_other_versions(RunFolder(folder).last_checkpoint)
    cfg = load_config(folder)
    scale = cfg.scale
    _change(cfg, overrides, "rerun", folder)
    if cfg.scale != scale:
        raise ValueError(f"rerun repeats the run in {folder}, which is x{scale}; start a new run instead")
    cfg.resume, cfg.rerun = composed.resume, None
    return in_new_folder(cfg, composed.paths.run)


def in_new_folder(cfg: DictConfig, folder: str) -> DictConfig:
    """A saved configuration for a run of its own: another folder, another run at W&B."""
    cfg.paths.run = cfg.paths.new_run = folder
    for logger in trackers(cfg).values():
        logger.id = None
    return cfg


def _warn_of_other_versions(checkpoint: Path) -> None:
    """Warn of versions that differ from those which computed a run."""
    try:
        recorded = read_file(checkpoint, known="runs are made by train.py")[OUR_ENTRY]["versions"]
    except (ValueError, KeyError, OSError) as error:  # the configuration is enough to repeat a run
        log.warning("rerun: %s does not record the versions it was computed with: %s", checkpoint, error)
        return
    for name, now in provenance().items():
        if name in recorded and recorded[name] != now:
            log.warning("rerun: %s was %s and is %s now: weights may differ", name, recorded[name], now)


def _change(cfg: DictConfig, words: list[str], verb: str, folder: Path) -> None:
    """Set single values; ``+KEY`` may be a new one, ``~KEY`` is removed."""
    for override in parsed_overrides(words):
        key = override.key_or_group
        if key in ("resume", "rerun"):
            continue
        if (configuration_folder() / key).is_dir():
            raise ValueError(
                f"{verb} uses the configuration in {folder / CONFIG_FILE}; {override.input_line} would "
                f"exchange all of {key}: change single values ({key}.KEY=VALUE), or start a new run with "
                f"{typed_override('initial_weights', folder)}"
            )
        is_added = override.is_add() or override.is_force_add()
        if not is_added:
            check_known(cfg, override)
        if override.is_delete():
            above, _, name = key.rpartition(".")
            node = OmegaConf.select(cfg, above) if above else cfg
            with open_dict(node):
                del node[name]
        else:
            OmegaConf.update(cfg, key, override.value(), merge=False, force_add=is_added)
        log.info("%s with %s", verb, override.input_line)


def finished_score(cfg: DictConfig, run: RunFolder) -> float | None:
    """Score of a run that has nothing left to do; None if it is not finished, or is to be trained further."""
    summary = run.summary() if not Path(cfg.resume).is_file() else None
    return float(summary[MONITOR]) if summary is not None and _is_at_end(summary["steps"], cfg) else None


def start_state(cfg: DictConfig, run: RunFolder) -> Path | None:
    """The checkpoint that ``resume`` continues from, None for a new start; the locked folder is prepared.

    Raises:
        ValueError: the checkpoint is damaged, or the run is already longer than ``trainer.max_steps``.
        FileNotFoundError: there is no checkpoint.
    """
    found = _newest_good(run) if cfg.resume == AUTO else _named_checkpoint(Path(cfg.resume), run)
    if is_first_process():
        _clear(run, is_new=found is None)
    if found is None:
        return None
    step, checkpoint = found
    _is_at_end(step, cfg)
    log.info("resuming after step %d, from %s", step, checkpoint)
    return checkpoint


def _is_at_end(step: int, cfg: DictConfig) -> bool:
    if step > cfg.trainer.max_steps:
        raise ValueError(
            f"the run in {cfg.paths.run} has been trained for {step} steps already, more than "
            f"trainer.max_steps={cfg.trainer.max_steps}: give a larger number, or start a new run"
        )
    return step == cfg.trainer.max_steps


def adopt_unfinished(cfg: DictConfig, run: RunFolder) -> None:
    """For ``resume=auto``: take over what the run in the folder has decided once, if it is the same run.

    Raises:
        ValueError: it is another one, with results that would be lost.
    """
    has_results = bool(run.checkpoints()) or run.is_finished
    if not (run.path / CONFIG_FILE).exists():
        if has_results:
            raise ValueError(f"{run.path} holds checkpoints but no {CONFIG_FILE}; name another folder")
        return
    saved = load_config(run.path)
    differing = differing_keys(cfg, saved)
    if differing and has_results:
        raise ValueError(
            f"resume=auto: the run in {run.path} was started with another configuration; it differs in "
            f"{some(differing)}. Resume it with {typed_override('resume', run.path)}, perhaps with single "
            "values changed, or name another folder (hydra.run.dir=…)"
        )
    if not differing:
        cfg.threads = cfg.threads or saved.threads
        for name, logger in trackers(cfg).items():
            logger.id = logger.id or saved.logger[name].id


def _newest_good(run: RunFolder) -> tuple[int, Path] | None:
    """The readable checkpoint with the most steps, a validated one first; dates of files do not matter."""
    good = []
    for path in run.checkpoints():
        try:
            content = _checked(path)
            good.append((content["global_step"], not validation_is_due(content), path.name, path))
        except (ValueError, OSError) as error:  # noqa: PERF203
            log.warning("resume=auto skips a checkpoint: %s", error)
    return (max(good)[0], max(good)[-1]) if good else None


def _named_checkpoint(resume: Path, run: RunFolder) -> tuple[int, Path]:
    """The step of the checkpoint itself, or of the run's last one, and its path."""
    checkpoint = resume if resume.is_file() else run.last_checkpoint
    if not checkpoint.is_file():
        raise FileNotFoundError(
            f"resume={resume}: {checkpoint} does not exist: that run ended before its first checkpoint; "
            "start it again"
        )
    try:
        return _checked(checkpoint)["global_step"], checkpoint
    except ValueError as error:
        remedy = "start the run again"
        if others := [path for path in run.checkpoints() if path != checkpoint]:
            folder = typed_override("hydra.run.dir", run.path)
            remedy = f"{typed_override('resume', others[0])} or resume=auto {folder}"
        raise ValueError(f"cannot resume from {checkpoint}: {error}. What may help: {remedy}") from error


def _checked(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, every byte of which is checked; a ``ValueError`` if it is no good."""
    content = read_file(path, known="only checkpoints written by train.py can be resumed")
    # PyTorch's reader ignores the checksums and would return whatever a damaged block holds
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{path} is damaged: {damaged} in it has a wrong checksum")
    missing = [key for key in _NEEDED if key not in content]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it holds a network, not the state of a run")
    return content


def _clear(run: RunFolder, *, is_new: bool) -> None:
    """Delete partial files; before a new start, rename unreadable checkpoints and delete older results."""
    for partial in run.path.glob("checkpoints/.*.partial"):
        partial.unlink()
    if not is_new:
        return
    for damaged in run.checkpoints():
        damaged.replace(damaged.with_name(f"{damaged.name}.damaged"))
    leftovers = [run.path / name for name in _LEFTOVERS if (run.path / name).exists()]
    for path in leftovers:
        path.unlink()
    if leftovers:
        log.warning("starting again in %s: an earlier attempt saved no state to resume from", run.path)
