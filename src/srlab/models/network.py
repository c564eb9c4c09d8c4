"""What every network offers: one interface for training, scoring, profiling and checkpoints."""

import logging
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

__all__ = [
    "BACKENDS",
    "AttentionNetwork",
    "Network",
    "ParameterCount",
    "count_numbered",
    "rename_keys",
    "require_image",
    "require_integer",
    "require_positive",
]

logger = logging.getLogger(__name__)

# "reference" follows the paper step by step; "sdpa" computes the same without storing attention maps.
BACKENDS = ("reference", "sdpa")


class ParameterCount(NamedTuple):
    """Numbers of parameters: all, and those that training changes."""

    all: int
    trainable: int


class Network(nn.Module, ABC):
    """A super-resolver of RGB images in [0, 1] of any size; its output is not clamped.

    Args:
        scale: enlargement of both sides.
    """

    #: Sides are padded to multiples of this inside ``forward``.
    size_multiple: int = 1
    #: Under which names official files hold this network's state dict, all the same; none: it lies bare.
    official_containers: ClassVar[tuple[str, ...]] = ("params",)
    #: What official files write before every key.
    official_prefix: ClassVar[str] = ""
    #: Official keys without which ``recognise`` cannot read a state dict.
    official_landmarks: ClassVar[tuple[str, ...]] = ()
    #: Scales that the presets of this network exist for; its constructor may take others.
    published_scales: ClassVar[tuple[int, ...]] = (2, 3, 4)
    #: Regular expression of all official keys: tells which network an incomplete file is closest to.
    official_keys: ClassVar[str] = r"(?!)"

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.scale = require_integer("scale", scale)

    @abstractmethod
    def restore(self, lr_image: Tensor) -> Tensor:
        """What ``forward`` does once the input is known to be an image."""

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments read from an official state dict; None if it is another network's.

        Raises:
            KeyError: it is this network's, but the named key is missing.
        """
        return None

    @classmethod
    def untold(cls, state: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Arguments that this state dict does not tell: there ``recognise`` gives the published value."""
        return ()

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our state dict from an official one; entries that can be derived may be absent."""
        raise ValueError(_without_official_layout(cls))

    @classmethod
    def official_options(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Arguments of ``to_official`` that write an official state dict like ``state``."""
        return {}

    @classmethod
    def at_scale(cls, state: Mapping[str, Tensor], scale: int) -> dict[str, Tensor]:
        """Our state dict of another scale made ready for this one, where the authors define how."""
        return dict(state)

    def to_official(self) -> dict[str, Tensor]:
        """The official state dict of this network, complete.

        Raises:
            ValueError: there is no official implementation of this network.
        """
        raise ValueError(_without_official_layout(type(self)))

    def forward(self, lr_image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], any floating dtype, to (B, 3, scale * H, scale * W)."""
        require_image(lr_image)
        return self.restore(lr_image)

    def official_parameters(self) -> ParameterCount:
        """Parameters as the official formulation has them, with constants that it keeps as parameters."""
        counts = [(parameter.numel(), parameter.requires_grad) for parameter in self.parameters()]
        return ParameterCount(sum(n for n, _ in counts), sum(n for n, trainable in counts if trainable))

    def multiply_adds_apart(self, height: int, width: int) -> int:
        """Multiply-adds for an LR image that the official code executes and ours does not."""
        return 0


class AttentionNetwork(Network):
    """A network whose attention has several implementations of one function.

    Args:
        scale: enlargement of both sides.
        backend: one of :attr:`backends`, or ``auto``: chosen, and logged, at the first run on a device.
    """

    #: Implementations that ``backend`` may name: all compute the same function.
    backends: ClassVar[tuple[str, ...]] = BACKENDS

    def __init__(self, *, scale: int, backend: str) -> None:
        super().__init__(scale=scale)
        self._chosen: dict[str, str] = {}
        self.use_backend(backend)

    @property
    def backend(self) -> str:
        """The implementation in use where the parameters lie, never ``auto``."""
        parameter = next(self.parameters(), None)
        return self.backend_on(torch.device("cpu") if parameter is None else parameter.device)

    def use_backend(self, name: str) -> None:
        """Choose one of :attr:`backends`, or ``auto``, from now on."""
        if name not in (*self.backends, "auto"):
            known = ", ".join((*self.backends, "auto"))
            raise ValueError(f"{type(self).__name__} has no backend {name!r}; choose one of {known}")
        self._requested_backend = name
        self._chosen.clear()

    def resolved_backend(self, device: torch.device) -> str:
        """The implementation for ``device``; nothing is logged or remembered."""
        requested = self._requested_backend
        return self.automatic_backend(device) if requested == "auto" else requested

    def backend_on(self, device: torch.device) -> str:
        """The implementation that runs on ``device``; the first choice of ``auto`` for it is logged."""
        choice = self.resolved_backend(device)
        # a compiler cannot trace the log entry
        if self._requested_backend == "auto" and not torch.compiler.is_compiling():
            if device.type not in self._chosen:
                logger.info("%s: backend auto means %s on %s", type(self).__name__, choice, device.type)
            self._chosen[device.type] = choice
        return choice

    def automatic_backend(self, device: torch.device) -> str:
        """What ``auto`` means on ``device``."""
        return "sdpa"


def _without_official_layout(network_class: type[Network]) -> str:
    return (
        f"{network_class.__name__} has no official implementation, so no official layout; "
        "its own checkpoints and safetensors are exact"
    )


def require_image(lr_image: Tensor) -> None:
    """A ValueError unless it is a batch of RGB images in a floating dtype."""
    if lr_image.ndim != 4 or lr_image.shape[1] != 3 or 0 in lr_image.shape:
        raise ValueError(f"expected RGB images (B, 3, H, W), none of them empty, got {tuple(lr_image.shape)}")
    if not lr_image.is_floating_point():
        raise ValueError(f"expected values in [0, 1], got {lr_image.dtype}; convert with image.float() / 255")


def require_integer(name: str, value: object, *, minimum: int = 1) -> int:
    """``value`` if it is an integer of at least ``minimum``, else a ValueError that names it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    return value


def require_positive(name: str, value: object) -> float:
    """``value`` if it is a finite number above 0, else a ValueError that names it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
    return value


def count_numbered(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many modules a state dict holds under ``prefix`` and a number, which start from 0.

    Raises:
        KeyError: a number is left out; the first such module is named.
    """
    numbers = {int(key[len(prefix) :].split(".")[0]) for key in state if key.startswith(prefix)}
    for number in range(len(numbers)):
        if number not in numbers:
            raise KeyError(f"{prefix}{number}")
    return len(numbers)


def rename_keys(state: Mapping[str, Tensor], rules: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """State dict with all rules (regular expression, replacement) applied to each key in order."""
    renamed = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed
