"""What every network offers: one interface for training, scoring, profiling and checkpoints."""

import copy
import logging
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from srlab.extensions.kernels import cpu as native
from srlab.layers.arguments import require_integer
from srlab.layers.folding import Foldable
from srlab.layers.recomputation import keep_activations, recompute_activations

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "BACKENDS",
    "AttentionNetwork",
    "Network",
    "require_image",
]

logger = logging.getLogger(__name__)

# "reference" follows the paper step by step; "sdpa" computes the same without storing attention maps.
BACKENDS = ("reference", "sdpa")


class Network(nn.Module, ABC):
    """A super-resolver of RGB images in [0, 1] of any size; its output is not clamped.

    Args:
        scale: enlargement of both sides.
    """

    #: Sides are padded to multiples of this inside ``forward``.
    size_multiple: int = 1
    #: Whether that is the first thing done to the image, so that padding it outside changes nothing.
    pads_image: ClassVar[bool] = True
    #: Regular expression of the names of the blocks that follow one another in the body.
    block_names: ClassVar[str] = r"body\.\d+"
    #: What exceeds float16's largest number, so that weights in float16 are refused; empty: nothing known.
    beyond_float16: ClassVar[str] = ""
    #: Scales that the presets of this network exist for; its constructor may take others.
    published_scales: ClassVar[tuple[int, ...]] = (2, 3, 4)

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.scale = require_integer("scale", scale)
        #: Whether this is what ``fuse`` made: for inference alone.
        self.is_fused = False

    @abstractmethod
    def restore(self, lr_image: Tensor) -> Tensor:
        """What ``forward`` does once the input is known to be an image."""

    def forward(self, lr_image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], any floating dtype, to (B, 3, scale * H, scale * W).

        Raises:
            ValueError: no such image, or weights in float16 where :attr:`beyond_float16` forbids them.
        """
        require_image(lr_image)
        if self.beyond_float16 and next(self.parameters()).dtype == torch.float16:
            raise ValueError(
                f"{type(self).__name__} cannot have weights in float16, whose largest number is 65504: "
                f"{self.beyond_float16}; use bfloat16, or keep them in float32 under autocast to float16"
            )
        return self.restore(lr_image)

    def fuse(self) -> "Self":
        """A copy for inference, the same function: norms are folded into the linear maps beside them.

        It can be exported and compiled; it has other keys, and neither trains nor goes into a checkpoint.
        """
        with torch.inference_mode(False), torch.no_grad():
            fused = copy.deepcopy(self).eval().requires_grad_(False)
            for module in list(fused.modules()):
                if isinstance(module, Foldable):
                    module.fold()
        fused.is_fused = True
        return fused

    def train(self, mode: bool = True) -> "Self":
        """As in PyTorch; refused for what :meth:`fuse` made."""
        if mode and self.is_fused:
            raise ValueError("a fused network is for inference; train the one that it was made from")
        return super().train(mode)

    def use_activation_checkpointing(self, enabled: bool) -> None:
        """Whether each block keeps only its input for the backward pass and is computed again there.

        Less memory for about a third more arithmetic in training; outputs, gradients and keys stay the same.

        Raises:
            ValueError: there are no blocks.
        """
        blocks = [module for name, module in self.named_modules() if re.fullmatch(self.block_names, name)]
        if enabled and not blocks:
            raise ValueError(
                f"{type(self).__name__} has no blocks whose activations could be recomputed; "
                "leave activation_checkpointing=false"
            )
        for block in blocks:
            (recompute_activations if enabled else keep_activations)(block)


class AttentionNetwork(Network):
    """A network whose attention has several implementations of one function.

    Args:
        scale: enlargement of both sides.
        backend: one of :attr:`backends`, or ``auto``: chosen for the device, dtype and mode at hand; each
            choice is logged when it is first made.
    """

    #: Implementations that ``backend`` may name: all compute the same function.
    backends: ClassVar[tuple[str, ...]] = BACKENDS

    def __init__(self, *, scale: int, backend: str) -> None:
        super().__init__(scale=scale)
        self._told: set[tuple[str, str]] = set()
        self._told_of_no_kernels = False
        self.use_backend(backend)

    @property
    def backend(self) -> str:
        """The implementation in use where the parameters lie, never ``auto``."""
        parameter = next(self.parameters(), None)
        if parameter is None:
            return self._logged(self.resolved_backend(torch.device("cpu")), "cpu")
        return self.backend_for(parameter)

    def use_backend(self, name: str) -> None:
        """Choose one of :attr:`backends`, or ``auto``, from now on."""
        if name not in (*self.backends, "auto"):
            known = ", ".join((*self.backends, "auto"))
            raise ValueError(f"{type(self).__name__} has no backend {name!r}; choose one of {known}")
        self._requested_backend = name
        self._told.clear()

    def resolved_backend(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str:
        """The implementation for ``device`` as things are: evaluation or training, gradients or none."""
        requested = self._requested_backend
        return self.automatic_backend(device, dtype) if requested == "auto" else requested

    def backend_for(self, tensor: Tensor) -> str:
        """The implementation where ``tensor`` lies, for its dtype; choices of ``auto`` are logged."""
        return self._logged(self.resolved_backend(tensor.device, tensor.dtype), tensor.device.type)

    def automatic_backend(self, device: torch.device, dtype: torch.dtype) -> str:
        """What ``auto`` means on ``device`` for images of ``dtype``."""
        return "sdpa"

    def infers_natively(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether the CPU kernels serve: float32, evaluation, no gradients, autocast, compiler or tracer."""
        if device.type != "cpu" or dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return False
        if self.training or torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
            return False
        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.parameters()):
            return False
        reason = native.why_unavailable()
        if reason is not None and not self._told_of_no_kernels:
            logger.warning("%s: auto does without the fused kernels: %s", type(self).__name__, reason)
            self._told_of_no_kernels = True
        return reason is None

    def _logged(self, choice: str, device_type: str) -> str:
        # a compiler cannot trace the log entry
        if self._requested_backend == "auto" and not torch.compiler.is_compiling():
            if (device_type, choice) not in self._told:
                logger.info("%s: backend auto means %s on %s", type(self).__name__, choice, device_type)
            self._told.add((device_type, choice))
        return choice


def require_image(lr_image: Tensor) -> None:
    """A ValueError unless it is a batch of RGB images in a floating dtype."""
    if lr_image.ndim != 4 or lr_image.shape[1] != 3 or 0 in lr_image.shape:
        raise ValueError(f"expected RGB images (B, 3, H, W), none of them empty, got {tuple(lr_image.shape)}")
    if not lr_image.is_floating_point():
        raise ValueError(f"expected values in [0, 1], got {lr_image.dtype}; convert with image.float() / 255")
