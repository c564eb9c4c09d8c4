"""Small stand-ins for what the data module offers to the evaluation loop."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from srlab.ops.resize import imresize


@dataclass
class ListedSet:
    """A set held in memory."""

    name: str
    samples: list[Mapping[str, Any]] = field(default_factory=list)
    has_references: bool = True

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def sample(set_name, name, hr_image, scale, **changes):
    height, width = (side // scale * scale for side in hr_image.shape[-2:])
    cropped = hr_image[..., :height, :width]
    lr_image = imresize(cropped, size=(height // scale, width // scale), mode="uint8").expand(3, -1, -1)
    return {
        "lr_image": lr_image,
        "hr_image": cropped,
        "name": name,
        "set_name": set_name,
        "counted": True,
        "lr_source": "made",
        **changes,
    }


def read_image(path):
    """(3, H, W), or (1, H, W) for a gray file."""
    pixels = np.array(Image.open(path))
    return torch.from_numpy(pixels[..., None] if pixels.ndim == 2 else pixels).movedim(-1, 0).contiguous()


def benchmark(root: Path, set_name, scale):
    """HR files with the LR files beside them where there are any."""
    folder = root / "benchmark" / set_name
    samples = []
    for path in sorted((folder / "HR").glob("*.png")):
        made = sample(set_name, path.stem, read_image(path), scale)
        lr_path = folder / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png"
        if lr_path.exists():
            made |= {"lr_image": read_image(lr_path).expand(3, -1, -1), "lr_source": "file"}
        samples.append(made)
    return ListedSet(set_name, samples)
