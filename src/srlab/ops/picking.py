"""Single pixels of images."""

from torch import Tensor


def pick_pixels(images: Tensor, pixels: Tensor) -> Tensor:
    """(B, C, h, w) and numbers (B, n) of pixels, counted row by row, to (B, C, 1, n)."""
    wanted = pixels[:, None, :].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, wanted)[:, :, None, :]
