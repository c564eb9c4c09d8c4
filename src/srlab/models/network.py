"""The base classes of all networks: one interface for training, scoring, profiling and checkpoints."""

import copy
import inspect
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from srlab.extension_points import imported
from srlab.layers.arguments import require_integer
from srlab.layers.folding import Foldable
from srlab.layers.recomputation import keep_activations, recompute_activations
from srlab.layers.spatial_steps import Global
from srlab.ops.backends import kernels_for
from srlab.ops.kernels import require_kernels
from srlab.ops.reach import Reach, Step, describe_reach
from srlab.terminal.log_lines import DETAIL

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

_NO_KERNELS = "no compiled kernels are installed (srlab.extensions.kernels)"


class Network(nn.Module, ABC):
    """A super-resolver of RGB images in [0, 1] of any size; its output is not clamped.

    Args:
        scale: upsampling factor of both sides.
    """

    #: Sides are padded to multiples of this inside ``forward``.
    size_multiple: int = 1
    #: Whether that is the first thing done to the image, so that padding it outside changes nothing.
    pads_image: ClassVar[bool] = True
    #: Regular expression of the names of the blocks that follow one another in the body.
    block_names: ClassVar[str] = r"body\.\d+"
    #: Why weights in float16 are refused: what exceeds its largest number; empty: nothing known.
    beyond_float16: ClassVar[str] = ""
    #: Regular expression of the names of modules with such values, which exported files in float16 keep in
    #: float32; empty: none.
    float32_modules: ClassVar[str] = ""
    #: Formats of ``srlab export`` that cannot hold this network, ``onnx`` or ``pt2 of any size``, and why.
    unexportable: ClassVar[Mapping[str, str]] = {}
    #: Scales that the presets of this network exist for; its constructor may take others.
    published_scales: ClassVar[tuple[int, ...]] = (2, 3, 4)

    #: What the constructor was given; defaults are left out.
    arguments: Mapping[str, Any]

    def __new__(cls, *_positional: Any, **arguments: Any) -> "Self":
        """Keep the arguments, by which checkpoints describe the network; copies have the original's."""
        network = super().__new__(cls)
        object.__setattr__(network, "arguments", arguments)  # torch's own needs its constructor to have run
        return network

    def __init_subclass__(cls) -> None:
        """Show the keyword arguments of the base class in the signature of one that takes ``**frame``."""
        own = inspect.signature(cls.__init__).parameters.values()
        passes_on = any(each.kind is each.VAR_KEYWORD for each in own)
        inherited = inspect.signature(cls.__mro__[1]).parameters.values() if passes_on else ()
        shown = {each.name: each for each in (*inherited, *own) if each.kind is each.KEYWORD_ONLY}
        cls.__signature__ = inspect.Signature(list(shown.values()))

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.scale = require_integer("scale", scale)
        #: Whether ``fuse`` made this copy, which is for inference only.
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

    def spatial_steps(self) -> list[Step]:
        """How information moves between pixels from the input to the output, see :mod:`srlab.ops.reach`.

        Raises:
            ValueError: the class does not say.
        """
        raise ValueError(
            f"{type(self).__name__} does not declare its receptive field, so its images cannot be cut into "
            "tiles: use tile=0, or give the class spatial_steps() (docs/extending.md)"
        )

    @property
    def pools_globally(self) -> tuple[str, ...]:
        """What depends on all pixels of the image, however far: parts of it are restored differently.

        Modules declare it in ``global_parts`` (:class:`srlab.layers.spatial_steps.Global`).
        """
        parts = (each.global_parts.values() for each in self.modules() if isinstance(each, Global))
        return tuple(dict.fromkeys(name for names in parts for name in names))

    def measured_halo(self) -> int | None:
        """LR pixels of overlap beyond which trained weights gain nothing in float32; None: not measured."""
        return None

    def reach(self) -> Reach:
        """How far the network sees and where its images may be cut, derived from its configuration.

        Raises:
            ValueError: the class does not define :meth:`spatial_steps`.
        """
        return describe_reach(
            self.spatial_steps(),
            scale=self.scale,
            size_multiple=self.size_multiple,
            measured_halo=self.measured_halo(),
            pools_globally=self.pools_globally,
        )

    def fuse(self) -> "Self":
        """A copy for inference, the same function: norms are folded into adjacent linear maps.

        It can be exported and compiled; it has other keys, and cannot be trained or saved as a checkpoint.
        """
        with torch.inference_mode(False), torch.no_grad():
            fused = copy.deepcopy(self).eval().requires_grad_(False)
            for module in list(fused.modules()):
                if isinstance(module, Foldable):
                    module.fold()
        fused.is_fused = True
        return fused

    def train(self, mode: bool = True) -> "Self":
        """As in PyTorch; copies made by :meth:`fuse` cannot train."""
        if mode and self.is_fused:
            raise ValueError("a fused network is for inference; train the one that it was made from")
        return super().train(mode)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` to ``folder``, for ``srlab.load_model`` and others.

        It is :func:`srlab.checkpoints.save_pretrained`, named here because checkpoints stand above networks.

        Raises:
            ValueError: a network that :meth:`fuse` made.
        """
        imported("srlab.checkpoints:save_pretrained")(self, folder)

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
        scale: upsampling factor of both sides.
        backend: one of :attr:`backends`, or ``auto``: chosen for the current device, dtype and mode; each
            choice is logged when it is first made.
    """

    #: Implementations in PyTorch's operators: the paper step by step, and one that stores no attention maps.
    plain_backends: ClassVar[tuple[str, ...]] = ("reference", "sdpa")
    #: The one that ``auto`` means where no kernel runs that was measured to be faster (docs/speed.md).
    default_backend: ClassVar[str] = "sdpa"
    #: The one whose operators an exported file has.
    exported_backend: ClassVar[str] = "reference"
    #: Operators of :mod:`srlab.ops.kernels` that the network can run by kernels.
    operators: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, scale: int, backend: str) -> None:
        super().__init__(scale=scale)
        self._logged: set[str] = set()
        self.use_backend(backend)

    @property
    def backends(self) -> tuple[str, ...]:
        """What ``backend`` may name besides ``auto``: all compute the same function."""
        return (*self.plain_backends, *dict.fromkeys(each.backend for each in kernels_for(self.operators)))

    @property
    def backend(self) -> str:
        """The implementation in use on the device of the parameters, never ``auto``."""
        parameter = next(self.parameters(), None)
        return self.backend_for(torch.empty(0, device="cpu") if parameter is None else parameter)

    def use_backend(self, name: str) -> None:
        """Choose one of :attr:`backends`, or ``auto``, from now on."""
        known = (*self.backends, "auto")
        if name not in known:
            reason = "" if not self.operators or kernels_for(self.operators) else f"; {_NO_KERNELS}"
            raise ValueError(
                f"{type(self).__name__} has no backend {name!r}; choose one of {', '.join(known)}{reason}"
            )
        self._requested_backend = name
        self._logged.clear()

    def resolved_backend(self, device: torch.device, dtype: torch.dtype = torch.float32) -> str:
        """The implementation for ``device`` as things are: evaluation or training, gradients or none.

        Raises:
            ValueError: the chosen back end has no kernels for the device.
        """
        requested = self._requested_backend
        if requested == "auto":
            return self.automatic_backend(device, dtype)
        if requested not in self.plain_backends:
            require_kernels(self.operators, requested, device)
        return requested

    def backend_for(self, tensor: Tensor) -> str:
        """The implementation for device and dtype of ``tensor``; choices of ``auto`` are logged."""
        choice, device_type = self.resolved_backend(tensor.device, tensor.dtype), tensor.device.type
        if self._requested_backend == "auto":
            self._log_once(logging.INFO, f"backend auto means {choice} on {device_type}")
        return choice

    def automatic_backend(self, device: torch.device, dtype: torch.dtype) -> str:
        """What ``auto`` means on ``device`` for images of ``dtype``."""
        if not self.operators or not self._suits_kernels(device, dtype):
            return self.default_backend
        infers = self._only_infers()
        for kernel in kernels_for(self.operators, device_type=device.type):
            if kernel.automatic and (infers or kernel.has_gradients):
                reason = kernel.why_unavailable(device)
                if reason is None:
                    return kernel.backend
                message = f"backend auto cannot use the {kernel.backend} kernels: {reason}"
                self._log_once(logging.WARNING, message)
        if not kernels_for(self.operators):
            self._log_once(logging.INFO, _NO_KERNELS)
        return self.default_backend

    def has_gradients(self, device: torch.device) -> bool:
        """Whether the chosen back end can train on ``device``."""
        kernels = kernels_for(self.operators, self._requested_backend, device.type)
        return all(kernel.has_gradients for kernel in kernels)

    def _suits_kernels(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether ``auto`` may mean kernels: float32, without autocast, compiler or tracer."""
        if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
            return False
        return dtype == torch.float32 and device.type != "meta" and not torch.is_autocast_enabled(device.type)

    def _only_infers(self) -> bool:
        """Whether kernels without gradients serve."""
        if self.training:
            return False
        return not torch.is_grad_enabled() or not any(
            parameter.requires_grad for parameter in self.parameters()
        )

    def _log_once(self, level: int, message: str) -> None:
        if torch.compiler.is_compiling() or message in self._logged:  # a compiler cannot trace the log entry
            return
        extra = DETAIL if level < logging.WARNING else None
        logger.log(level, "%s: %s", type(self).__name__, message, extra=extra)
        self._logged.add(message)


def require_image(lr_image: Tensor) -> None:
    """A ValueError unless it is a batch of RGB images in a floating dtype."""
    if lr_image.ndim != 4 or lr_image.shape[1] != 3 or 0 in lr_image.shape:
        raise ValueError(f"expected RGB images (B, 3, H, W), none of them empty, got {tuple(lr_image.shape)}")
    if not lr_image.is_floating_point():
        raise ValueError(f"expected values in [0, 1], got {lr_image.dtype}; convert with image.float() / 255")
