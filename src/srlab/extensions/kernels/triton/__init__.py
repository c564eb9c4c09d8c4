"""Kernels for NVIDIA GPUs, written in Triton, which is imported when one of them first runs."""

from srlab.extensions.kernels.triton.attention import group_window_attention, window_attention
from srlab.extensions.kernels.triton.availability import unavailable_reason
from srlab.extensions.kernels.triton.convolution import shift_convolution
from srlab.extensions.kernels.triton.local_extraction import local_features

__all__ = [
    "group_window_attention",
    "local_features",
    "shift_convolution",
    "unavailable_reason",
    "window_attention",
]
