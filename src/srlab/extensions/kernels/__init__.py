"""Compiled kernels, registered as back ends."""
