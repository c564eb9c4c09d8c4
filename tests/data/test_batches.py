import time
from collections.abc import Sequence

import pytest
import torch

from srlab.data.batches import RING_SLOTS, BatchMemory, CopiedBatches, SharedRing


def numbered(indices: Sequence[int], memory: BatchMemory) -> dict[str, torch.Tensor]:
    """Every value says which batch it belongs to; written slowly, so that a reader could see halves."""
    batch = memory({"large": (len(indices), 3, 200, 200), "small": (len(indices),)})
    for sample, index in enumerate(indices):
        batch["large"][sample] = index % 251
        time.sleep(0.001)
    batch["small"][:] = torch.tensor(indices) % 251
    return batch


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("workers", "pause"), [(0, 0.0), (1, 0.0), (1, 0.01), (3, 0.0), (2, 0.01)])
def test_a_batch_that_its_reader_keeps_is_never_written_again(workers: int, pause: float):
    """Many turns of the rings, with readers faster and slower than the workers; closed form."""
    indices = [[2 * step, 2 * step + 1] for step in range(12 * RING_SLOTS)]
    kept = []
    for batch in CopiedBatches(numbered, batch_sampler=indices, num_workers=workers, pin_memory=False):
        kept.append(batch)
        time.sleep(pause)
    assert len(kept) == len(indices)
    for pair, batch in zip(indices, kept, strict=True):
        expected = torch.tensor(pair) % 251
        assert torch.equal(batch["small"].long(), expected)
        assert torch.equal(batch["large"].long(), expected[:, None, None, None].expand(2, 3, 200, 200))


def test_a_ring_uses_its_memory_again_after_as_many_batches_as_it_has_slots():
    ring = SharedRing(slots=3)
    addresses = [ring({"a": (2, 5)})["a"].data_ptr() for _ in range(9)]
    assert len(set(addresses[:3])) == 3
    assert addresses == addresses[:3] * 3
    assert ring({"a": (2, 5)})["a"].is_shared()
