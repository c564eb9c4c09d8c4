"""Self-ensemble: the mean of a network's results for the eight flips and turns of an image.

Paper: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017, arXiv
1707.02921; papers mark scores of it with "+".
"""

from collections.abc import Callable
from itertools import product, starmap

import torch
from torch import Tensor

#: Flips and turns of a square; half of them exchange rows and columns.
VIEWS = 8


def self_ensemble(restore: Callable[[Tensor, bool], Tensor], lr_image: Tensor) -> Tensor:
    """Mean over the eight flips and turns, each turned back, in float32 at least and before any rounding.

    Args:
        restore: of a view, and whether its rows and columns are exchanged, as those of its result must be.
        lr_image: (B, 3, H, W).

    Returns:
        (B, 3, h, w) in the dtype that ``restore`` returns.
    """

    def restored_view(transpose: bool, flipped: list[int]) -> Tensor:
        seen = lr_image.mT if transpose else lr_image
        restored = restore(seen.flip(flipped).contiguous(), transpose).flip(flipped)
        return restored.mT if transpose else restored

    views = starmap(restored_view, product((False, True), ([], [-1], [-2], [-2, -1])))
    first = next(views)
    total = first.to(torch.promote_types(first.dtype, torch.float32), copy=True)
    for view in views:
        total.add_(view)
    return total.div_(VIEWS).to(first.dtype)
