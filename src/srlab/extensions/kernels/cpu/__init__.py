"""Own kernels for inference on a CPU, in C++ and float32; the machine's compiler builds them at first use."""

from srlab.extensions.kernels.cpu.compiled import require_inference, why_unavailable
from srlab.extensions.kernels.cpu.local_features import local_features, pack_convolutions
from srlab.extensions.kernels.cpu.window_attention import (
    WindowGroup,
    attend_in_windows,
    takes_distances,
    window_attention,
)

__all__ = [
    "WindowGroup",
    "attend_in_windows",
    "local_features",
    "pack_convolutions",
    "require_inference",
    "takes_distances",
    "why_unavailable",
    "window_attention",
]
