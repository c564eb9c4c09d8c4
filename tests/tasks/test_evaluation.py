import logging
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from evaluation_sets import ListedSet, benchmark, sample
from protocols import basicsr, elan, published_y, rgb
from srlab.metrics.protocol import GrayRule
from srlab.metrics.scoring import score
from srlab.models.bicubic import Bicubic
from srlab.models.network import Network
from srlab.ops.input_padding import InputPadding
from srlab.tasks.evaluation import evaluate, saved_image
from srlab.tasks.restoration import Restoration, restore_padded

OWN = GrayRule.own
SWINIR, ESC = InputPadding.swinir_test, InputPadding.esc_validation

# Mean PSNR of bicubic interpolation. published_y: as papers print it (33.66 30.39 28.42; 30.24 27.55 26.00;
# 29.56 27.21 25.96 on another decoding of B100's JPEGs); basicsr: on the LR PNG files. B100 is the EDSR
# benchmark's.
PUBLISHED_Y = {("Set5", 2): 33.661, ("Set5", 3): 30.392, ("Set5", 4): 28.421}
PUBLISHED_Y |= {("Set14", 2): 30.232, ("Set14", 3): 27.541, ("Set14", 4): 26.000}
PUBLISHED_Y |= {("B100", 2): 29.550, ("B100", 3): 27.200, ("B100", 4): 25.954}
BASICSR = {("Set5", 2): 33.678, ("Set5", 3): 30.404, ("Set5", 4): 28.431}
BASICSR |= {("Set14", 2): 30.327, ("Set14", 3): 27.632, ("Set14", 4): 26.090}
BASICSR |= {("B100", 2): 29.555, ("B100", 3): 27.203, ("B100", 4): 25.956}


class Nearest(Network):
    """Repeats pixels; remembers what it was given."""

    def __init__(self, scale=2, size_multiple=4):
        super().__init__(scale=scale)
        self.size_multiple = size_multiple
        self.gain = nn.Parameter(torch.ones(()))
        self.seen = []

    def restore(self, lr_image):
        self.seen.append((tuple(lr_image.shape), self.training, lr_image.dtype))
        return F.interpolate(lr_image * self.gain, scale_factor=self.scale, mode="nearest")


def random_image(height, width, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8, generator=generator)


@pytest.fixture
def small_sets():
    first = [sample("A", f"a{i}", random_image(30 + 2 * i, 40, seed=i), 2) for i in range(3)]
    second = [sample("B", "gray", random_image(34, 36, 1, seed=7), 2, lr_source="file")]
    return [ListedSet("A", first), ListedSet("B", second)]


def run(network, sets, protocols, **changes):
    settings = {"scale": network.scale, "device": "cpu", **changes}
    return evaluate(network, sets, protocols, **settings)


@pytest.mark.parametrize(
    ("set_name", "scale"),
    [pytest.param(*each, marks=[] if each[0] == "Set5" else [pytest.mark.slow]) for each in BASICSR],
)
def test_bicubic_tables(real_images, set_name, scale):
    protocols = [basicsr(scale), published_y(scale)]
    report = run(Bicubic(scale=scale), [benchmark(real_images, set_name, scale)], protocols)
    means = {mean.protocol: mean for mean in report.means}
    assert means["basicsr"].scores["psnr"] == pytest.approx(BASICSR[set_name, scale], abs=6e-4)
    assert means["basicsr"].gray_images == (("bridge",) if set_name == "Set14" else ())
    assert means["published_y"].scores["psnr"] == pytest.approx(PUBLISHED_Y[set_name, scale], abs=6e-4)


def test_means_are_over_images_and_records_are_single_scores(small_sets):
    network = Nearest()
    report = run(network, small_sets, [basicsr(2), rgb(2)])
    assert [(mean.set_name, mean.protocol, mean.images) for mean in report.means] == [
        ("A", "basicsr", 3),
        ("A", "rgb", 3),
        ("B", "basicsr", 1),
        ("B", "rgb", 1),
    ]
    expected = []
    for item in small_sets[0].samples:
        sr_image = item["lr_image"].repeat_interleave(2, 1).repeat_interleave(2, 2) / 255
        expected.append(score(sr_image, item["hr_image"], basicsr(2)))
    records = [record for record in report.images if (record.set_name, record.protocol) == ("A", "basicsr")]
    assert [record.scores["psnr"] for record in records] == pytest.approx(
        [result["psnr"].item() for result in expected]
    )
    assert report.means[0].scores["psnr"] == pytest.approx(
        math.fsum(result["psnr"].item() for result in expected) / 3
    )
    assert report.means[0].scores["ssim"] == pytest.approx(
        math.fsum(result["ssim"].item() for result in expected) / 3
    )
    assert [(record.height, record.width) for record in records] == [(30, 40), (32, 40), (34, 40)]


def test_gray_references_and_lr_provenance_are_recorded(small_sets):
    report = run(Nearest(), small_sets, [basicsr(2)])
    assert [record.gray for record in report.images] == [False, False, False, True]
    assert {record.gray_rule for record in report.images} == {"replicate"}
    assert [record.lr_source for record in report.images] == ["made", "made", "made", "file"]
    assert [(mean.gray_images, mean.lr_source) for mean in report.means] == [
        ((), "made"),
        (("gray",), "file"),
    ]


def test_each_protocol_s_records_name_its_own_gray_rule(small_sets):
    report = run(Bicubic(scale=2), small_sets[1:], [basicsr(2), basicsr(2, gray=OWN), published_y(2)])
    assert [(mean.protocol, mean.gray_rule) for mean in report.means] == [
        ("basicsr", "replicate"), ("basicsr+gray_own", "own"), ("published_y", "own"),
    ]  # fmt: skip
    replicated, own, _ = (mean.scores["psnr"] for mean in report.means)
    assert replicated - own == pytest.approx(20 * math.log10(255 / 219), abs=1e-4)


def test_each_image_runs_once_for_each_input_padding(small_sets):
    network = Nearest()
    protocols = [
        basicsr(2),
        rgb(2),
        elan(2),
        basicsr(2, padding=SWINIR),
        basicsr(2, name="other", padding=SWINIR),
    ]
    report = run(network, small_sets[1:], [*protocols, basicsr(2, padding=ESC)])
    assert [shape[-2:] for shape, _, _ in network.seen] == [(17, 18), (20, 20), (20, 20)]
    assert [mean.protocol for mean in report.means] == [
        "basicsr", "rgb", "elan", "basicsr+swinir_test", "other+swinir_test", "basicsr+esc_validation",
    ]  # fmt: skip


def test_restoring_crops_what_padding_added():
    image = torch.rand(1, 3, 8, 9)
    for padding in InputPadding:
        expected = image.repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert torch.equal(restore_padded(Nearest(), image, padding), expected)


def test_tiles_and_the_ensemble_are_recorded_with_the_scores(small_sets):
    whole = run(Bicubic(scale=2), small_sets, [basicsr(2)])
    assert {image.tile for image in whole.images} == {0}
    tiled = run(Bicubic(scale=2), small_sets, [basicsr(2)], restoration=Restoration(tile=16))
    assert {image.tile for image in tiled.images} == {16}
    assert tiled.restoration == Restoration(tile=16)
    for one, other in zip(whole.means, tiled.means, strict=True):
        assert other.scores["psnr"] == pytest.approx(one.scores["psnr"], abs=1e-4)
    auto = run(Bicubic(scale=2), small_sets, [basicsr(2)], restoration=Restoration(tile="auto"))
    assert auto.images == whole.images


def test_the_ensemble_restores_eight_views(small_sets):
    network = Nearest(size_multiple=1)
    run(network, small_sets[1:], [basicsr(2)], restoration=Restoration(ensemble=True))
    assert [shape[-2:] for shape, _, _ in network.seen] == 4 * [(17, 18)] + 4 * [(18, 17)]


def test_duplicates_are_not_counted(small_sets):
    doubled = ListedSet("A", [*small_sets[0].samples, {**small_sets[0].samples[0], "counted": False}])
    expected = run(Nearest(), small_sets[:1], [basicsr(2)])
    assert run(Nearest(), [doubled], [basicsr(2)]) == expected


def test_runs_in_the_networks_dtype_and_restores_its_mode(small_sets):
    network = Nearest().train().to(torch.bfloat16)
    report = run(network, small_sets[:1], [basicsr(2)])
    assert {(training, dtype) for _, training, dtype in network.seen} == {(False, torch.bfloat16)}
    assert network.training
    assert report.dtype == "bfloat16"


def test_published_y_is_skipped_for_networks_and_says_so(small_sets, caplog):
    with caplog.at_level(logging.INFO):
        report = run(Nearest(), small_sets, [basicsr(2), published_y(2)])
    assert report.skipped_protocols == ("published_y",)
    assert [protocol.name for protocol in report.protocols] == ["basicsr"]
    assert "published_y scores only model=bicubic and is skipped for Nearest" in caplog.text


def test_published_y_needs_neither_lr_file_nor_network(small_sets):
    samples = [{**item, "lr_image": torch.zeros_like(item["lr_image"])} for item in small_sets[0].samples]
    blank = run(Bicubic(scale=2), [ListedSet("A", samples)], [published_y(2)])
    assert blank == run(Bicubic(scale=2), small_sets[:1], [published_y(2)])
    assert {record.lr_source for record in blank.images} == {"float"}


def test_absent_sets_are_named(small_sets):
    assert run(Nearest(), small_sets, [basicsr(2)], absent_sets=["Urban100"]).absent_sets == ("Urban100",)


def test_restored_images_are_saved_as_scored(small_sets, tmp_path):
    run(Nearest(), small_sets, [basicsr(2), elan(2)], save_images=tmp_path)
    saved = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert saved == ["A/a0_x2.png", "A/a1_x2.png", "A/a2_x2.png", "B/gray_x2.png"]
    expected = small_sets[0].samples[1]["lr_image"].repeat_interleave(2, 1).repeat_interleave(2, 2)
    pixels = np.array(Image.open(tmp_path / "A" / "a1_x2.png"))
    assert torch.equal(torch.from_numpy(pixels).movedim(-1, 0), expected)


def test_long_names_are_saved_apart_within_what_file_systems_hold(tmp_path):
    names = ["a/" + 251 * "x", "a/" + 250 * "x" + "y", 125 * "\u00e9", "short"]
    paths = [tmp_path / saved_image("Set", name, 4) for name in names]
    assert len(set(paths)) == len(names)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f".{path.name}.partial").touch()
    assert paths[-1] == tmp_path / "Set/short_x4.png"


def test_several_paddings_are_saved_side_by_side(small_sets, tmp_path):
    run(Nearest(), small_sets[1:], [basicsr(2), basicsr(2, padding=SWINIR)], save_images=tmp_path)
    saved = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    assert saved == ["model/B/gray_x2.png", "swinir_test/B/gray_x2.png"]


def test_arguments_that_do_not_fit_are_refused(small_sets):
    with pytest.raises(
        ValueError, match=r"no protocol left for Nearest: published_y scores only model=bicubic"
    ):
        run(Nearest(), small_sets, [published_y(2)])
    with pytest.raises(ValueError, match=r"the network has scale 2, the data need 4; set scale=2"):
        run(Nearest(), small_sets, [basicsr(2)], scale=4)
    with pytest.raises(ValueError, match=r"no set holds an image"):
        run(Nearest(), [ListedSet("A")], [basicsr(2)])
    with pytest.raises(ValueError, match=r"distinct names, got basicsr, basicsr"):
        run(Nearest(), small_sets, [basicsr(2), basicsr(4)])


def test_an_image_that_cannot_be_scored_is_named():
    tiny = ListedSet("A", [sample("A", "thumbnail", random_image(12, 40), 2)])
    with pytest.raises(ValueError, match=r"A, image thumbnail: .*SSIM needs at least 11x11 pixels, got 8x36"):
        run(Nearest(), [tiny], [basicsr(2)])


def test_out_of_memory_names_the_image_size(small_sets):
    network = Nearest()
    network.restore = lambda lr_image: torch.empty(10**15, device=lr_image.device)
    with pytest.raises(MemoryError, match=r"restoring a 15x20 image does not fit into the memory of cpu"):
        run(network, small_sets, [basicsr(2)])
