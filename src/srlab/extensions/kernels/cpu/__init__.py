"""Kernels for a CPU, in C++ and float32; the machine's compiler builds them at first use."""
