"""Kernels for NVIDIA GPUs, written in Triton, which is imported when one of them first runs."""
