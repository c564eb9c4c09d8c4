"""Image files for tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def touch(path: Path) -> Path:
    """An empty file, for functions that look at names alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def save_noise(path: Path, *shape: int, seed: int = 0) -> np.ndarray:
    """An image of this shape, (H, W) or (H, W, 3); returns its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels
