"""Validation of one network by several processes: every image once, the same means to the last bit on all."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image
from torch import nn

from protocols import basicsr
from srlab.data.datamodule import SuperResolutionData
from srlab.data.degradation import BicubicDegradation
from srlab.data.sources import Source, folder_images
from srlab.models.edsr import EDSR
from srlab.tasks.super_resolution import SuperResolutionTask

SIZES = {"nature": [(20, 31), (40, 25)], "town": [(17, 64)]}


class Record(Callback):
    """Leaves what each process has logged, and the sets and sizes of the images that it restored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.restored: list[tuple[str, str]] = []

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if batch["counted"]:
            self.restored.append((batch["set_name"], batch["name"]))

    def on_validation_end(self, trainer, pl_module):
        torch.save((dict(trainer.callback_metrics), self.restored), self.folder / f"{trainer.global_rank}.pt")


@pytest.fixture(autouse=True)
def _no_port_is_left(monkeypatch):
    """Lightning leaves the port of its processes in the environment, and all later runs would share it."""
    monkeypatch.setenv("MASTER_PORT", "0")
    monkeypatch.delenv("MASTER_PORT")


@pytest.fixture
def sets(tmp_path) -> list[Source]:
    generator = np.random.default_rng(0)
    for name, sizes in SIZES.items():
        (tmp_path / name).mkdir()
        for index, (height, width) in enumerate(sizes):
            pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    return [partial(folder_images, str(tmp_path / name), set_name=name) for name in SIZES]


def validated(sets: list[Source], folder: Path, devices: int):
    """Metrics and restored images of each process."""
    data = SuperResolutionData(
        scale=2,
        train=None,
        validation=sets,
        patch_size=8,
        batch_size=4,
        num_workers=0,
        seed=0,
        degradation=BicubicDegradation(),
        degrade_on="worker",
        augment=True,
        on_bad_image="error",
        cache=str(folder.parent / "cache"),
    )
    torch.manual_seed(0)
    task = SuperResolutionTask(
        network=EDSR(scale=2, dim=4, depth=1, residual_scale=1.0, value_range=1.0),
        loss=nn.L1Loss(),
        protocol=basicsr(2),
        build_optimizer=torch.optim.Adam,
        build_scheduler=torch.optim.lr_scheduler.ConstantLR,  # type: ignore[arg-type]  (no step is taken)
        compile_mode=None,
        record={},
    )
    folder.mkdir()
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        use_distributed_sampler=False,  # as every run has it: the data module shares images out
        logger=False,
        callbacks=[Record(folder)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.validate(task, datamodule=data, verbose=False)
    return [torch.load(folder / f"{rank}.pt") for rank in range(devices)]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_several_processes_score_as_one(sets, tmp_path, devices):
    """Two sets of three images together, which neither number divides; four processes are more than that."""
    ((expected, images),) = validated(sets, tmp_path / "one", 1)
    assert len(images) == 3
    assert set(expected) == {f"val/{part}{m}" for part in ("", "nature/", "town/") for m in ("psnr", "ssim")}
    found = validated(sets, tmp_path / "several", devices)
    assert sorted(image for _, restored in found for image in restored) == sorted(images)
    for metrics, _ in found:
        assert metrics == expected
