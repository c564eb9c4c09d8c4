"""Loads a network in evaluation mode, and a description of the content of its file."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from srlab.checkpoints.detection import detect_file, unwrapped
from srlab.checkpoints.files import OUR_ENTRY, OUR_PREFIX, read_file
from srlab.checkpoints.layouts import official_layout
from srlab.checkpoints.pretrained import WEIGHTS_FILE, checked_weights
from srlab.checkpoints.shipped import shipped_file, shipped_weights
from srlab.models.network import Network
from srlab.models.registry import construct, migrate
from srlab.models.sources import find_by_name
from srlab.terminal.log_lines import DETAIL
from srlab.terminal.names import some

logger = logging.getLogger(__name__)

_RUN_FILES = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")


class LoadedCheckpoint(NamedTuple):
    """A network in evaluation mode, and the description of its file."""

    network: Network
    description: dict[str, Any]


def load_model(path: str | Path, **overrides: Any) -> Network:
    """The network of a file or run folder, with its weights, in evaluation mode on the CPU in float32.

    Args:
        path: our checkpoint, run folder, safetensors or folder of ``save_pretrained``; a file of any of our
            networks, by the authors or by others whose key names are known (docs/networks.md), its weights
            in any dictionary and under any prefix; or a name: of weights that come with srlab, as in
            ``load_model("elan_tiny", scale=2)``, of downloaded ones (``srlab download``), or of a repository
            of the Hugging Face Hub, ``user/repo`` or ``user/repo@revision``.
        overrides: constructor arguments that cannot be detected or that you want to change, such as
            ``window_sizes=[8, 8, 8]``, ``shift_schedule="none"`` or ``backend="reference"``; also another
            ``scale`` where the authors define how weights are converted (ESC); ``mean=[0.5, 0.5, 0.5]`` and
            ``value_range=1.0`` for the input range of the network, which few files determine.
            ``container="params"`` reads the plain weights of a file that also has averaged ones.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a checkpoint, no known network, or weights that do not fit.
    """
    return read_checkpoint(path, **overrides).network


def read_checkpoint(path: str | Path, *, container: str | None = None, **overrides: Any) -> LoadedCheckpoint:
    """Like :func:`load_model`, with a description.

    It always has ``file``, ``layout`` (``srlab`` or ``official``), ``network``, ``scale``, ``model``
    (import path and constructor arguments) and ``assumed`` (arguments that the file does not determine). One
    of our checkpoints adds all that it holds, such as ``protocol`` and ``versions``; an official file its
    ``source`` (the code base whose key names it has), its ``container`` (None for a bare state dict), the
    containers with other weights that were ``passed_over``, and ``official_options``, which write a file
    like it.
    """
    file = find_file(path, scale=overrides.get("scale"))
    content = read_file(file)
    file_name = str
    if isinstance(content.get(OUR_ENTRY), Mapping):
        if container is not None:
            raise ValueError(f"container={container}: {file} is srlab's own and has one set of weights")
        description, state = _read_ours(file, content, content[OUR_ENTRY])
    else:
        description, state, layout = detect_file(file, content, container)
        file_name = layout.file_name
    model = {**description["model"], **overrides}
    try:
        network = construct(model)
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{file}: {error}") from error
    try:
        load_strictly(network, at_scale(network, state), source=str(file), file_name=file_name)
    except ValueError as error:
        own_scale = description["model"].get("scale")
        if network.scale == own_scale:
            raise
        raise ValueError(
            f"{file} holds {type(network).__name__} x{own_scale}, and its weights cannot be converted to "
            f"x{network.scale} (only those of ESC can): leave scale out"
        ) from error
    _warn_of_weights(file, state)
    description |= {
        "model": model,
        "assumed": tuple(name for name in description.get("assumed", ()) if name not in overrides),
        "file": str(file),
        "network": type(network).__name__,
        "scale": network.scale,
    }
    _log(description)
    return LoadedCheckpoint(network.eval(), description)


def load_strictly(
    network: Network, state: Mapping[str, Tensor], *, source: str, file_name: Callable[[str], str] = str
) -> None:
    """Copy ``state``, under our keys and in any dtype, into ``network``.

    Args:
        network: to be filled.
        state: its weights.
        source: the file, for messages.
        file_name: what the file calls one of our keys.

    Raises:
        ValueError: an entry is missing, unexpected or of another shape; the first few are named.
    """
    own = network.state_dict()
    faults = {
        "missing": map(file_name, own.keys() - state.keys()),
        "unexpected": map(file_name, state.keys() - own.keys()),
        "of another shape": (
            f"{file_name(key)} is {(*state[key].shape,)} in the file, {(*own[key].shape,)} in the network"
            for key in own.keys() & state.keys()
            if own[key].shape != state[key].shape
        ),
    }
    found = {fault: sorted(keys) for fault, keys in faults.items()}
    complaints = [f"{len(keys)} {fault}: {some(keys)}" for fault, keys in found.items() if keys]
    if complaints:
        raise ValueError(f"{source} does not fit {type(network).__name__}: " + "; ".join(complaints))
    network.load_state_dict(dict(state))


def at_scale(network: Network, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` of a network of another scale, converted where the authors define how (ESC)."""
    layout = official_layout(type(network))
    return dict(state) if layout is None else layout.at_scale(state, network.scale)


def find_file(given: str | Path, *, scale: int | None = None) -> Path:
    """The checkpoint file that a path or a registered name stands for.

    Of a run folder it is the best one, else the last one; of a folder of ``save_pretrained`` the weights; of
    a preset with shipped weights those for ``scale``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: no regular file, or shipped weights for other scales.
    """
    path = Path(given)
    if not path.exists() and not path.is_symlink():
        path = shipped_file(str(given), scale) or find_by_name(str(given)) or path
    if path.is_dir():
        for name in _RUN_FILES:
            if (path / name).is_file():
                return path / name
        if (path / WEIGHTS_FILE).is_file():
            return checked_weights(path)
        expected = ", ".join((*_RUN_FILES, WEIGHTS_FILE))
        raise FileNotFoundError(f"{path} is a folder without any of {expected}; name a checkpoint file")
    if not path.exists():
        link = f": it is a broken link to {path.readlink()}" if path.is_symlink() else ""
        raise FileNotFoundError(f"no checkpoint at {path}{link or _other_names(path)}")
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file, so it cannot be a checkpoint")
    return path


def _other_names(path: Path) -> str:
    """What else could have been meant by a word that is no path."""
    if path.name != str(path) or path.suffix:
        return ""
    ours = ", ".join(file.stem for files in shipped_weights().values() for file in files.values())
    return f"; weights that come with srlab: {ours}; `srlab download --list` prints those to download"


def _read_ours(
    file: Path, content: Mapping[str, Any], ours: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and state of a checkpoint that we wrote; the trainer's other entries are ignored."""
    model, weights = ours.get("model"), content.get("state_dict")
    if not isinstance(model, Mapping) or not isinstance(weights, Mapping):
        raise ValueError(f"{file} lacks {OUR_ENTRY}.model or state_dict; it was not written completely")
    state = {
        unwrapped(key.removeprefix(OUR_PREFIX)): value
        for key, value in weights.items()
        if isinstance(key, str) and key.startswith(OUR_PREFIX) and isinstance(value, Tensor)
    }
    return {**ours, "layout": "srlab", "model": migrate(model)}, state


def _warn_of_weights(file: Path, state: Mapping[str, Tensor]) -> None:
    """Weights that load, but probably not as the user expects."""
    floating = {key: value for key, value in state.items() if value.is_floating_point()}
    if dtypes := sorted({str(value.dtype)[6:] for value in floating.values()} - {"float32"}):
        logger.warning(f"{file} has weights in {', '.join(dtypes)}; they are converted to float32")
    if broken := [key for key, value in floating.items() if not value.isfinite().all()]:
        logger.warning(f"{file} has NaN or infinite weights: {some(broken)}")


def found_in(description: Mapping[str, Any]) -> str:
    """File, layout, network and arguments of the description of a checkpoint, in words."""
    source = description.get("source", description["network"])
    layout = description["layout"] if source == description["network"] else source
    model = description["model"].items()
    arguments = ", ".join(f"{name}={value}" for name, value in model if not name.startswith("_"))
    return f"{description['file']}: {layout} layout, {description['network']}: {arguments}"


def _log(description: Mapping[str, Any]) -> None:
    """What was found, and what the file does not determine."""
    model = description["model"]
    logger.info("%s", found_in(description), extra=DETAIL)
    if others := description.get("passed_over"):
        read = f"read {description['container']}, not the other weights in {some(others)}"
        logger.warning(f"{read}; container={others[0]} reads those")
    if description["assumed"]:
        first = description["assumed"][0]
        origin = "the official file" if description["layout"] == "srlab" else "the file"
        given = ", ".join(f"{name}={model[name]}" for name in description["assumed"])
        logger.info(
            f"not in {origin}, assumed: {given}. To change it, give {first}=… to load_model, "
            f"--set {first}=… to srlab convert or +overrides.{first}=… to evaluate.py"
        )
