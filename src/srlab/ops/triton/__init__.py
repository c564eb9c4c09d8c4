"""Kernels for NVIDIA GPUs, written in Triton, which is imported when one of them first runs."""

from srlab.ops.triton.attention import group_window_attention, window_attention
from srlab.ops.triton.availability import unavailable_reason
from srlab.ops.triton.convolution import shift_convolution
from srlab.ops.triton.local_extraction import local_features

__all__ = [
    "group_window_attention",
    "local_features",
    "shift_convolution",
    "unavailable_reason",
    "window_attention",
]
