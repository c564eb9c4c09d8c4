"""Common parts of files of code built on EDSR-PyTorch: the names around the body, and stored mean shifts.

Source: github.com/sanghyun-son/EDSR-PyTorch at 3dd71ae5, src/model/common.py and edsr.py.
"""

import math
import re
from abc import ABC
from collections.abc import Sequence

from torch import Tensor

from srlab.checkpoints.layouts.keys import count_numbered, rename_all
from srlab.checkpoints.layouts.layout import Detected, OfficialLayout, State
from srlab.checkpoints.layouts.mean_shift import is_rounding_of, mean_shift_entries, stored_mean_shift
from srlab.layers.color import rgb_mean
from srlab.models.network import Network


class EdsrPytorchLayout(OfficialLayout, ABC):
    """Bare state dicts whose mean shifts are frozen 1x1 convolutions, constants here."""

    containers = ()
    names = (("head.0.*", "conv_first.*"), ("tail.0.{}.*", "upsample.{}.*"), ("tail.1.*", "conv_last.*"))

    def detect_frame(self, state: State) -> Detected:
        """Scale, channels, and what the mean shift says of colour and range."""
        dim = state["head.0.weight"].shape[0]
        stages = sum(bool(re.fullmatch(r"tail\.0\.\d+\.weight", key)) for key in state)
        factor = math.isqrt(state["tail.0.0.weight"].shape[0] // dim)
        shift = stored_mean_shift(state)
        arguments = {"dim": dim, "value_range": shift.value_range, "mean": list(shift.mean)}
        color = () if shift.is_known else ("mean", "value_range")
        return {"scale": factor**stages, **arguments}, color

    def to_ours(self, state: State) -> dict[str, Tensor]:
        """Compare the frozen constants with ours and leave them out."""
        shift = stored_mean_shift(state)
        frozen = mean_shift_entries(rgb_mean(shift.value_range, shift.mean).flatten())
        for key in frozen.keys() & state.keys():
            if not is_rounding_of(state[key], frozen[key]):
                raise ValueError(f"{key} is no mean shift: it differs from a constant of the official code")
        kept = {key: value for key, value in state.items() if key not in frozen}
        return rename_all(kept, self.names)

    def from_ours(self, network: Network) -> dict[str, Tensor]:
        """Convolutions after a sequence of modules have the next number there, which names give as ``N``."""
        state = super().from_ours(network)
        numbered = [key for key in state if ".N." not in key]
        return {_numbered(key, numbered): value for key, value in state.items()}

    def constants(self, network: Network) -> dict[str, Tensor]:
        """Mean shifts."""
        return mean_shift_entries(network.get_buffer("color_offset").flatten())

    def extra_multiply_adds(self, network: Network, height: int, width: int) -> int:
        """Mean shifts are 1x1 convolutions there, of each pixel before and after upsampling."""
        return height * width * 9 * (1 + network.scale**2)


def _numbered(key: str, others: Sequence[str]) -> str:
    """``key`` with the number of modules before it in place of ``N``."""
    before, found, after = key.partition(".N.")
    return f"{before}.{count_numbered(others, f'{before}.')}.{after}" if found else key
