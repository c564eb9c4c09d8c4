"""Back end ``fused``: C++ kernels for inference on a CPU, Triton kernels for NVIDIA GPUs."""
