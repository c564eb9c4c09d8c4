"""Which crop belongs to a global sample index, and which indices make a batch: pure functions without state.

Random numbers are counter based (Philox, J. Salmon and others, SC 2011): every (seed, stream, index) has its
own words, so workers, devices and restarts cannot change a sample. Only raw words are used, which NumPy
keeps stable across versions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srlab.data.augmentation import TURNS

# Random words for different purposes come from different streams, so that one use never shifts another.
_IMAGE_ORDER, _CROP, _DEGRADATION, _SCALE, _PIXELS = 1, 2, 3, 4, 5


class CropDraw(NamedTuple):
    """Corner of a crop in LR pixels, and its turn (``augmentation``)."""

    top: int
    left: int
    turn: int


def image_of(seed: int, index: int, num_images: int) -> int:
    """The image of sample ``index``: each pass over the set is another permutation.

    One crop of every image before any image comes again, as in the papers' recipes: large images do not weigh
    more.
    """
    pass_number, position = divmod(index, num_images)
    return int(_order(seed, pass_number, num_images)[position])


def draw_crop(seed: int, index: int, positions: tuple[int, int], *, augment: bool) -> CropDraw:
    """Corner and turn of sample ``index``, uniform over ``positions`` (rows, columns) and 8 turns."""
    row, column, turn = _philox(seed, _CROP, index).random_raw(3).tolist()
    rows, columns = positions
    return CropDraw(row * rows >> 64, column * columns >> 64, turn % TURNS if augment else 0)


def degradation_random(seed: int, index: int) -> np.random.Generator:
    """The generator that a degradation may use for sample ``index``."""
    return np.random.Generator(_philox(seed, _DEGRADATION, index))


def draw_uniform(seed: int, step: int) -> float:
    """A number in [0, 1) for an optimizer step."""
    return int(_philox(seed, _SCALE, step).random_raw()) / 2**64


def draw_pixels(seed: int, index: int, count: int, wanted: int) -> NDArray[np.int64]:
    """``wanted`` of the numbers below ``count``, without repetition, in order, for sample ``index``."""
    words = _philox(seed, _PIXELS, index).random_raw(count)
    return np.sort(np.argpartition(words, wanted - 1)[:wanted])


@dataclass(eq=False, kw_only=True)
class GlobalBatchSampler:
    """One rank's share of every micro-batch.

    Optimizer step t takes the samples t * batch_size … (t + 1) * batch_size - 1 on any number of devices:
    micro-batch by micro-batch in order, each cut into contiguous shares by rank.

    Iteration begins with step ``start_step`` and stops before step ``num_steps``, or never if that is None.
    """

    batch_size: int
    num_replicas: int = 1
    rank: int = 0
    accumulate: int = 1
    start_step: int
    num_steps: int | None

    def __post_init__(self) -> None:
        shares = self.num_replicas * self.accumulate
        if self.batch_size < 1 or self.batch_size % shares:
            below = self.batch_size // shares * shares
            raise ValueError(
                f"data.batch_size={self.batch_size} is the samples of one optimizer step and must be a "
                f"multiple of {self.num_replicas} device(s) x {self.accumulate} accumulated micro-batch(es) "
                f"= {shares}; take {max(shares, below)} or {below + shares}"
            )
        assert 0 <= self.rank < self.num_replicas
        self.share = self.batch_size // shares

    def __iter__(self) -> Iterator[list[int]]:
        steps = count(self.start_step) if self.num_steps is None else range(self.start_step, self.num_steps)
        for step in steps:
            for micro_batch in range(self.accumulate):
                shares_before = micro_batch * self.num_replicas + self.rank
                first = step * self.batch_size + shares_before * self.share
                yield list(range(first, first + self.share))

    def __len__(self) -> int:
        """Micro-batches of the whole run, those before ``start_step`` included, as Lightning counts them."""
        if self.num_steps is None:
            raise TypeError("a sampler without num_steps has no length")
        return self.num_steps * self.accumulate


@lru_cache(maxsize=4)
def _order(seed: int, pass_number: int, num_images: int) -> NDArray[np.int64]:
    words = _philox(seed, _IMAGE_ORDER, pass_number).random_raw(num_images)
    return np.argsort(words, kind="stable")


def _philox(seed: int, stream: int, index: int) -> np.random.Philox:
    # The lowest counter word stays free for the words of one index.
    return np.random.Philox(key=[seed % 2**64, stream], counter=[0, index, 0, 0])
