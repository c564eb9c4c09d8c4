"""Restores one image of any size: whole or in tiles, once or as the mean of its eight flips and turns."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from weakref import WeakSet

import torch
from torch import Tensor

from srlab.counts.probe import evaluation_mode, explain_out_of_memory, is_out_of_memory
from srlab.models.any_scale import AnyScale
from srlab.models.network import Network, require_image
from srlab.ops.axis import Axis, covered_side
from srlab.ops.input_padding import InputPadding, pad_input
from srlab.ops.resize import imresize
from srlab.tasks.self_ensemble import VIEWS, self_ensemble
from srlab.tasks.tile_choice import choose_tile, smaller_tile
from srlab.tasks.tiling import cuts_of, own_size, restore_tiles, round_up, wanted_pixels, whole

log = logging.getLogger(__name__)

_warned: WeakSet[Network] = WeakSet()


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """Arguments of :func:`restore` that scores depend on."""

    tile: int | Literal["auto"] = 0
    exact: bool = False
    ensemble: bool = False


WHOLE = Restoration()


@dataclass(frozen=True)
class Progress:
    """How far a restoration is.

    Attributes:
        done: network calls finished, 0 in the first report.
        total: network calls in all.
        tile: LR side of the tiles in use, a multiple of the network's grid; 0 for the whole image. It
            changes, and ``done`` starts from 0 again, when a tile did not fit into memory.
    """

    done: int
    total: int
    tile: int


def restore(
    network: Network,
    lr_image: Tensor,
    *,
    size: tuple[int, int] | None = None,
    tile: int | Literal["auto"] = 0,
    exact: bool = False,
    ensemble: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Tensor:
    """(B, 3, H, W) in [0, 1] to ``size``, not clamped, on the device and in the dtype of ``lr_image``.

    A network of any scale makes that size itself. Another network runs at its own scale, and MATLAB's bicubic
    interpolation, with antialiasing, resizes its result exactly, where that has another size.

    The network runs on its own device, in its own dtype, in evaluation mode and without autograd; its mode is
    restored after. With tiles, only these are moved to that device: for an image that does not fit there,
    leave ``lr_image`` on the CPU.

    Args:
        network: any.
        lr_image: in [0, 1], any floating dtype.
        size: height and width of the result; None: the network's own scale.
        tile: LR side of a tile without its halo, rounded up to the network's grid; 0: the whole image;
            ``auto``: the whole image if it fits into the free memory, else the largest tile that does, halved
            when memory runs out nevertheless.
        exact: the halo is the whole receptive reach, so that the result is that of the whole image; without
            it, the network's ``halo``, see :class:`srlab.ops.reach.Reach`.
        ensemble: the mean over the eight flips and turns of the image.
        on_progress: called before the first network call and after each.

    Raises:
        ValueError: a negative tile; ``exact`` tiles of a network that uses statistics of the whole image;
            tiles of a network that does not declare its receptive field.
        MemoryError: the image, or the smallest tile, does not fit into memory.
    """
    if tile != "auto" and (isinstance(tile, bool) or not isinstance(tile, int) or tile < 0):
        raise ValueError(f"tile={tile!r}: choose 0 (the whole image), a number of LR pixels, or auto")
    require_image(lr_image)
    made = own_size(network, (lr_image.shape[-2], lr_image.shape[-1]))
    if size is not None and isinstance(network, AnyScale):
        made = size
    job = _Job(network, lr_image, made, exact, ensemble, on_progress or (lambda _progress: None))
    with evaluation_mode(network):
        restored = _run_where_it_fits(job) if tile == "auto" else _run_or_explain(job, tile)
    return restored if size is None else resized(restored, size)


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 3, H, W) at ``size``: itself, or by MATLAB's bicubic, not rounded.

    Raises:
        MemoryError: the result does not fit into memory.
    """
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    with explain_out_of_memory((image.shape[-2], image.shape[-1]), image.device):
        return imresize(image, size=size, mode="float")


def restore_padded(
    network: Network,
    lr_image: Tensor,
    padding: InputPadding,
    restoration: Restoration = WHOLE,
    on_progress: Callable[[Progress], None] | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """(B, 3, H, W) in [0, 1] to ``size``, with the input padding that a protocol asks for.

    ``size`` is (height, width); None: that of the network's scale.

    Raises:
        ValueError: a network of any scale at a scale that is not its own, with input padding.
    """
    own = own_size(network, (lr_image.shape[-2], lr_image.shape[-1]))
    padded = pad_input(lr_image, network.size_multiple, padding)
    is_padded = padded.shape != lr_image.shape
    if is_padded and size not in (None, own) and isinstance(network, AnyScale):
        raise ValueError(
            f"padding={padding.name} changes the size of the LR image, which the pixels of a result of "
            f"{size[0]}x{size[1]} are placed by: use padding=model, or a whole scale"
        )
    restored = restore(
        network,
        padded,
        size=None if is_padded else size,
        tile=restoration.tile,
        exact=restoration.exact,
        ensemble=restoration.ensemble,
        on_progress=on_progress,
    )
    if not is_padded:
        return restored
    return resized(restored[..., : own[0], : own[1]], size or own)


def result_size(network: Network, sample: Mapping[str, Any], scale: float) -> tuple[int, int] | None:
    """``size`` of :func:`restore` for a sample's LR image, that of its HR if it has one.

    None at the network's own scale.
    """
    if network.scale == scale:
        return None
    if "hr_image" in sample:
        return sample["hr_image"].shape[-2], sample["hr_image"].shape[-1]
    height, width = (covered_side(side, scale) for side in sample["lr_image"].shape[-2:])
    return height, width


def is_own_scale(network: Network, scale: float) -> bool:
    """Whether the network itself makes results of that scale."""
    return isinstance(network, AnyScale) or network.scale == scale


@dataclass
class _Job:
    """One image, to be tried with tiles of any size; the network makes results of ``result_size``."""

    network: Network
    lr_image: Tensor
    result_size: tuple[int, int]
    exact: bool
    ensemble: bool
    report: Callable[[Progress], None]

    def __post_init__(self) -> None:
        parameter = next(self.network.parameters(), self.lr_image)
        self.device, self.dtype = parameter.device, parameter.dtype
        self.size = self.lr_image.shape[-2], self.lr_image.shape[-1]

    def run(self, tile: int) -> Tensor:
        """Restore the image; 0: as a whole."""
        cuts = cuts_of(self.network, exact=self.exact) if tile else None
        height, width = self.size
        views = [self.size, (width, height)] * (VIEWS // 2) if self.ensemble else [self.size]
        tilings = {size: cuts.plan(size, tile) if cuts else whole(size) for size in views}
        progress = Progress(done=0, total=sum(tilings[size].count for size in views), tile=0)
        if cuts is not None and progress.total > len(views):
            _warn_of_statistics(self.network)
            progress = replace(progress, tile=round_up(tile, cuts.alignment))
        self.report(progress)

        def restore_part(part: Tensor, rows: Axis, columns: Axis) -> Tensor:
            nonlocal progress
            restored = wanted_pixels(self.network, part.to(self.device, self.dtype), rows, columns)
            restored = restored.to(self.lr_image)
            progress = replace(progress, done=progress.done + 1)
            self.report(progress)
            return restored

        def restore_view(lr_image: Tensor, is_transposed: bool) -> Tensor:
            height, width = self.result_size
            tiling = tilings[lr_image.shape[-2], lr_image.shape[-1]]
            size = (width, height) if is_transposed else (height, width)
            return restore_tiles(restore_part, lr_image, tiling, size=size)

        if self.ensemble:
            return self_ensemble(restore_view, self.lr_image)
        return restore_view(self.lr_image, False)


def _run_or_explain(job: _Job, tile: int) -> Tensor:
    if (restored := _attempt(job, tile)) is not None:
        return restored
    raise MemoryError(
        f"{_does_not_fit(job, tile)}: use tile=auto, which takes the largest tile that fits, a smaller "
        "image, backend=sdpa, which stores no maps, a smaller network, or a device with more memory"
    )


def _run_where_it_fits(job: _Job) -> Tensor:
    """With the largest tile that should fit, then with smaller ones."""
    estimated = tile = choose_tile(
        job.network,
        job.lr_image,
        result_size=job.result_size,
        device=job.device,
        dtype=job.dtype,
        exact=job.exact,
        ensemble=job.ensemble,
    )
    while (restored := _attempt(job, tile)) is None:
        smaller = smaller_tile(cuts_of(job.network, exact=job.exact), job.size, tile)
        if smaller is None:
            raise MemoryError(
                f"{_does_not_fit(job, tile)}, and there is no smaller tile: use backend=sdpa, which "
                "stores no maps, a smaller network, or a device with more memory"
            )
        tile = smaller
    if tile != estimated:
        log.warning("%s; tiles of %d LR pixels did", _does_not_fit(job, estimated), tile)
    return restored


def _attempt(job: _Job, tile: int) -> Tensor | None:
    """None where memory ran out; its error, and all that it holds, is gone then."""
    try:
        return job.run(tile)
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not is_out_of_memory(error):
            raise
    if job.device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def _does_not_fit(job: _Job, tile: int) -> str:
    height, width = job.size
    parts = f" in tiles of {tile} LR pixels" if tile else ""
    return f"restoring a {height}x{width} image{parts} does not fit into the memory of {job.device}"


def _warn_of_statistics(network: Network) -> None:
    if network.pools_globally and network not in _warned:
        _warned.add(network)
        log.warning(
            "tiles change what %s restores, which uses all pixels of the image for %s (docs/tiling.md)",
            type(network).__name__,
            " and ".join(network.pools_globally),
        )
