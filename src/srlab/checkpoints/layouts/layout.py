"""Files of one code base for one network: how to detect, read and write them."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from srlab.checkpoints.layouts.keys import Names, rename, rename_all, reverse
from srlab.checkpoints.layouts.mean_shift import (
    absorb_mean_shift,
    is_rounding_of,
    mean_shift_entries,
    stored_mean_shift,
)
from srlab.models.network import Network

#: Tensors by name.
State = Mapping[str, Tensor]
#: Constructor arguments, and names of those that leave no trace in the file, which are assumed as published.
Detected = tuple[dict[str, Any], tuple[str, ...]]


class OfficialLayout(ABC):
    """Files of the implementation that a network reproduces, read and written.

    Subclasses in the modules of this package are found, unless they are abstract. The key names in
    ``landmarks`` and in all state dicts are those of the file without prefix, unless "our" is said.
    """

    #: The class that computes the same function.
    network: ClassVar[type[Network]]
    #: Keys that only this layout has together, the most distinctive one first.
    landmarks: ClassVar[tuple[str, ...]]
    #: Names under which files hold the state dict, all the same; none: the file is the state dict.
    containers: ClassVar[tuple[str, ...]] = ("params",)
    #: What files write before every key.
    prefix: ClassVar[str] = ""
    #: Keys of the file and ours.
    names: ClassVar[Names] = ()
    #: Patterns (``fnmatch``) of further keys, of what can be derived.
    derivable: ClassVar[tuple[str, ...]] = ()
    #: Our key, without ``weight`` or ``bias``, of the convolution whose sub-pixels the authors resize to make
    #: a network of another scale; none: they do not.
    subpixels: ClassVar[str | None] = None

    @abstractmethod
    def detect(self, state: State) -> Detected:
        """Constructor arguments from keys and shapes of a state dict that has all landmarks.

        Raises:
            KeyError: the named key is missing.
        """

    def to_ours(self, state: State) -> dict[str, Tensor]:
        """Our state dict; entries that can be derived may be absent."""
        kept = {key: value for key, value in state.items() if not self._is_derivable(key)}
        return rename_all(kept, self.names)

    def _is_derivable(self, key: str) -> bool:
        return any(fnmatchcase(key, pattern) for pattern in self.derivable)

    def from_ours(self, network: Network) -> dict[str, Tensor]:
        """The complete state dict of ``network``; a subclass may have keyword options."""
        return rename_all(network.state_dict(), reverse(self.names)) | self.constants(network)

    def options(self, state: State) -> dict[str, Any]:
        """Options of :meth:`from_ours` that write a file like this one."""
        return {}

    def at_scale(self, state: State, scale: int) -> dict[str, Tensor]:
        """Our state dict of another scale, converted as the authors do it; the same if they do not."""
        own = () if self.subpixels is None else (f"{self.subpixels}.weight", f"{self.subpixels}.bias")
        return {key: resize_subpixels(value, scale) if key in own else value for key, value in state.items()}

    def constants(self, network: Network) -> dict[str, Tensor]:
        """Frozen parameters of the official code that ``network`` derives."""
        return {}

    def extra_multiply_adds(self, network: Network, height: int, width: int) -> int:
        """What the official code executes for a low-resolution image and ``network`` does not."""
        return 0


class MeanShiftLayout(OfficialLayout, ABC):
    """Mean shifts are frozen 1x1 convolutions there, constants here."""

    def frozen(self, state: State) -> dict[str, Tensor]:
        """What the frozen parameters of a file must be."""
        return stored_mean_shift(state).entries

    def to_ours(self, state: State) -> dict[str, Tensor]:
        """Compare the frozen constants with ours and leave them out."""
        frozen = self.frozen(state)
        for key in frozen.keys() & state.keys():
            if not is_rounding_of(state[key], frozen[key]):
                published = f"the constant of the published {self.network.__name__}"
                raise ValueError(f"{key} differs from {published}; this file cannot be represented")
        return super().to_ours({key: value for key, value in state.items() if key not in frozen})

    def constants(self, network: Network) -> dict[str, Tensor]:
        """Mean shifts."""
        return mean_shift_entries(network.get_buffer("color_offset").flatten())

    def extra_multiply_adds(self, network: Network, height: int, width: int) -> int:
        """Mean shifts, of each padded pixel before and after upsampling."""
        pixels = math.prod(side + -side % network.size_multiple for side in (height, width))
        return pixels * 9 * (1 + network.scale**2)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Files of one code base for one network: the official code, or other code whose files become official.

    Args:
        name: what messages call it.
        official: the official layout of the network.
        landmarks: keys that only this layout has together, the most distinctive one first.
        names: keys of this code base and official ones; other keys are the same.
        arguments: constructor arguments that this code sets differently.
        shifts_mean: whether the file may hold the mean colour, as EDSR's own does.
    """

    name: str
    official: OfficialLayout
    landmarks: tuple[str, ...]
    names: Names = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    shifts_mean: bool = False

    @classmethod
    def of(cls, official: OfficialLayout) -> "Layout":
        """That of the official code itself."""
        return cls(name=official.network.__name__, official=official, landmarks=official.landmarks)

    def name_in_file(self, official: str) -> str:
        """The way back, for messages."""
        return rename(official, reverse(self.names))

    def file_name(self, ours: str) -> str:
        """The key in the file of one of ours, for messages."""
        return self.name_in_file(rename(ours, reverse(self.official.names)))

    def convert(self, official: State) -> tuple[dict[str, Tensor], dict[str, Any], set[str]]:
        """Convert values, under official names.

        Returns:
            The weights, constructor arguments that differ from what the official layout detects, and which
            of these the file determines.
        """
        if not self.shifts_mean:
            return dict(official), dict(self.arguments), set()
        weights, shift = absorb_mean_shift(official)
        arguments = {**self.arguments, "mean": list(shift.mean), "value_range": shift.value_range}
        return weights, arguments, {"mean", "value_range"} if shift.is_known else set()


def resize_subpixels(parameter: Tensor, scale: int) -> Tensor:
    """Weight or bias of a convolution before a pixel shuffle, resized to another scale as the authors do it.

    The sub-pixels of each colour, input channel and tap form a grid; it is interpolated bilinearly.

    Args:
        parameter: (3 * s * s, ...) for any scale s.
        scale: the new scale t.

    Returns:
        (3 * t * t, ...).
    """
    old, rest = math.isqrt(len(parameter) // 3), parameter.shape[1:]
    if len(parameter) != 3 * old**2:
        raise ValueError(
            f"expected 3 * scale * scale rows before a pixel shuffle, got {len(parameter)} rows; "
            "only the convolution that makes the image has them"
        )
    grids = parameter.reshape(3, old, old, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(grids, (scale, scale), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(3 * scale**2, *rest)


def shuffled_scale(state: State, prefix: str) -> int:
    """Scale of the pixel shuffles behind the convolutions ``prefix.{}.weight``."""
    stages = sum(bool(re.fullmatch(rf"{re.escape(prefix)}\.\d+\.weight", key)) for key in state)
    rows, channels = state[f"{prefix}.0.weight"].shape[:2]
    return math.isqrt(rows // channels) ** stages
