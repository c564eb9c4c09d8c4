"""Which network enlarges: a run, a file of weights, weights by name, or bicubic."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch

from srlab.app.presets import list_models
from srlab.checkpoints import read_checkpoint
from srlab.checkpoints.shipped import shipped_file, shipped_weights
from srlab.counts.probe import find_device
from srlab.extensions.upscale.enlarging import Target
from srlab.models.any_scale import AnyScale
from srlab.models.bicubic import Bicubic
from srlab.models.network import Network
from srlab.models.sources import find_by_name

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")

_BICUBIC = "bicubic"
_DEFAULT_SCALE = 2
# Arguments that choose how a function is computed, not which.
_NOT_THE_FUNCTION = ("backend", "drop_path")


@dataclass(frozen=True)
class Upscaler:
    """A network that is ready to run.

    Attributes:
        network: fused, in evaluation mode, on its device and in its dtype.
        label: class, scale and where the weights are from, for people.
        digest: of function and weights, 12 hexadecimal digits.
        precision: dtype of weights and arithmetic.
    """

    network: Network
    label: str
    digest: str
    precision: Precision


def choose(
    model: str | Path | None,
    *,
    scale: float | None = None,
    device: str = "auto",
    precision: Precision = "float32",
    overrides: Mapping[str, Any] | None = None,
) -> Upscaler:
    """The network called ``model``, loaded and moved to ``device``.

    Args:
        model: run folder, file of weights, ``bicubic``, a preset with shipped weights, or another name that
            :func:`srlab.load_model` takes; None: the first network with shipped weights, bicubic without any.
        scale: the wanted scale, which selects among shipped weights: the next larger, else the largest; None:
            2 if there are such.
        device: cpu, cuda, cuda:1 or auto.
        precision: dtype to compute in.
        overrides: what a file does not determine (:func:`srlab.load_model`), such as ``window_sizes``.

    Raises:
        ValueError: no such model, a preset without weights, no such device.
        FileNotFoundError: a name of weights that are not downloaded yet.
    """
    target_device = find_device(device)
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision}: choose one of {', '.join(PRECISIONS)}")
    network, label, digest = _load(model, scale, overrides or {})
    network = network.fuse().to(device=target_device, dtype=getattr(torch, precision))
    return Upscaler(network, label, digest, precision)


def default_target(network: Network, scale: float | None, box: tuple[int, int] | None) -> Target:
    """The wanted size; the network's own scale if none is given."""
    return Target(float(network.scale), None) if scale is None and box is None else Target(scale, box)


def _load(
    model: str | Path | None, scale: float | None, overrides: Mapping[str, Any]
) -> tuple[Network, str, str]:
    shipped = shipped_weights()
    if model is None:
        model = next(iter(shipped), _BICUBIC)
    name = str(model)
    if isinstance(model, str) and name in shipped:
        return _from_file(_best_scale(shipped[name], scale), f"{name}, comes with srlab", overrides)
    if name == _BICUBIC:
        network = Bicubic(scale=_DEFAULT_SCALE)
        return network, _BICUBIC, digest_of(network, {})
    path = Path(model)
    if not path.exists():
        path = shipped_file(name, None) or find_by_name(name) or _explain_name(name, shipped)
    return _from_file(path, name, overrides)


def _from_file(path: Path, origin: str, overrides: Mapping[str, Any]) -> tuple[Network, str, str]:
    loaded = read_checkpoint(path, **overrides)
    scale = "of any scale" if isinstance(loaded.network, AnyScale) else f"x{loaded.network.scale}"
    label = f"{loaded.description['network']} {scale} ({origin})"
    return loaded.network, label, digest_of(loaded.network, loaded.description["model"])


def _best_scale(files: Mapping[int, Path], scale: float | None) -> Path:
    wanted = _DEFAULT_SCALE if scale is None else scale
    return files[min((each for each in files if each >= wanted), default=max(files))]


def _explain_name(name: str, shipped: Mapping[str, object]) -> NoReturn:
    """Raise the error for ``name``, which is neither a file nor shipped weights, with the remedy."""
    with_weights = ", ".join([*shipped, _BICUBIC])
    if name in list_models():
        raise ValueError(
            f"--model {name}: srlab has the network but no trained weights for it, and random ones are "
            f"useless; give a run folder, a file of weights (docs/networks.md lists the authors'), a name of "
            f"srlab download --list, or one of: {with_weights}"
        )
    raise ValueError(
        f"--model {name}: no such file or run folder, and no weights of that name; names that need no file: "
        f"{with_weights}, and those that srlab download has fetched"
    )


def digest_of(network: Network, description: Mapping[str, Any]) -> str:
    """Hash of class, arguments and weights, equal for equal functions: 12 hexadecimal digits."""
    arguments = {name: value for name, value in description.items() if name not in _NOT_THE_FUNCTION}
    digest = hashlib.blake2b(type(network).__name__.encode(), digest_size=6)
    digest.update(json.dumps(arguments, sort_keys=True, default=str).encode())
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
