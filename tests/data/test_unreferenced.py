"""LR images without HR: which files, what samples hold, and what is said of them when they are scored."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from image_files import save_noise
from protocols import basicsr, published_y
from srlab.data.evaluation import EvaluationSet
from srlab.data.sources import lr_images
from srlab.data.store import open_store
from srlab.metrics import niqe
from srlab.metrics.scoring import score
from srlab.models.bicubic import Bicubic
from srlab.tasks.conditions import Conditions
from srlab.tasks.evaluation import evaluate
from srlab.tasks.report_tables import Evaluation, to_markdown
from srlab.tasks.restoration import result_size


def opened(folder, *, scale=2, on_bad_image="error", least_side=1):
    image_set = lr_images(str(folder))
    store = open_store(image_set, cache=folder.parent / "cache", on_bad_image=on_bad_image)
    return EvaluationSet(
        image_set=image_set, store=store, scale=scale, on_bad_image=on_bad_image, least_side=least_side
    )


def test_every_file_counts_as_lr_and_samples_have_no_hr(tmp_path):
    pixels = save_noise(tmp_path / "photos/LR_bicubic/X4/0001x4.png", 9, 7, 3)
    gray = save_noise(tmp_path / "photos/b.png", 5, 6)
    samples = list(opened(tmp_path / "photos"))
    assert [sample["name"] for sample in samples] == ["LR_bicubic/X4/0001x4", "b"]
    assert torch.equal(samples[0]["lr_image"], torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.equal(samples[1]["lr_image"], torch.from_numpy(gray.reshape(1, 5, 6)).expand(3, -1, -1))
    assert not any("hr_image" in sample for sample in samples)


def test_sides_are_those_of_restored_images(tmp_path):
    for name, side in (("small", 9), ("large", 10)):
        save_noise(tmp_path / f"photos/{name}.png", side, 12, 3)
    with pytest.raises(ValueError, match="small measures 9x12, too small to score: restored at x2 it must"):
        opened(tmp_path / "photos", least_side=20)
    images = opened(tmp_path / "photos", least_side=20, on_bad_image="skip")
    assert [sample["name"] for sample in images] == ["large"]


@pytest.mark.parametrize(("scale", "sides"), [(2, None), (2.5, (23, 18)), (3, (27, 21))])
def test_another_scale_than_the_networks_rounds_their_sides_half_up(scale, sides, tmp_path):
    save_noise(tmp_path / "photos/a.png", 9, 7, 3)
    (sample,) = opened(tmp_path / "photos", scale=scale)
    assert sample["scale"] == scale
    assert result_size(Bicubic(scale=2), sample, scale) == sides


def test_a_folder_without_images_is_refused(tmp_path):
    for folder, fault in ((tmp_path, "holds no image"), (tmp_path / "absent", "is not a folder")):
        with pytest.raises(ValueError, match=f"{fault}.*check data.root"):
            lr_images(str(folder))


def test_they_are_judged_by_niqe_alone(tmp_path, monkeypatch, caplog):
    """Oracle: the NIQE that the restored image has beside any reference."""
    random = np.random.default_rng(0)
    root = random.standard_normal((36, 36)) / 6
    parameters = random.uniform(0.2, 1.5, 36), root @ root.T + 0.1 * np.eye(36)
    monkeypatch.setattr(niqe, "_parameters_on", lambda device: tuple(map(torch.from_numpy, parameters)))
    (tmp_path / "photos").mkdir()
    Image.fromarray(astronaut()[20:120, 100:250]).save(tmp_path / "photos/a.png")
    images, network = opened(tmp_path / "photos"), Bicubic(scale=2)

    def scored(protocols, metrics):
        return evaluate(network, [images], protocols, scale=2, device="cpu", metrics=metrics)

    with caplog.at_level(logging.INFO):
        report = scored([basicsr(2)], ["psnr", "niqe"])
    assert "there is no HR of photos, so no psnr" in caplog.text
    (record,) = report.images
    restored = network(images[0]["lr_image"][None] / 255)[0]
    expected = score(restored, torch.zeros(3, 200, 300, dtype=torch.uint8), basicsr(2), ["niqe"])
    assert record.scores == {"niqe": expected["niqe"].item()}
    assert (record.height, record.width, record.gray) == (200, 300, False)
    text = to_markdown([Evaluation(report, Conditions(model="bicubic", checkpoint="none"))])
    assert "photos, basicsr: LR without HR" in text
    assert "PSNR" not in text
    with pytest.raises(ValueError, match=r"psnr, ssim need HR, and there is none of photos; use metrics=\[n"):
        scored([basicsr(2)], ["psnr", "ssim"])
    with pytest.raises(ValueError, match=r"protocol 'published_y' starts from HR.*protocol=\[basicsr\]"):
        scored([basicsr(2), published_y(2)], ["niqe"])
