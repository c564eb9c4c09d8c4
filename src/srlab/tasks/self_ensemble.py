"""Self-ensemble: the mean of a network's results for the eight flips and turns of an image.

Paper: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017, arXiv
1707.02921; papers mark scores of it with "+".
"""

from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor

#: Flips and turns of a square.
VIEWS = 8


def self_ensemble(restore: Callable[[Tensor, bool], Tensor], lr_image: Tensor) -> Tensor:
    """Mean over the eight flips and turns, each turned back, in float32 at least and before any rounding.

    Args:
        restore: of a view, and whether its rows and columns are exchanged, as those of its result must be.
        lr_image: (B, 3, H, W).

    Returns:
        (B, 3, h, w) in the dtype that ``restore`` returns.
    """
    views = (_restored_view(restore, lr_image, *flips) for flips in product((False, True), repeat=3))
    first = next(views)
    total = first.to(torch.promote_types(first.dtype, torch.float32), copy=True)
    for view in views:
        total.add_(view)
    return total.div_(VIEWS).to(first.dtype)


def _restored_view(
    restore: Callable[[Tensor, bool], Tensor],
    lr_image: Tensor,
    transpose: bool,
    flip_rows: bool,
    flip_columns: bool,
) -> Tensor:
    seen = lr_image.mT if transpose else lr_image
    axes = [axis for axis, flips in ((-2, flip_rows), (-1, flip_columns)) if flips]
    restored = restore(seen.flip(axes).contiguous(), transpose).flip(axes)
    return restored.mT if transpose else restored


def view_sizes(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """(height, width) of each view, in the order of :func:`self_ensemble`."""
    height, width = size
    for transpose, _, _ in product((False, True), repeat=3):
        yield (width, height) if transpose else (height, width)
