"""What tests of the CPU kernels share."""

import pytest

from srlab.extensions.kernels.cpu.compiled import why_unavailable

NEEDS_KERNELS = pytest.mark.skipif(
    why_unavailable() is not None, reason=f"no CPU kernels: {why_unavailable()}"
)
