"""The choices of ``data=…``: which sources train and which validate. ``conf/data`` names these functions.

Each passes everything but its own arguments on to ``SuperResolutionData``, which refuses what it does not
know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from srlab.data.datamodule import SuperResolutionData
from srlab.data.known_sets import BenchmarkSets, DemoPhotographs, Div2K, Flickr2K, Joined
from srlab.data.sources import Folder, Source

if TYPE_CHECKING:
    from typing_extensions import NotRequired, Unpack

    from srlab.data.degradation import Degradation
    from srlab.data.store import BadImagePolicy
    from srlab.data.training_crops import DegradeOn

__all__ = ["Loading", "benchmark", "demo", "df2k", "div2k", "folder", "images"]


class Loading(TypedDict):
    """What all choices share: the arguments of ``SuperResolutionData`` but for its sources."""

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
    """Photographs that scikit-image carries; two of them are held out."""
    held_out = DemoPhotographs(part="held_out")
    return SuperResolutionData(train=DemoPhotographs(part="train"), validation=[held_out], **loading)


def folder(
    *, root: str | Sequence[str], validation_root: str | Sequence[str] | None, **loading: Unpack[Loading]
) -> SuperResolutionData:
    """Any images below ``root``; without ``validation_root`` one in twenty is held out, by its name."""
    if validation_root is None:
        train = Folder(root=root, part="train")
        return SuperResolutionData(
            train=train, validation=[Folder(root=root, part="held_out", set_name="held_out")], **loading
        )
    validation = Folder(root=validation_root, option="data.validation_root")
    return SuperResolutionData(train=Folder(root=root), validation=[validation], **loading)


def images(*, root: str | Sequence[str], **loading: Unpack[Loading]) -> SuperResolutionData:
    """Every image below ``root`` is scored and none trains."""
    return SuperResolutionData(train=None, validation=[Folder(root=root)], **loading)


def div2k(*, root: str, validation_range: Sequence[int], **loading: Unpack[Loading]) -> SuperResolutionData:
    """DIV2K 0001 to 0800; ``validation_range`` is the first and last number that validates, from 801 on."""
    train = Div2K(root=root, first=1, last=800)
    return SuperResolutionData(train=train, validation=[_div2k_validation(root, validation_range)], **loading)


def df2k(*, root: str, validation_range: Sequence[int], **loading: Unpack[Loading]) -> SuperResolutionData:
    """DIV2K 0001 to 0800 with Flickr2K; validates as ``div2k`` does."""
    parts: list[Source] = [Div2K(root=root, first=1, last=800), Flickr2K(root=root)]
    return SuperResolutionData(
        train=Joined(name="DF2K", parts=parts),
        validation=[_div2k_validation(root, validation_range)],
        **loading,
    )


def benchmark(*, root: str, sets: Sequence[str], **loading: Unpack[Loading]) -> SuperResolutionData:
    """Test sets, for scoring only."""
    return SuperResolutionData(train=None, validation=[BenchmarkSets(root=root, sets=sets)], **loading)


def _div2k_validation(root: str, numbers: Sequence[int]) -> Div2K:
    if len(numbers) != 2 or not 801 <= numbers[0] <= numbers[1] <= 900:
        raise ValueError(f"data.validation_range must be [first, last] within 801..900, got {list(numbers)}")
    return Div2K(root=root, first=numbers[0], last=numbers[1])
