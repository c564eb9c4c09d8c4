import pytest

from srlab.extensions.upscale.choosing import choose
from srlab.extensions.upscale.enlarging import Target
from srlab.extensions.upscale.stamps import Recipe
from srlab.tasks.restoration import Restoration


@pytest.fixture(scope="session")
def bicubic_x2():
    return Recipe(choose("bicubic", device="cpu"), Target(2.0), Restoration(tile="auto"), 95)
