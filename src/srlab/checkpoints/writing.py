"""Writes networks in the layout of their official code, or as safetensors with all arguments as metadata."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from srlab.atomic_files import atomic_write
from srlab.checkpoints.files import OUR_ENTRY
from srlab.checkpoints.layouts import OfficialLayout, known_layouts, official_layout
from srlab.checkpoints.loading import LoadedCheckpoint
from srlab.checkpoints.pretrained import WEIGHTS_FILE, write_config
from srlab.models.network import Network
from srlab.models.registry import comparable, model_of


def official_state(network: Network, **options: Any) -> dict[str, Tensor]:
    """The state dict of ``network`` under the keys of its official code.

    Args:
        network: one that has an official implementation.
        options: those of its layout, such as SwinIR's ``img_size``.

    Raises:
        ValueError: no official layout, an unknown option, or a network that ``fuse`` made.
    """
    return _layout_of(network, options).from_ours(network, **options)


def save_official(network: Network, path: str | Path, **options: Any) -> None:
    """Write the state dict as the official code writes and reads it.

    A name that ends in ``.safetensors`` gets the official keys in that format; any other the authors' own, by
    ``torch.save``, with their nesting and prefix.

    Arguments and errors are those of :func:`official_state`; ``path`` is the new file, written atomically.
    """
    layout = _layout_of(network, options)
    state = _separate(layout.from_ours(network, **options))
    prefixed = {f"{layout.prefix}{key}": value for key, value in state.items()}
    with atomic_write(Path(path)) as partial:
        if Path(path).suffix == ".safetensors":
            _save_safetensors(state, partial, {})
            return
        with partial.open("wb") as stream:  # given a path, PyTorch raises errors of its own for what fails
            torch.save(dict.fromkeys(layout.containers, prefixed) or prefixed, stream)


def save_safetensors(checkpoint: LoadedCheckpoint, path: str | Path) -> None:
    """Write the network under our keys, with its description in the file's metadata.

    ``load_model`` needs nothing else to build it again, windows and schedules included.

    Args:
        checkpoint: from :func:`srlab.checkpoints.read_checkpoint`.
        path: the new file, written atomically.
    """
    _refuse_fused(checkpoint.network)
    left_out = ("file", "layout", "source", "container", "passed_over")
    description = {name: value for name, value in checkpoint.description.items() if name not in left_out}
    state, metadata = _separate(checkpoint.network.state_dict()), {OUR_ENTRY: json.dumps(description)}
    with atomic_write(Path(path)) as partial:
        _save_safetensors(state, partial, metadata)


def save_pretrained(checkpoint: LoadedCheckpoint | Network, folder: str | Path) -> None:
    """Write ``config.json`` and ``model.safetensors``, which :func:`srlab.load_model` reads from ``folder``.

    Args:
        checkpoint: a network, or one with the description of its file, which is kept.
        folder: created if it is missing; the two files are replaced, others stay.

    Raises:
        ValueError: a network that ``fuse`` made.
    """
    if isinstance(checkpoint, Network):
        checkpoint = LoadedCheckpoint(checkpoint, {"model": model_of(checkpoint)})
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_safetensors(checkpoint, folder / WEIGHTS_FILE)
    write_config(folder, checkpoint.description)


def lost_arguments(checkpoint: LoadedCheckpoint, **options: Any) -> dict[str, Any]:
    """Arguments that an official file cannot store, where they differ from what a reader assumes.

    Args:
        checkpoint: from :func:`srlab.checkpoints.read_checkpoint`.
        options: as of :func:`save_official`.
    """
    layout = _layout_of(checkpoint.network, options)
    detected, assumed = layout.detect(layout.from_ours(checkpoint.network, **options))
    model, detected = comparable(checkpoint.description["model"]), comparable(detected)
    return {name: model[name] for name in assumed if name in model and model[name] != detected[name]}


def official_options() -> set[str]:
    """Options of all official layouts."""
    return set().union(*(_options_of(layout.official) for layout in known_layouts()))


def _options_of(layout: OfficialLayout) -> set[str]:
    return set(inspect.signature(layout.from_ours).parameters) - {"network"}


def _layout_of(network: Network, options: Mapping[str, Any]) -> OfficialLayout:
    """The official layout, if it can be written with these options."""
    name, layout = type(network).__name__, official_layout(type(network))
    if layout is None:
        raise ValueError(
            f"{name} has no official implementation, so no official layout; "
            "its own checkpoints and safetensors are exact"
        )
    known = _options_of(layout)
    if unknown := ", ".join(sorted(options.keys() - known)):
        has = ", ".join(sorted(known)) or "none"
        raise ValueError(f"the official layout of {name} has no option {unknown}; it has {has}")
    _refuse_fused(network)
    return layout


def _refuse_fused(network: Network) -> None:
    if network.is_fused:
        raise ValueError("a fused network has lost its norms; write the one that it was made from")


def _separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each entry in memory of its own, so that files hold nothing else."""
    return {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}


def _save_safetensors(state: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    from safetensors.torch import save

    path.write_bytes(save(state, {**metadata, "format": "pt"}))  # save_file makes it unreadable for others
