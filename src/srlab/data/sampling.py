"""Which crop a global index is, and which indices make a batch: pure functions, no state, no history.

Random numbers are counter based (Philox, J. Salmon and others, SC 2011): every (seed, stream, index) has
words of its own, so that workers, devices and restarts cannot change a sample. Only raw words are used, which
NumPy keeps across versions.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

__all__ = [
    "FLIP_COLUMNS",
    "FLIP_ROWS",
    "TRANSPOSE",
    "CropDraw",
    "GlobalBatchSampler",
    "degradation_random",
    "draw_crop",
    "image_of",
]

# Bits of a turn. Transposed first, then flipped.
TRANSPOSE, FLIP_ROWS, FLIP_COLUMNS = 1, 2, 4


class _Stream(IntEnum):
    """What random words are for; kept apart so that one use never shifts another."""

    image_order = 1
    crop = 2
    degradation = 3


@dataclass(frozen=True)
class CropDraw:
    """A crop in LR pixels and how it is turned: a sum of the three bits above, 0..7."""

    top: int
    left: int
    turn: int

    @property
    def transpose(self) -> bool:
        """Rows become columns, before the flips."""
        return bool(self.turn & TRANSPOSE)

    @property
    def flip_rows(self) -> bool:
        """Upside down."""
        return bool(self.turn & FLIP_ROWS)

    @property
    def flip_columns(self) -> bool:
        """Left and right exchanged."""
        return bool(self.turn & FLIP_COLUMNS)


def image_of(seed: int, index: int, num_images: int) -> int:
    """The image of sample ``index``: each pass over the set is a permutation of its own.

    (One crop of every image before any image comes again, as in the papers' recipes: large images do not
    weigh more.)
    """
    pass_number, position = divmod(index, num_images)
    return int(_order(seed, pass_number, num_images)[position])


def draw_crop(seed: int, index: int, positions: tuple[int, int], *, augment: bool) -> CropDraw:
    """Corner and turn of sample ``index``, uniform over ``positions`` (rows, columns) and 8 turns."""
    row, column, turn = _crop_words.of(seed, index)
    return CropDraw(
        top=row * positions[0] >> 64,
        left=column * positions[1] >> 64,
        turn=turn & (TRANSPOSE | FLIP_ROWS | FLIP_COLUMNS) if augment else 0,
    )


def degradation_random(seed: int, index: int) -> np.random.Generator:
    """The generator that a degradation may use for sample ``index``."""
    return np.random.Generator(_philox(seed, _Stream.degradation, index))


class GlobalBatchSampler(Sampler[list[int]]):
    """One rank's share of every micro-batch.

    Optimizer step t takes the samples t * batch_size … (t + 1) * batch_size - 1 on any number of devices:
    micro-batch by micro-batch in order, each cut into contiguous shares by rank.

    Args:
        batch_size: samples of one optimizer step, all devices and micro-batches together.
        num_replicas: devices.
        rank: this device's number.
        accumulate: micro-batches of a step.
        start_step: optimizer steps already taken; iteration begins there.
        num_steps: the step to stop before, or None for no end.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        num_replicas: int,
        rank: int,
        accumulate: int,
        start_step: int,
        num_steps: int | None,
    ) -> None:
        shares = num_replicas * accumulate
        if batch_size < 1 or batch_size % shares:
            raise ValueError(
                f"data.batch_size={batch_size} is the samples of one optimizer step and must be a "
                "multiple of "
                f"{num_replicas} device(s) x {accumulate} accumulated micro-batch(es) = {shares}; take "
                f"{max(shares, batch_size // shares * shares)} or {(batch_size // shares + 1) * shares}"
            )
        assert 0 <= rank < num_replicas
        self.batch_size = batch_size
        self.share = batch_size // shares
        self.num_replicas = num_replicas
        self.rank = rank
        self.accumulate = accumulate
        self.start_step = start_step
        self.num_steps = num_steps

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
    words = _philox(seed, _Stream.image_order, pass_number).random_raw(num_images)
    return np.argsort(words, kind="stable")


class _CropWords(threading.local):
    """The first words of each index of the crops' stream.

    One generator a thread has its counter set: 2 us, where making a generator for each index takes 8.
    """

    def __init__(self) -> None:
        self.seed: int | None = None

    def of(self, seed: int, index: int) -> list[int]:
        if seed != self.seed:
            self.seed = seed
            self.generator = _philox(seed, _Stream.crop, 0)
            self.state: Any = self.generator.state
        self.state["state"]["counter"][1] = index
        self.generator.state = self.state
        return self.generator.random_raw(3).tolist()


_crop_words = _CropWords()


def _philox(seed: int, stream: _Stream, index: int) -> np.random.Philox:
    # The lowest counter word stays free for the words of one index.
    return np.random.Philox(key=[seed % 2**64, int(stream)], counter=[0, index, 0, 0])
