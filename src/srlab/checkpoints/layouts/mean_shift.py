"""Mean shifts that a file holds as 1x1 convolutions, also those that training has moved."""

from collections.abc import Mapping

import torch
from torch import Tensor

from srlab.layers.color import MeanShift, is_rounding_of, mean_shift_entries, rgb_mean, stored_mean_shift

__all__ = ["absorb_mean_shift"]


def absorb_mean_shift(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], MeanShift]:
    """The state dict of EDSR or RCAN without ``sub_mean`` and ``add_mean``, and what these subtract.

    RCAN's code means to freeze them but does not (``requires_grad`` is set on the module), so that trained
    files hold other values. Such convolutions become part of the first and of the last one: the same function
    to rounding, at the borders, too, where zeros are padded behind the first shift.

    Raises:
        ValueError: a shift that no network could have.
    """
    shift = stored_mean_shift(state)
    offset = rgb_mean(shift.value_range, shift.mean).flatten()
    frozen = mean_shift_entries(offset)
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
