from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from srlab.data.sampling import GlobalBatchSampler, draw_crop, image_of


def shares(
    batch_size: int, devices: int, accumulate: int, *, start: int = 0, steps: int = 3
) -> list[list[list[int]]]:
    """For each rank its micro-batches."""
    step = {"batch_size": batch_size, "num_replicas": devices, "accumulate": accumulate}
    ranks = range(devices)
    return [list(GlobalBatchSampler(**step, rank=rank, start_step=start, num_steps=steps)) for rank in ranks]


@pytest.mark.parametrize(("devices", "accumulate"), [(1, 1), (4, 1), (1, 3), (2, 3), (12, 1)])
def test_every_step_takes_the_same_samples_on_any_devices_and_accumulation(devices: int, accumulate: int):
    by_rank = shares(12, devices, accumulate)
    for step in range(3):
        mine = slice(step * accumulate, (step + 1) * accumulate)
        taken = [index for batches in by_rank for batch in batches[mine] for index in batch]
        assert sorted(taken) == list(range(step * 12, (step + 1) * 12))


def test_a_micro_batch_is_a_contiguous_range_over_the_ranks():
    by_rank = shares(12, 2, 3, steps=2)
    for number in range(6):
        taken = [index for batches in by_rank for index in batches[number]]
        assert taken == list(range(number * 4, (number + 1) * 4))


def test_iteration_goes_on_where_a_stopped_run_was():
    whole, rest = shares(8, 2, 2, steps=5), shares(8, 2, 2, start=3, steps=5)
    assert [batches[6:] for batches in whole] == rest


def test_the_length_counts_the_whole_run():
    arguments = {"batch_size": 8, "num_replicas": 2, "rank": 0, "accumulate": 2, "start_step": 3}
    assert len(GlobalBatchSampler(**arguments, num_steps=5)) == 10
    endless = GlobalBatchSampler(**arguments, num_steps=None)
    with pytest.raises(TypeError, match="no length"):
        len(endless)
    assert next(iter(endless)) == [24, 25]


def test_a_batch_that_cannot_be_shared_names_the_next_ones_that_can():
    with pytest.raises(ValueError, match=r"batch_size=10 .*2 device\(s\) x 2 .* = 4; take 8 or 12"):
        shares(10, 2, 2)


def test_each_pass_is_a_permutation_of_its_own():
    passes = [[image_of(7, number * 50 + position, 50) for position in range(50)] for number in range(3)]
    assert all(sorted(order) == list(range(50)) for order in passes)
    assert passes[0] != passes[1] != passes[2]
    assert passes[0] != [image_of(8, position, 50) for position in range(50)]


def test_crops_are_uniform_over_positions_and_turns():
    """Chi-square against uniform; 3 x 2 positions and 8 turns."""
    draws = [draw_crop(0, index, (3, 2), augment=True) for index in range(9600)]
    counts: dict[tuple, int] = {}
    for draw in draws:
        counts[draw] = counts.get(draw, 0) + 1
    assert len(counts) == 48
    # chi-square with 47 degrees of freedom exceeds 90 once in 6000 seeds
    assert sum((count - 200) ** 2 / 200 for count in counts.values()) < 90


def test_without_augmentation_the_crop_stays_and_nothing_turns():
    for index in range(20):
        turned, plain = draw_crop(3, index, (9, 9), augment=True), draw_crop(3, index, (9, 9), augment=False)
        assert (plain.top, plain.left) == (turned.top, turned.left)
        assert plain.turn == 0


def test_a_draw_does_not_depend_on_those_before_it():
    """Any order, two seeds in turn and two threads, against a generator made for each index alone."""
    indices = [5, 0, 2**40, 5, 1, 2**62]

    def draws() -> list[tuple[int, int, int]]:
        return [draw_crop(seed, index, (2**64, 2**64), augment=True) for index in indices for seed in (0, 9)]

    fresh = (
        np.random.Philox(key=[seed, 2], counter=[0, index, 0, 0]).random_raw(3).tolist()
        for index in indices
        for seed in (0, 9)
    )
    expected = [(row, column, turn % 8) for row, column, turn in fresh]
    with ThreadPoolExecutor(2) as threads:
        made = [threads.submit(draws) for _ in range(8)]
    assert all(future.result() == expected for future in made)


def test_draws_are_the_recorded_ones():
    """A change here changes every recorded run: the sample of an index is part of the data format."""
    assert [image_of(0, index, 10) for index in range(10)] == [5, 3, 7, 8, 2, 4, 1, 0, 6, 9]
    crop = draw_crop(0, 12345, (1000, 1000), augment=True)
    assert crop == (624, 245, 1)
