"""The choices of ``data=…``: which images train and which validate. ``conf/data`` names these functions.

Each passes everything except its own arguments to ``SuperResolutionData``, which refuses unknown ones.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from srlab.data.datamodule import SuperResolutionData
from srlab.data.degradation import BicubicDegradation, Degradation
from srlab.data.known_sets import benchmark_images, demo_photographs, df2k_images, div2k_images
from srlab.data.paired import paired_images
from srlab.data.sources import Roots, folder_images, lr_images


def demo(**loading: Any) -> SuperResolutionData:
    """Photographs that come with scikit-image; two of them are held out."""
    held_out = partial(demo_photographs, "held_out")
    return SuperResolutionData(train=partial(demo_photographs, "train"), validation=[held_out], **loading)


def folder(*, root: Roots, validation_root: Roots | None, **loading: Any) -> SuperResolutionData:
    """Any images below ``root``; without ``validation_root`` one in twenty is held out, by its name."""
    if validation_root is None:
        train = partial(folder_images, root, part="train")
        validation = partial(folder_images, root, part="held_out", set_name="held_out")
    else:
        train = partial(folder_images, root)
        validation = partial(folder_images, validation_root, option="data.validation_root")
    return SuperResolutionData(train=train, validation=[validation], **loading)


def paired(
    *,
    hr_root: Roots,
    lr_root: Roots,
    lr_name: str | None,
    validation_hr_root: Roots | None,
    validation_lr_root: Roots | None,
    scale: int,
    degradation: Degradation,
    degrade_on: str,
    **loading: Any,
) -> SuperResolutionData:
    """HR images with LR files of any degradation; without a validation pair one in twenty is held out."""
    if not isinstance(degradation, BicubicDegradation) or degrade_on != "worker":
        raise ValueError(
            f"data=paired reads LR crops from files, so {type(degradation).__name__} with data.degrade_on="
            f"{degrade_on} would have no effect; leave both out, or use data=folder"
        )
    if (validation_hr_root is None) != (validation_lr_root is None):
        raise ValueError(
            f"data.validation_hr_root={validation_hr_root} and data.validation_lr_root={validation_lr_root} "
            "belong together; give both, or neither to hold out one pair in twenty"
        )
    pair = partial(paired_images, scale=scale, lr_name=lr_name)
    if validation_hr_root is None or validation_lr_root is None:
        train = partial(pair, hr_root, lr_root, part="train")
        validation = partial(pair, hr_root, lr_root, part="held_out")
    else:
        train = partial(pair, hr_root, lr_root)
        options = ("data.validation_hr_root", "data.validation_lr_root")
        validation = partial(pair, validation_hr_root, validation_lr_root, options=options)
    here: dict[str, Any] = {"scale": scale, "degradation": degradation, "degrade_on": degrade_on}
    return SuperResolutionData(train=train, validation=[validation], **here, **loading)


def images(*, root: Roots, **loading: Any) -> SuperResolutionData:
    """Every image below ``root`` is scored and none trains."""
    return SuperResolutionData(train=None, validation=[partial(folder_images, root)], **loading)


def unreferenced(*, root: str, **loading: Any) -> SuperResolutionData:
    """Every image below ``root`` is an LR image without HR: restored and judged without a reference."""
    return SuperResolutionData(train=None, validation=[partial(lr_images, root)], **loading)


def div2k(*, root: str, validation_range: Sequence[int], **loading: Any) -> SuperResolutionData:
    """DIV2K 0001 to 0800; ``validation_range`` is the first and last number that validates, from 801 on."""
    validation = partial(div2k_images, root, *_checked_range(validation_range))
    return SuperResolutionData(train=partial(div2k_images, root, 1, 800), validation=[validation], **loading)


def df2k(*, root: str, validation_range: Sequence[int], **loading: Any) -> SuperResolutionData:
    """DIV2K 0001 to 0800 with Flickr2K; validates as ``div2k`` does."""
    validation = partial(div2k_images, root, *_checked_range(validation_range))
    return SuperResolutionData(train=partial(df2k_images, root), validation=[validation], **loading)


def benchmark(*, root: str, sets: Sequence[str], **loading: Any) -> SuperResolutionData:
    """Test sets, for scoring only."""
    if not sets or len(set(sets)) < len(sets):
        raise ValueError(f"data.sets must name at least one set and none twice, got {list(sets)}")
    validation = [partial(benchmark_images, root, name) for name in sets]
    return SuperResolutionData(train=None, validation=validation, **loading)


def _checked_range(numbers: Sequence[int]) -> Sequence[int]:
    if len(numbers) != 2 or not 801 <= numbers[0] <= numbers[1] <= 900:
        raise ValueError(f"data.validation_range must be [first, last] within 801..900, got {list(numbers)}")
    return numbers
