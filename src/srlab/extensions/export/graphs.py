"""The network as it is exported: norms folded, constants computed, published operators."""

import inspect

import torch
from torch import Tensor, nn

from srlab.models.network import AttentionNetwork, Network
from srlab.ops.attention import rebuilt_masks

INPUT, OUTPUT = "lr_image", "sr_image"


class Graph(nn.Module):
    """A network without its checks of the input, for tracing; images in and out are float32.

    Args:
        network: from :func:`inference_copy`.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, lr_image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, 3, scale * H, scale * W), not clamped."""
        dtype = next(self.network.parameters()).dtype
        with rebuilt_masks():  # a cache would hold what the tracer recorded
            return self.network.restore(lr_image.to(dtype)).float()


class _Constant(nn.Module):
    """What a module computes from its parameters alone."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)
        self.value: Tensor

    def forward(self) -> Tensor:
        """The tensor."""
        return self.value


def inference_copy(network: Network) -> Network:
    """A fused copy on the CPU in float32; modules without an input (position biases) become constants."""
    fused = network.fuse().cpu().float()
    if isinstance(fused, AttentionNetwork):
        fused.use_backend(fused.exported_backend)
    with torch.no_grad():
        for parent in list(fused.modules()):
            for name, child in list(parent.named_children()):
                if _takes_nothing(child):
                    setattr(parent, name, _Constant(child().clone(memory_format=torch.contiguous_format)))
    return fused


def _takes_nothing(module: nn.Module) -> bool:
    if type(module).forward is nn.Module.forward:  # a list of modules
        return False
    return not inspect.signature(module.forward).parameters
