"""LR images that have no HR: to restore, and to judge by metrics without a reference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from srlab.data.evaluation import EvaluationSet
from srlab.data.folder_scan import files_below, unique_names
from srlab.data.images import IMAGE_SUFFIXES
from srlab.data.sources import ImageFile, ImageSet


@dataclass(eq=False, kw_only=True)
class UnreferencedSet(EvaluationSet):
    """The LR images of one set, which ``store`` holds.

    Samples lack ``hr_image``, and their ``lr_source`` is ``"without HR"``. ``least_side`` is of restored
    images.
    """

    has_references: ClassVar[bool] = False

    def _is_usable(self, number: int) -> bool:
        image = self.store.images[number]
        if min(image.height, image.width) * self.scale < self.least_side:
            raise ValueError(
                f"{image.name} measures {image.height}x{image.width}, too small to score: restored at "
                f"x{self.scale:g} it must have {self.least_side}x{self.least_side} pixels"
            )
        return True

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self.images[index]
        image = self.store[number]
        return {
            "lr_image": torch.from_numpy(np.array(np.broadcast_to(image, (3, *image.shape[1:])))),
            "name": self.store.images[number].name,
            "set_name": self.name,
            "scale": self.scale,
            "lr_source": "without HR",
            "counted": True,
        }


def lr_images(root: str) -> ImageSet:
    """Every image below a folder, however deep, whatever its name says.

    Raises:
        ValueError: the folder does not exist or holds no image.
    """
    folder = Path(root).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"the image folder {folder} is not a folder; check data.root")
    paths = sorted(path for path, _ in files_below(folder) if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(
            f"the image folder {folder} holds no image ({' '.join(sorted(IMAGE_SUFFIXES))}); check data.root"
        )
    names = unique_names([path.relative_to(folder) for path in paths])
    return ImageSet(folder.name, tuple(map(ImageFile, names, paths)), is_low_resolution=True)
