"""Stochastic depth."""

import pytest
import torch
import torch.distributed as dist
from torch.testing import assert_close

from srlab.layers.drop_path import DropPath


def test_whole_images_are_dropped_and_the_mean_is_kept():
    torch.manual_seed(0)
    branch = torch.ones(4000, 2, 3)
    result = DropPath(probability=0.25).train()(branch)
    per_image = result.flatten(1)
    assert_close(per_image, per_image[:, :1].expand_as(per_image), rtol=0, atol=0)
    assert {round(value, 6) for value in per_image[:, 0].tolist()} == {0.0, round(1 / 0.75, 6)}
    assert abs(per_image[:, 0].mean().item() - 1) < 0.05  # standard error 0.009


@pytest.mark.parametrize(("probability", "training"), [(0.5, False), (0.0, True)])
def test_nothing_happens_in_evaluation_or_at_probability_zero(probability, training):
    branch = torch.rand(3, 4)
    assert DropPath(probability=probability).train(training)(branch) is branch


@pytest.mark.parametrize("ranks", [2, 4])
def test_processes_in_the_same_state_drop_what_one_would_drop(ranks, monkeypatch):
    """Each holds its share of the batch, in the order of ranks; oracle: the whole batch in one process."""
    drop, branch = DropPath(probability=0.5).train(), torch.rand(8, 2, 3)
    torch.manual_seed(3)
    whole = drop(branch)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: ranks)
    parts = []
    for rank, share in enumerate(branch.chunk(ranks)):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(3)
        parts.append(drop(share))
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_impossible_probabilities_are_refused(probability):
    with pytest.raises(ValueError, match=rf"must be in \[0, 1\), got {probability}"):
        DropPath(probability=probability)
