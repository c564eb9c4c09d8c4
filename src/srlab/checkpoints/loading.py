"""From a path to a network in evaluation mode, and a description of what the file says about it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from srlab.checkpoints.files import OUR_ENTRY, OUR_PREFIX, read_file
from srlab.checkpoints.official import OfficialFile, misfit, read_official
from srlab.checkpoints.places import unwrapped
from srlab.checkpoints.words import in_words
from srlab.models.network import Network
from srlab.models.registry import construct, network_classes

__all__ = ["LoadedCheckpoint", "load_model", "load_strictly", "read_checkpoint"]

logger = logging.getLogger(__name__)

_RUN_FILES = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
_WEIGHT_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".bin")


class LoadedCheckpoint(NamedTuple):
    """A network in evaluation mode, and what its file says about it."""

    network: Network
    description: dict[str, Any]


def load_model(path: str | Path, **overrides: Any) -> Network:
    """The network of a file or run folder, with its weights, in evaluation mode on the CPU in float32.

    Args:
        path: our checkpoint, run folder or safetensors, or a file of any network of the laboratory, by the
            authors or by others whose names of keys are known (docs/networks.md); its weights may lie in any
            dictionary and under any prefix.
        overrides: constructor arguments that the file cannot tell or that you want otherwise, such as
            ``window_sizes=[8, 8, 8]``, ``shift_schedule="none"`` or ``backend="reference"``; also another
            ``scale`` where the authors define how weights carry over (ESC); ``mean=[0.5, 0.5, 0.5]`` and
            ``value_range=1.0`` for the colours that the network sees, which few files tell.
            ``container="params"`` reads the plain weights of a file that has averaged ones, too.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: not a checkpoint, no known network, or weights that do not fit.
    """
    return read_checkpoint(path, **overrides).network


def read_checkpoint(path: str | Path, *, container: str | None = None, **overrides: Any) -> LoadedCheckpoint:
    """Like :func:`load_model`, with a description.

    It always holds ``file``, ``layout`` (``srlab`` or ``official``), ``network``, ``scale``, ``model``
    (import path and constructor arguments) and ``assumed`` (arguments that the file does not tell). A
    checkpoint of ours adds all that it carries, such as ``protocol`` and ``versions``; an official file its
    ``source`` (whose names of keys it has), its ``container`` (None for a bare state dict), the containers
    with other weights that were ``passed_over``, what else lies ``beside`` the network under other prefixes,
    and ``official_options``, which write one like it again.
    """
    file = _find_file(Path(path))
    content = read_file(file, known=_known_layouts())
    official: OfficialFile | None = None
    if isinstance(content.get(OUR_ENTRY), Mapping):
        if container is not None:
            raise ValueError(f"container={container}: {file} is srlab's own and has one set of weights")
        description, state = _read_ours(file, content, content[OUR_ENTRY])
    else:
        official = read_official(file, content, container)
        description, state = official.description, official.ours
    assumed = tuple(name for name in description.get("assumed", ()) if name not in overrides)
    told_scale = description["model"].get("scale")
    description = {**description, "model": {**description["model"], **overrides}, "assumed": assumed}
    network = _construct(file, description["model"])
    try:
        _load(network, state, official, str(file))
    except ValueError as error:
        if network.scale == told_scale:
            raise
        raise ValueError(
            f"{file} holds {type(network).__name__} x{told_scale}, and its weights do not carry over to "
            f"x{network.scale} (ESC's alone do): leave scale out"
        ) from error
    _warn_of_weights(file, state)
    found = {"file": str(file), "network": type(network).__name__, "scale": network.scale}
    description = {**description, **found}
    _log(description)
    return LoadedCheckpoint(network.eval(), description)


def load_strictly(network: Network, state: Mapping[str, Tensor], *, source: str) -> None:
    """Copy ``state`` into ``network``, whatever its dtype.

    Raises:
        ValueError: an entry is missing, unexpected or of another shape; the first few are named.
    """
    own = network.state_dict()
    shapes = [
        f"{key} is {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the network"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape
    ]
    faults = {
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of another shape": sorted(shapes),
    }
    if any(faults.values()):
        raise _misfit_error(network, faults, source)
    network.load_state_dict(dict(state))


def _load(network: Network, state: Mapping[str, Tensor], official: OfficialFile | None, source: str) -> None:
    """Fill the network; what does not fit is told under the names that the file uses."""
    try:
        load_strictly(network, network.at_scale(state, network.scale), source=source)
    except ValueError as error:
        if official is None:
            raise
        faults = misfit(network, official)
        if not any(faults.values()):
            raise
        raise _misfit_error(network, faults, source) from error


def _misfit_error(network: Network, faults: Mapping[str, list[str]], source: str) -> ValueError:
    complaints = [f"{len(keys)} {fault}: {in_words(keys)}" for fault, keys in faults.items() if keys]
    return ValueError(f"{source} does not fit {type(network).__name__}: " + "; ".join(complaints))


def _find_file(path: Path) -> Path:
    """The checkpoint itself: of a run folder the best one, else the last one."""
    if path.is_dir():
        for name in _RUN_FILES:
            if (path / name).is_file():
                return path / name
        inside = sorted(each.name for each in path.iterdir() if each.suffix in _WEIGHT_SUFFIXES)
        raise FileNotFoundError(
            f"{path} is a folder without {' or '.join(_RUN_FILES)}; name a checkpoint file"
            + (f", such as {in_words(inside)}" if inside else "")
        )
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(
            f"no checkpoint at {path}: it is a link to {path.readlink()}, which leads nowhere"
        )
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if not path.is_file():
        raise ValueError(f"{path} is no ordinary file, so no checkpoint")
    return path


def _read_ours(
    file: Path, content: Mapping[str, Any], ours: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and state of a checkpoint that we wrote; the trainer's other entries are left alone."""
    model, weights = ours.get("model"), content.get("state_dict")
    if not isinstance(model, Mapping) or not isinstance(weights, Mapping):
        raise ValueError(f"{file} lacks {OUR_ENTRY}.model or state_dict; it was not written completely")
    state = {
        unwrapped(key.removeprefix(OUR_PREFIX)): value
        for key, value in weights.items()
        if isinstance(key, str) and key.startswith(OUR_PREFIX) and isinstance(value, Tensor)
    }
    return {**ours, "layout": "srlab", "model": dict(model)}, state


def _known_layouts() -> str:
    """What can be read."""
    names = ", ".join(known.__name__ for known in network_classes() if known.official_landmarks)
    return (
        f"known are checkpoints and run folders of srlab, and official state dicts of {names}, "
        "by torch.save (bare or in dictionaries, under any prefix) or as safetensors"
    )


def _construct(file: Path, model: Mapping[str, Any]) -> Network:
    """The network that the file describes."""
    try:
        return construct(model)
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{file}: {error}") from error


def _warn_of_weights(file: Path, state: Mapping[str, Tensor]) -> None:
    """What loads, but not as a user may think."""
    floating = {key: value for key, value in state.items() if value.is_floating_point()}
    dtypes = sorted({str(value.dtype).removeprefix("torch.") for value in floating.values()} - {"float32"})
    if dtypes:
        logger.warning("%s has weights in %s; they are float32 from here on", file, ", ".join(dtypes))
    broken = [key for key, value in floating.items() if not value.isfinite().all()]
    if broken:
        logger.warning("%s has weights that are no finite numbers: %s", file, in_words(broken))


def _log(description: Mapping[str, Any]) -> None:
    """Say what was found, and what the file left open."""
    model, source = description["model"], description.get("source", description["network"])
    layout = description["layout"] if source == description["network"] else source
    arguments = ", ".join(f"{name}={value}" for name, value in model.items() if not name.startswith("_"))
    logger.info("%s: %s layout, %s: %s", description["file"], layout, description["network"], arguments)
    if description.get("beside"):
        logger.info("beside the network it has %s, which are not read", in_words(description["beside"]))
    if description.get("passed_over"):
        logger.warning(
            "took %s; other weights in %s are not read; container=%s takes them",
            description["container"],
            in_words(description["passed_over"]),
            description["passed_over"][0],
        )
    if description["assumed"]:
        told = (
            "the official file did not tell" if description["layout"] == "srlab" else "the file does not tell"
        )
        logger.info(
            "%s %s: assumed. Otherwise give %s=…: to load_model and srlab convert, and to "
            "evaluate.py as +overrides.%s=…",
            told,
            ", ".join(f"{name}={model[name]}" for name in description["assumed"]),
            description["assumed"][0],
            description["assumed"][0],
        )
