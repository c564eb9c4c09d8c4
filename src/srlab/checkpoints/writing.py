"""Networks to files: in the layout of their official code, or as safetensors that describe themselves."""

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from srlab.atomic_files import atomic_write
from srlab.checkpoints.files import OUR_ENTRY
from srlab.checkpoints.loading import LoadedCheckpoint
from srlab.models.network import Network

__all__ = ["official_option_names", "save_official", "save_safetensors", "untold_by_official"]

_SAFETENSORS = ".safetensors"


def save_official(network: Network, path: str | Path, **options: Any) -> None:
    """Write the state dict as the official code writes and reads it.

    A name that ends in ``.safetensors`` gets the official keys in that format; any other the authors' own, by
    ``torch.save``, with their nesting and prefix.

    Args:
        network: one that has an official implementation.
        path: the new file; it appears whole or not at all.
        options: arguments of the network's ``to_official``, such as SwinIR's ``img_size``.

    Raises:
        ValueError: no official layout, an unknown option, or a network that ``fuse`` made.
    """
    known = official_option_names(type(network))
    unknown = sorted(options.keys() - known)
    if unknown:
        raise ValueError(
            f"the official layout of {type(network).__name__} has no option {', '.join(unknown)}; "
            f"it has {', '.join(sorted(known)) or 'none'}"
        )
    _refuse_fused(network)
    state = _separate(network.to_official(**options))
    with atomic_write(Path(path)) as partial:
        if Path(path).suffix == _SAFETENSORS:
            _save_safetensors(state, partial, {})
            return
        prefixed = {f"{network.official_prefix}{key}": value for key, value in state.items()}
        containers = network.official_containers
        with partial.open("wb") as stream:  # given a path, PyTorch raises errors of its own for what fails
            torch.save(dict.fromkeys(containers, prefixed) if containers else prefixed, stream)


def save_safetensors(checkpoint: LoadedCheckpoint, path: str | Path) -> None:
    """Write the network under our keys, with its description in the file's metadata.

    ``load_model`` needs nothing else to build it again: windows, schedules and all.

    Args:
        checkpoint: from :func:`srlab.checkpoints.read_checkpoint`.
        path: the new file; it appears whole or not at all.
    """
    _refuse_fused(checkpoint.network)
    left_out = ("file", "layout", "source", "container", "passed_over", "beside")
    description = {name: value for name, value in checkpoint.description.items() if name not in left_out}
    with atomic_write(Path(path)) as partial:
        metadata = {OUR_ENTRY: json.dumps(description)}
        _save_safetensors(_separate(checkpoint.network.state_dict()), partial, metadata)


def _refuse_fused(network: Network) -> None:
    if network.is_fused:
        raise ValueError("a fused network has lost its norms; write the one that it was made from")


def untold_by_official(checkpoint: LoadedCheckpoint, **options: Any) -> dict[str, Any]:
    """Arguments that ``save_official`` cannot write, where they are not what a reader assumes.

    Args:
        checkpoint: from :func:`srlab.checkpoints.read_checkpoint`.
        options: as of :func:`save_official`.
    """
    network, model = checkpoint.network, checkpoint.description["model"]
    state = network.to_official(**options)
    assumed = type(network).recognise(state) or {}
    return {
        name: model[name]
        for name in type(network).untold(state)
        if name in model and _plain(model[name]) != _plain(assumed[name])
    }


def _plain(value: Any) -> Any:
    """Sequences of any kind as lists."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def official_option_names(network_class: type[Network]) -> set[str]:
    """What ``save_official`` takes for such a network beside the path."""
    return set(inspect.signature(network_class.to_official).parameters) - {"self"}


def _separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each entry in memory of its own: nothing else is dragged into the file."""
    return {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}


def _save_safetensors(state: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    from safetensors.torch import save

    path.write_bytes(save(state, {**metadata, "format": "pt"}))  # save_file would hide it from other users
