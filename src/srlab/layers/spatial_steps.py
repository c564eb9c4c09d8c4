"""The steps of :mod:`srlab.ops.reach` that a module consists of."""

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from torch import nn

from srlab.layers.drop_path import DropPath
from srlab.ops.reach import Neighbours, Step, Upsampling

# Modules without parts that treat each pixel on its own.
_BY_PIXEL = (nn.Linear, nn.LayerNorm, nn.BatchNorm2d, nn.Identity, nn.ReLU, nn.LeakyReLU, nn.GELU, DropPath)


@runtime_checkable
class Spatial(Protocol):
    """A module that says itself how it moves information between pixels."""

    def spatial_steps(self) -> list[Step]:
        """Steps in the order in which they run."""
        ...


@runtime_checkable
class Global(Protocol):
    """A module with methods whose results depend on the whole image, which its steps leave out.

    These methods take and return maps (B, C, H, W), tokens (B, N, C), or statistics of any other shape.
    """

    #: By name of the method what it computes, in words.
    global_parts: Mapping[str, str]


def steps_of(*modules: nn.Module | Iterable[nn.Module]) -> list[Step]:
    """Steps of modules that run one after another.

    A module with ``spatial_steps()`` is asked; convolutions, assumed to be centred, pixel shuffles and what
    treats each pixel on its own are known; the parts of any other module are taken to run in the order in
    which they were registered. Branches beside a sequence that see less than it may be left out.

    Raises:
        ValueError: a module without parts of which nothing is known.
    """
    return [step for module in modules for step in _steps(module)]


def _steps(module: nn.Module | Iterable[nn.Module]) -> list[Step]:
    if isinstance(module, Spatial):
        return module.spatial_steps()
    if not isinstance(module, nn.Module):
        return steps_of(*module)
    if isinstance(module, nn.Conv2d):
        return _of_convolution(module)
    if isinstance(module, nn.PixelShuffle):
        return [Upsampling(module.upscale_factor)]
    if isinstance(module, _BY_PIXEL):
        return []
    parts = list(module.children())
    if not parts:
        raise ValueError(
            f"{type(module).__name__} may move information between pixels; give it spatial_steps(), or leave "
            "it out of those of the module around it (docs/extending.md)"
        )
    return steps_of(*parts)


def _of_convolution(convolution: nn.Conv2d) -> list[Step]:
    if set(convolution.stride) != {1}:
        raise ValueError(f"steps of a convolution with stride {convolution.stride} are not known")
    radius = max(
        dilation * (side // 2)
        for side, dilation in zip(convolution.kernel_size, convolution.dilation, strict=True)
    )
    return [Neighbours(radius)] if radius else []
