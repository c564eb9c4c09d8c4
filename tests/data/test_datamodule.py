from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from demo_data import demo, loading
from recorded_fits import fit
from srlab.data import datasets
from srlab.data.datamodule import SuperResolutionData
from srlab.data.sources import folder_images


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def trainer_stub(**changes: Any) -> SimpleNamespace:
    facts = {"world_size": 1, "global_rank": 0, "accumulate_grad_batches": 1}
    facts |= {"global_step": 0, "max_steps": 3}
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(**(facts | changes), strategy=strategy)


def batches(data: SuperResolutionData, **facts: Any) -> list[torch.Tensor]:
    data.trainer = trainer_stub(**facts)  # type: ignore[assignment]
    return [batch["hr_image"] for batch in data.train_dataloader()]


def test_ranks_and_micro_batches_partition_the_steps_of_one_device(cache: Path):
    alone = batches(demo(cache))
    assert [tuple(batch.shape) for batch in alone] == [(8, 3, 32, 32)] * 3
    assert alone[0].dtype == torch.uint8
    ranks = [
        batches(demo(cache), world_size=2, global_rank=rank, accumulate_grad_batches=2) for rank in range(2)
    ]
    for step in range(3):
        parts = [ranks[rank][2 * step + micro] for micro in range(2) for rank in range(2)]
        assert torch.equal(torch.cat(parts), alone[step])


def test_data_that_cannot_train_say_so(cache: Path, real_images: Path):
    data = datasets.benchmark(root=str(real_images), sets=["Set5", "Urban100"], **loading(cache))
    assert data.evaluation_sets().absent == ("Urban100",)
    assert data.validation_names == ["Set5"]
    with pytest.raises(ValueError, match="benchmarks neither train a network nor choose its checkpoint"):
        data.setup("fit")


def test_benchmarks_of_which_none_is_there_are_an_error(cache: Path, tmp_path: Path):
    data = datasets.benchmark(root=str(tmp_path), sets=["Set5", "Manga109"], **loading(cache))
    with pytest.raises(ValueError, match=r"none of the sets Set5, Manga109 exists; .*Manga109/HR.*SRLAB"):
        data.evaluation_sets()


def test_scoring_needs_no_training_images(cache: Path, tmp_path: Path, real_images: Path):
    validation = real_images / "benchmark/Set5"
    nowhere = str(tmp_path / "nowhere")
    data = datasets.folder(root=nowhere, validation_root=str(validation), **loading(cache))
    assert [len(images) for images in data.evaluation_sets().sets] == [5]
    with pytest.raises(ValueError, match="nowhere does not exist"):
        data.setup("fit")


def on_disk(folder: Path, choice: Any, cache: Path, **arguments: Any) -> SuperResolutionData:
    return choice(root=str(folder), **loading(cache, scale=2, patch_size=4, on_bad_image="skip"), **arguments)


def test_a_held_out_part_without_a_usable_image_names_the_remedy(cache: Path, tmp_path: Path):
    """Two files: one trains and one is held out, whichever it is."""
    for number, side in enumerate((8, 8)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{number}.png")
    (held_out,) = folder_images(str(tmp_path), part="held_out").files
    remedy = r"held_out is .*chosen by name alone .*data\.validation_root=PATH"
    Image.new("RGB", (8, 1)).save(held_out.path)
    with pytest.raises(ValueError, match=f"no image of {remedy.replace('is .', 'is left to score.')}"):
        on_disk(tmp_path, datasets.folder, cache, validation_root=None).evaluation_sets()
    held_out.path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=f"none of the 1 images of {remedy}"):
        on_disk(tmp_path, datasets.folder, cache, validation_root=None).evaluation_sets()


def test_every_image_of_data_images_is_scored_and_none_trains(cache: Path, tmp_path: Path):
    for name in ("a", "b", "deep/c"):
        (tmp_path / f"mine/{name}.png").parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"mine/{name}.png")
    data = on_disk(tmp_path / "mine", datasets.images, cache)
    (images,) = data.evaluation_sets().sets
    assert (images.name, [images[index]["name"] for index in range(3)]) == ("mine", ["a", "b", "deep/c"])
    assert len(images) == 3
    with pytest.raises(ValueError, match=r"no training images.*data=images"):
        data.setup("fit")


def test_validation_images_are_checked_before_a_fit_begins(cache: Path, tmp_path: Path):
    for folder, side in (("train", 8), ("validation", 20)):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (side, side)).save(tmp_path / folder / "photo.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "validation/icon.png")
    data = on_disk(tmp_path / "train", datasets.folder, cache, validation_root=str(tmp_path / "validation"))
    data.on_bad_image, data.least_scored_side = "error", 15
    with pytest.raises(
        ValueError, match=r"1 image.* of validation .*: icon measures 8x8, too small to score"
    ):
        data.setup("fit")
    data.on_bad_image = "skip"
    data.setup("fit")
    assert [len(images) for images in data.evaluation_sets().sets] == [1]


def test_a_limit_on_pixels_is_a_limit_of_every_set(cache: Path, tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    with pytest.raises(ValueError, match=r"none of the 1 images of .* is readable"):
        on_disk(tmp_path, datasets.images, cache, max_pixels=63).evaluation_sets()
    assert len(on_disk(tmp_path, datasets.images, cache, max_pixels=64).evaluation_sets().sets[0]) == 1


def test_loaders_without_a_trainer_say_what_to_use(cache: Path):
    with pytest.raises(ValueError, match="need a trainer"):
        demo(cache).train_dataloader()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"patch_size": 0}, "data.patch_size must be at least 1, got 0"),
        ({"num_workers": -1}, "data.num_workers must be at least 0, got -1"),
        ({"on_bad_image": "ignore"}, "data.on_bad_image must be error or skip, got 'ignore'"),
    ],
)
def test_wrong_settings_are_named(cache: Path, changes: dict, fault: str):
    with pytest.raises(ValueError, match=fault):
        demo(cache, **changes)


def test_a_resumed_run_sees_the_batches_that_it_would_have_seen(cache: Path, tmp_path: Path):
    """Through Lightning's own loop, with accumulation: three steps and three more against six."""
    whole, _ = fit(demo(cache), steps=6, accumulate=2)
    first, trainer = fit(demo(cache), steps=3, accumulate=2)
    trainer.save_checkpoint(tmp_path / "3.ckpt")
    rest, _ = fit(demo(cache, num_workers=2), steps=6, accumulate=2, resume=tmp_path / "3.ckpt")
    assert len(whole.trained) == 12
    assert first.trained + rest.trained == whole.trained
    assert len(set(whole.trained)) == 12
    assert [name for name, _ in whole.validated] == ["chelsea", "rocket"] * 3
    assert rest.validated == whole.validated[2:]
