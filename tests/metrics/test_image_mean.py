import math
from fractions import Fraction

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from protocols import basicsr
from srlab.metrics.image_mean import ImageMean
from srlab.metrics.scoring import score

SIZES = [(20, 31), (40, 25), (28, 28), (64, 17), (33, 50)]


def scored_images():
    """Scores of five images of unequal size."""
    generator = torch.Generator().manual_seed(0)
    for index, (height, width) in enumerate(SIZES):
        hr_image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
        noise = (index + 1) / 20 * torch.rand(3, height, width, generator=generator)
        yield score(hr_image / 255 + noise, hr_image, basicsr(2))


def mean_on_two_ranks(rank, rendezvous, results):
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    scores = list(scored_images())
    # as a sampler deals five samples to two ranks: the sixth place is a duplicate of the first, not counted
    share = [(0, True), (2, True), (4, True)] if rank == 0 else [(1, True), (3, True), (0, False)]
    mean_psnr, mean_ssim, of_the_first_rank = ImageMean(), ImageMean(), ImageMean()
    for index, counted in share:
        mean_psnr.update(scores[index]["psnr"], counted)
        mean_ssim.update(scores[index]["ssim"], counted)
        if rank == 0:
            of_the_first_rank.update(scores[index]["psnr"])
    means = [mean.compute() for mean in (mean_psnr, mean_ssim, of_the_first_rank)]
    torch.save(means, f"{results}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_mean_of_one_to_the_last_bit(tmp_path):
    """Also where one of them has no image. Oracle: exact fractions, rounded once."""
    start_processes(mean_on_two_ranks, (tmp_path / "rendezvous", tmp_path), nprocs=2, start_method="fork")
    scores = list(scored_images())
    psnr, ssim = ([result[key].item() for result in scores] for key in ("psnr", "ssim"))
    expected = [float(sum(map(Fraction, part))) / len(part) for part in (psnr, ssim, psnr[::2])]
    for rank in range(2):
        assert [mean.item() for mean in torch.load(tmp_path / f"{rank}.pt")] == expected


def test_the_order_of_images_does_not_matter_to_the_last_bit():
    """Added up one by one in float64, these give 0 or 0.5; oracle: by hand."""
    for values in ([1.0, 1e100, 1.0, -1e100], [1e100, -1e100, 1.0, 1.0]):
        mean = ImageMean()
        for value in values:
            mean.update(value)
        assert mean.compute().item() == 0.5


def test_images_weigh_the_same_and_uncounted_ones_nothing():
    mean = ImageMean()
    mean.update(30.0)
    mean.update(torch.tensor([40.0, 1000.0]), torch.tensor([True, False]))
    mean.update(torch.tensor(500.0), counted=False)
    assert mean.compute().item() == 35.0


def test_an_infinite_value_that_is_not_counted_leaves_the_mean_finite():
    mean = ImageMean()
    mean.update(math.inf, counted=False)
    mean.update(30.0)
    assert mean.compute().item() == 30.0


def test_reset_forgets_everything():
    mean = ImageMean()
    mean.update(10.0)
    mean.reset()
    mean.update(20.0)
    assert mean.compute().item() == 20.0


@pytest.fixture
def task():
    """As a training task holds its means. Lightning is imported here: the processes above do without it."""
    from lightning.pytorch import LightningModule

    class Task(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.means = torch.nn.ModuleDict({"Set5": ImageMean()})

    return Task()


def to_bf16_true(task):
    from lightning.pytorch.plugins.precision import HalfPrecision

    return HalfPrecision("bf16-true").convert_module(task)


@pytest.mark.parametrize(
    "convert",
    [
        lambda task: task.float(),
        lambda task: task.half(),
        lambda task: task.bfloat16(),
        lambda task: task.type(torch.float16),
        lambda task: task.to(torch.bfloat16),
        lambda task: task.to("cpu", torch.float16),
        to_bf16_true,
    ],
    ids=["float", "half", "bfloat16", "type", "to", "to_device_and_dtype", "lightning_bf16_true"],
)
def test_states_stay_float64_when_the_task_is_converted(task, convert):
    mean = task.means["Set5"]
    third = torch.tensor(1 / 3, dtype=torch.float64)
    mean.update(third)
    assert convert(task).layer.weight.dtype is not torch.float64
    mean.update(third)
    assert {part.dtype for part in mean.values} == {torch.float64}
    assert mean.compute().item() == 1 / 3
    mean.reset()
    mean.update(third)
    assert mean.compute().item() == 1 / 3


def test_states_move_with_the_module():
    mean = ImageMean()
    mean.update(30.0)
    mean.to("meta")
    assert {part.device.type for part in mean.values} == {mean.device.type} == {"meta"}
