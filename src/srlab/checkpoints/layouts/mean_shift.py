"""Mean colours that files store as 1x1 convolutions ``sub_mean`` and ``add_mean``, since EDSR."""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from srlab.layers.color import RGB_MEAN, rgb_mean

# DIV2K's mean and others in use: DF2K's in github.com/yulunzhang/RCAN, ImageNet's, the middle of the range.
_KNOWN_MEANS = (RGB_MEAN, (0.4690, 0.4490, 0.4036), (0.485, 0.456, 0.406), (0.5, 0.5, 0.5))
_KNOWN_RANGES = (255.0, 1.0)


class MeanShift(NamedTuple):
    """The network's input is (image - mean) * value_range; ``is_known``: no other pair is likely."""

    mean: tuple[float, ...]
    value_range: float
    is_known: bool

    @property
    def entries(self) -> dict[str, Tensor]:
        """The frozen convolutions of the code that stores them."""
        return mean_shift_entries(rgb_mean(self.value_range, self.mean).flatten())


def mean_shift_entries(offset: Tensor) -> dict[str, Tensor]:
    """The frozen convolutions for an offset, mean colour times value range, of shape (3,)."""
    identity = torch.eye(3).to(offset).view(3, 3, 1, 1)
    weights = {"sub_mean.weight": identity, "add_mean.weight": identity}
    return {**weights, "sub_mean.bias": -offset, "add_mean.bias": offset}


def stored_mean_shift(state: Mapping[str, Tensor]) -> MeanShift:
    """What the entries of :func:`mean_shift_entries` in a file mean; without them nothing is subtracted.

    Without a shift, images are most likely in [0, 1].
    """
    subtracted = state.get("sub_mean.bias", torch.zeros(3))
    offset = state.get("add_mean.bias", -subtracted)
    for value_range, mean in itertools.product(_KNOWN_RANGES, _KNOWN_MEANS):
        if is_rounding_of(offset, rgb_mean(value_range, mean).flatten()):
            return MeanShift(mean, value_range, is_known=True)
    numbers = offset.double().tolist()
    value_range = 255.0 if max(map(abs, numbers)) > 1 else 1.0
    return MeanShift(tuple(number / value_range for number in numbers), value_range, is_known=False)


def is_rounding_of(stored: Tensor, exact: Tensor) -> bool:
    """Whether a file's tensor is ``exact``, rounded to its own precision or first to one of 16 bits."""
    if stored.shape != exact.shape or not stored.is_floating_point():
        return False
    computed = 4 * torch.finfo(torch.float32).eps  # constants are computed in float32

    def agrees(dtype: torch.dtype, tolerance: float) -> bool:
        rounded = exact.to(dtype).double()
        return torch.allclose(stored.double(), rounded, rtol=max(tolerance, computed), atol=0.0)

    halves = (torch.float16, torch.bfloat16)
    return agrees(stored.dtype, torch.finfo(stored.dtype).eps) or any(agrees(half, 0.0) for half in halves)


def absorb_mean_shift(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], MeanShift]:
    """The state dict of EDSR or RCAN without ``sub_mean`` and ``add_mean``, and what these subtract.

    The authors' code of RCAN sets ``requires_grad`` on the module, which does not freeze its parameters, so
    trained files hold other values. Such convolutions are folded into the first and the last one: the same
    function to rounding, also at the borders, since zeros are padded after the first shift.

    Raises:
        ValueError: the shift is incomplete.
    """
    shift = stored_mean_shift(state)
    frozen = shift.entries
    rest = {key: value for key, value in state.items() if key not in frozen}
    present = {key: state[key] for key in frozen if key in state}
    if all(is_rounding_of(value, frozen[key]) for key, value in present.items()):
        return rest, shift
    if len(present) < len(frozen):
        raise ValueError(f"the mean shift is incomplete: only {', '.join(present)}")
    subtract, add = (present[f"{name}.weight"].double().reshape(3, 3) for name in ("sub_mean", "add_mean"))
    removed = -torch.linalg.solve(subtract, present["sub_mean.bias"].double())
    first, last, bias = (
        rest[key].double() for key in ("conv_first.weight", "conv_last.weight", "conv_last.bias")
    )
    folded = {
        "conv_first.weight": torch.einsum("oikl,ij->ojkl", first, subtract),
        "conv_last.weight": torch.einsum("po,oikl->pikl", add, last),
        "conv_last.bias": add @ bias + present["add_mean.bias"].double() - removed,
    }
    mean = tuple((removed / shift.value_range).tolist())
    rest |= {key: value.to(rest[key].dtype) for key, value in folded.items()}
    return rest, MeanShift(mean, shift.value_range, is_known=True)
