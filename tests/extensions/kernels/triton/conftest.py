"""The same tests on a GPU (pytest -m gpu) and, where TRITON_INTERPRET=1, in Triton's interpreter on a CPU."""

import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


if INTERPRETED:
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder

    multiply = InterpreterBuilder.create_dot

    def multiply_widened(builder, left, right, *others):
        """The interpreter would multiply the bit patterns of bfloat16 as if they were whole numbers."""
        operands = [
            builder.create_fp_ext(operand, tl.float32) if operand.dtype.scalar == tl.bfloat16 else operand
            for operand in (left, right)
        ]
        return multiply(builder, *operands, *others)

    InterpreterBuilder.create_dot = multiply_widened


@pytest.fixture(params=["cpu"] if INTERPRETED else [pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    torch.manual_seed(0)
    return torch.device(request.param)
