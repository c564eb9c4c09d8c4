import pytest

from srlab.extensions.upscale.choosing import choose
from srlab.extensions.upscale.enlarging import Options, Target
from srlab.extensions.upscale.stamps import Recipe


@pytest.fixture(scope="session")
def bicubic_x2():
    return Recipe(choose("bicubic", device="cpu"), Target(2.0), Options(), 95)
