"""The choices of ``data=…``: which images train and which validate. ``conf/data`` names these functions.

Each passes everything except its own arguments to ``SuperResolutionData``, which refuses unknown ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from srlab.data.datamodule import SuperResolutionData
from srlab.data.known_sets import benchmark_images, demo_photographs, df2k_images, div2k_images
from srlab.data.sources import folder_images

if TYPE_CHECKING:
    from typing_extensions import NotRequired, Unpack

    from srlab.data.degradation import Degradation
    from srlab.data.image_store import BadImagePolicy
    from srlab.data.training_crops import DegradeOn

__all__ = ["Loading", "benchmark", "demo", "df2k", "div2k", "folder", "images"]


class Loading(TypedDict):
    """What all choices share: the arguments of ``SuperResolutionData`` except its sources."""

    scale: int
    patch_size: int
    batch_size: int
    num_workers: int
    seed: int
    degradation: Degradation
    degrade_on: DegradeOn
    augment: bool
    on_bad_image: BadImagePolicy
    cache: str
    accept_changed_images: NotRequired[bool]
    max_pixels: NotRequired[int]


def demo(**loading: Unpack[Loading]) -> SuperResolutionData:
    """Photographs that come with scikit-image; two of them are held out."""
    train, held_out = partial(demo_photographs, "train"), partial(demo_photographs, "held_out")
    return SuperResolutionData(train=train, validation=[held_out], **loading)


def folder(
    *, root: str | Sequence[str], validation_root: str | Sequence[str] | None, **loading: Unpack[Loading]
) -> SuperResolutionData:
    """Any images below ``root``; without ``validation_root`` one in twenty is held out, by its name."""
    if validation_root is None:
        train = partial(folder_images, root, part="train")
        validation = partial(folder_images, root, part="held_out", set_name="held_out")
    else:
        train = partial(folder_images, root)
        validation = partial(folder_images, validation_root, option="data.validation_root")
    return SuperResolutionData(train=train, validation=[validation], **loading)


def images(*, root: str | Sequence[str], **loading: Unpack[Loading]) -> SuperResolutionData:
    """Every image below ``root`` is scored and none trains."""
    return SuperResolutionData(train=None, validation=[partial(folder_images, root)], **loading)


def div2k(*, root: str, validation_range: Sequence[int], **loading: Unpack[Loading]) -> SuperResolutionData:
    """DIV2K 0001 to 0800; ``validation_range`` is the first and last number that validates, from 801 on."""
    validation = partial(div2k_images, root, *_checked_range(validation_range))
    return SuperResolutionData(train=partial(div2k_images, root, 1, 800), validation=[validation], **loading)


def df2k(*, root: str, validation_range: Sequence[int], **loading: Unpack[Loading]) -> SuperResolutionData:
    """DIV2K 0001 to 0800 with Flickr2K; validates as ``div2k`` does."""
    validation = partial(div2k_images, root, *_checked_range(validation_range))
    return SuperResolutionData(train=partial(df2k_images, root), validation=[validation], **loading)


def benchmark(*, root: str, sets: Sequence[str], **loading: Unpack[Loading]) -> SuperResolutionData:
    """Test sets, for scoring only."""
    if not sets or len(set(sets)) < len(sets):
        raise ValueError(f"data.sets must name at least one set and none twice, got {list(sets)}")
    validation = [partial(benchmark_images, root, name) for name in sets]
    return SuperResolutionData(train=None, validation=validation, **loading)


def _checked_range(numbers: Sequence[int]) -> Sequence[int]:
    if len(numbers) != 2 or not 801 <= numbers[0] <= numbers[1] <= 900:
        raise ValueError(f"data.validation_range must be [first, last] within 801..900, got {list(numbers)}")
    return numbers
