"""Back end ``fused``: C++ kernels for a CPU, Triton kernels for NVIDIA GPUs."""
