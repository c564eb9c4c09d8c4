"""Compares an exported file, run by its own run time, with the network in PyTorch."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srlab.counts.probe import ready_network
from srlab.data.images import read_image
from srlab.data.known_sets import demo_photographs
from srlab.extensions.export.formats import Runner
from srlab.models.network import Network
from srlab.ops.resize import imresize
from srlab.ops.subnormals import flush_subnormals

#: Largest difference of a pixel in [0, 1] that a float32 file may have.
LARGEST_DIFFERENCE = 1e-4
#: Largest loss of PSNR against the original photograph, dB, that a float16 file may have.
LARGEST_LOSS_DB = 0.01
# Low-resolution sides of the photographs: windows of 64 pixels repeat, and a pass takes about a second.
_PHOTOGRAPH_SIDE = 96


@dataclass(frozen=True)
class Parity:
    """How far a file is from the network.

    Attributes:
        difference: largest absolute difference of a pixel in [0, 1], over all sizes and photographs.
        loss_db: largest loss of PSNR (RGB, against the original photograph); below 0: the file is better.
        sizes: the shapes that were run, ``BxHxW``.
        by_size: largest difference at each of them.
        by_photograph: loss of each photograph in dB.
    """

    difference: float
    loss_db: float
    sizes: tuple[str, ...]
    by_size: tuple[float, ...]
    by_photograph: dict[str, float]

    def require(self, dtype: torch.dtype) -> None:
        """Raise a ValueError with the numbers if a file of ``dtype`` misses its limit."""
        if dtype == torch.float32:
            missed, limit = not self.difference <= LARGEST_DIFFERENCE, f"{LARGEST_DIFFERENCE:g} in float32"
        else:
            missed, limit = not self.loss_db <= LARGEST_LOSS_DB, f"{LARGEST_LOSS_DB} dB in float16"
        if missed:
            listed = ", ".join(
                f"{size} {value:.2e}" for size, value in zip(self.sizes, self.by_size, strict=True)
            )
            raise ValueError(
                f"the file is not the network: largest difference {self.difference:.2e} of [0, 1], PSNR loss "
                f"{self.loss_db:.4f} dB, allowed {limit} (by size: {listed}); it was removed. Networks with "
                "fresh weights may be chaotic: export trained ones, or float32 instead of float16"
            )

    def as_dict(self) -> dict[str, Any]:
        """For metadata and records."""
        return asdict(self)


def measure_parity(network: Network, run: Runner, *, lr_size: tuple[int, int] | None) -> Parity:
    """Run five shapes and the demo's held-out photographs through both.

    Args:
        network: in evaluation mode, in float32; as loaded, not the copy that was exported.
        run: the file.
        lr_size: height and width that the file is restricted to, with a batch of 1; None: any.
    """
    with ready_network(network, torch.device("cpu"), torch.float32) as ready, flush_subnormals():
        photographs = dict(_photographs(network.scale, lr_size))
        source = next(iter(photographs.values()))[0]
        shapes = _shapes(network.size_multiple) if lr_size is None else [(1, *lr_size)]
        by_size = tuple(_difference(ready, run, _crop(source, shape)) for shape in shapes)
        differences, losses = list(by_size), {}
        for name, (lr_image, hr_image) in photographs.items():
            expected, restored = ready(lr_image), _ran(run, lr_image)
            differences.append(_distance(expected, restored))
            losses[name] = _psnr(expected, hr_image) - _psnr(restored, hr_image)
    return Parity(
        difference=float(np.max(differences)),  # NaN stays NaN
        loss_db=float(np.max(list(losses.values()))),
        sizes=tuple("x".join(map(str, shape)) for shape in shapes),
        by_size=by_size,
        by_photograph=losses,
    )


def _shapes(multiple: int) -> list[tuple[int, int, int]]:
    """Smaller than a window, one pixel high, odd, whole windows, and a batch."""
    window = max(multiple, 8)
    return [
        (1, window // 2 - 1, window - 1),
        (1, 1, window + 3),
        (2, window + 1, 2 * window - 1),
        (1, 2 * window, 3 * window),
        (3, 2 * window + 5, window),
    ]


def _photographs(scale: int, lr_size: tuple[int, int] | None) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Name, LR and HR (1, 3, H, W) of the centres of the demo's photographs."""
    for image in demo_photographs("held_out").files:
        pixels = torch.from_numpy(read_image(image.path).copy())[None].float() / 255
        sides = lr_size or tuple(min(side // scale, _PHOTOGRAPH_SIDE) for side in pixels.shape[-2:])
        hr_image = _crop(pixels, (1, *(side * scale for side in sides)))
        yield image.name, (imresize(hr_image, scale=Fraction(1, scale), mode="float").clamp(0, 1), hr_image)


def _crop(image: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The centre of (1, 3, H, W), repeated by reflection where it is too small; a batch of turned copies."""
    batch, height, width = shape
    rows, columns = (
        _centre(have, wanted) for have, wanted in zip(image.shape[-2:], (height, width), strict=True)
    )
    part = image[..., rows, :][..., columns]
    return torch.cat([part, part.flip(-1), part.flip(-2)][:batch]).contiguous()


def _centre(have: int, wanted: int) -> Tensor:
    """Positions of ``wanted`` pixels around the middle of ``have``, mirrored at the edges."""
    positions = (torch.arange(wanted) + (have - wanted) // 2) % (2 * have)
    return torch.minimum(positions, 2 * have - 1 - positions)


def _difference(network: nn.Module, run: Runner, lr_image: Tensor) -> float:
    return _distance(network(lr_image), _ran(run, lr_image))


def _distance(expected: Tensor, found: Tensor) -> float:
    if expected.shape != found.shape:
        raise ValueError(
            f"the file makes images of {tuple(found.shape)}, the network of {tuple(expected.shape)}"
        )
    return float((expected - found).abs().max())


def _ran(run: Runner, lr_image: Tensor) -> Tensor:
    pixels: NDArray[Any] = run(lr_image.numpy())
    return torch.from_numpy(pixels)


def _psnr(restored: Tensor, hr_image: Tensor) -> float:
    """Of images that are clamped, not rounded: rounding would hide a small loss."""
    error = (restored.clamp(0, 1).double() - hr_image.double()).square().mean()
    return float(-10 * error.log10())
