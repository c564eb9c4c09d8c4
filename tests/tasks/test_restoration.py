import logging

import pytest
import torch
from torch import nn

import srlab
from srlab.counts import free_memory
from srlab.models.network import Network
from srlab.ops.reach import Neighbours, Upsampling
from srlab.tasks import tile_choice
from srlab.tasks.restoration import Progress, restore

FULL = RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to allocate")


class Limited(Network):
    """Nearest neighbour and a 3x3 convolution, on a device with room for so many pixels."""

    def __init__(self, room=10**9, error=FULL):
        super().__init__(scale=2)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.room = room
        self.error = error

    def spatial_steps(self):
        return [Neighbours(1), Upsampling(2)]

    def restore(self, lr_image):
        if lr_image.shape[-2] * lr_image.shape[-1] > self.room:
            raise self.error
        return self.conv(lr_image).repeat_interleave(2, 2).repeat_interleave(2, 3)


def run(network, image, **arguments):
    steps = []
    return restore(network, image, on_progress=steps.append, **arguments), steps


def free(monkeypatch, pixels):
    """So many bytes, of which three quarters are used, and a network that needs 0.75 for each pixel."""
    monkeypatch.setattr(tile_choice, "free_bytes", lambda _device: None if pixels is None else pixels)
    monkeypatch.setattr(tile_choice, "bytes_per_pixel", lambda *_, **__: 0.75)
    monkeypatch.setattr(tile_choice, "_PROBE", 4)


def test_progress_counts_calls_from_none_to_all():
    _, steps = run(Limited(), torch.rand(1, 3, 10, 20), tile=10)
    assert steps == [Progress(0, 2, 10), Progress(1, 2, 10), Progress(2, 2, 10)]
    _, steps = run(Limited(), torch.rand(1, 3, 10, 20), tile=10, ensemble=True)
    assert (steps[0].total, steps[-1].done) == (16, 16)


def test_dtype_device_mode_and_gradients_are_the_callers():
    network = Limited().train()
    restored = restore(network, torch.rand(1, 3, 4, 5, dtype=torch.float64), tile=2)
    assert restored.dtype == torch.float64
    assert network.training
    assert not restored.requires_grad


@pytest.mark.parametrize("tile", [-1, 1.5, True, "AUTO"])
def test_an_impossible_tile_is_refused(tile):
    with pytest.raises(ValueError, match="choose 0"):
        restore(Limited(), torch.rand(1, 3, 4, 4), tile=tile)


def test_auto_restores_the_whole_image_while_it_fits(monkeypatch):
    image = torch.rand(1, 3, 50, 100)
    needs = 3 * 4 * 4 * 50 * 100  # the result lies in the same memory
    free(monkeypatch, 5000 + needs / 0.75)
    assert run(Limited(), image, tile="auto")[1][-1] == Progress(1, 1, 0)
    free(monkeypatch, 4999 + needs / 0.75)
    assert run(Limited(), image, tile="auto")[1][-1].tile > 0


def test_auto_takes_the_largest_tile_that_fits(monkeypatch):
    image = torch.rand(1, 3, 60, 60)
    free(monkeypatch, 22**2 + 3 * 4 * 4 * 60 * 60 / 0.75)
    assert run(Limited(), image, tile="auto")[1][-1].tile == 20  # and 1 around it
    free(monkeypatch, None)
    assert run(Limited(), image, tile="auto")[1][-1].tile == 0


@pytest.mark.parametrize("error", [FULL, MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")])
def test_auto_halves_the_tile_until_it_fits_and_says_so_once(monkeypatch, caplog, error):
    free(monkeypatch, None)
    image = torch.rand(1, 3, 100, 100)
    network = Limited(room=30**2, error=error)
    with caplog.at_level(logging.WARNING):
        restored, steps = run(network, image, tile="auto")
    assert [step.tile for step in steps if step.done == 0] == [0, 50, 25]
    assert [record.message for record in caplog.records] == [
        "restoring a 100x100 image does not fit into the memory of cpu; tiles of 25 LR pixels did"
    ]
    network.room = 10**9
    assert (restored - restore(network, image)).abs().max() < 1e-6


def test_an_error_that_is_not_about_memory_is_passed_on():
    with pytest.raises(RuntimeError, match="other"):
        restore(Limited(room=1, error=RuntimeError("other")), torch.rand(1, 3, 4, 4), tile="auto")


def test_what_never_fits_raises_a_memory_error_with_remedies():
    with pytest.raises(MemoryError, match="no smaller tile: use"):
        restore(Limited(room=1), torch.rand(1, 3, 8, 8), tile="auto")
    with pytest.raises(MemoryError, match=r"8x8 image in tiles of 4 LR pixels .* use tile=auto"):
        restore(Limited(room=1), torch.rand(1, 3, 8, 8), tile=4)


def test_tiles_of_a_network_with_statistics_of_the_image_warn_once(caplog):
    network = srlab.create_model("rcan", scale=2, dim=4, num_groups=1, depth=1, squeeze_factor=4)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            restore(network, torch.rand(1, 3, 20, 20), tile=4)
    assert [record.message for record in caplog.records] == [
        "tiles change what RCAN restores, which uses all pixels of the image for channel attention "
        "(docs/tiling.md)"
    ]


def test_the_need_for_a_pixel_is_measured_once_and_is_that_of_the_tensors():
    network = Limited().eval()
    device = torch.device("cpu")
    with torch.inference_mode():
        needed = free_memory.bytes_per_pixel(network, device, torch.float32, side=128)
        # rows repeated, and the result; some processors' convolutions hold one more value of a pixel
        assert needed == pytest.approx(4 * (3 * 2 + 3 * 4), abs=4)
        network.restore = None
        assert free_memory.bytes_per_pixel(network, device, torch.float32, side=128) == needed


def test_free_memory_is_the_least_of_what_the_system_and_the_control_groups_leave(monkeypatch, tmp_path):
    def write(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write(tmp_path / "meminfo", "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    write(tmp_path / "cgroup", "5:cpu:/x\n4:memory:/job\n0::/user/me\n")
    monkeypatch.setattr(free_memory, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(free_memory, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(free_memory, "_GROUP_ROOT", tmp_path / "fs")
    cpu = torch.device("cpu")
    assert free_memory.free_bytes(cpu) == 8000 * 1024
    write(tmp_path / "fs/user/me/memory.max", "max\n")
    write(tmp_path / "fs/user/memory.max", "5000000\n")
    for place in ("user/me", "user"):
        write(tmp_path / "fs" / place / "memory.current", "3000000\n")
        write(tmp_path / "fs" / place / "memory.stat", "anon 1\ninactive_file 500000\n")
    assert free_memory.free_bytes(cpu) == 2_500_000
    write(tmp_path / "fs/memory/job/memory.limit_in_bytes", "4000000\n")
    write(tmp_path / "fs/memory/job/memory.usage_in_bytes", "3000000\n")
    write(tmp_path / "fs/memory/job/memory.stat", "total_inactive_file 0\n")
    assert free_memory.free_bytes(cpu) == 1_000_000
    assert free_memory.free_bytes(torch.device("meta")) is None
