"""Differences from papers, on reports made by hand."""

import pytest
from rich.console import Console

from protocols import basicsr, elan, published_y, rgb
from srlab.extensions.literature.differences import compare, difference_table, differences
from srlab.metrics.protocol import GrayRule
from srlab.tasks.conditions import training_data
from srlab.tasks.evaluation import EvaluationReport, SetMean

PROTOCOLS = (basicsr(4), rgb(4), elan(4))


def report(*means, protocols=PROTOCOLS, scale=4):
    return EvaluationReport(
        scale=scale,
        device="cpu",
        dtype="float32",
        protocols=tuple(protocols),
        means=means,
        images=(),
        skipped_protocols=(),
        absent_sets=(),
    )


def mean(set_name, protocol="basicsr", *, images, psnr=30.0, ssim=0.85, gray=()):
    return SetMean(set_name, protocol, images, {"psnr": psnr, "ssim": ssim}, gray, "replicate", "file")


def test_a_difference_is_ours_minus_theirs():
    scores = report(mean("Set5", images=5, psnr=32.0, ssim=0.89), mean("Set5", "elan", images=5, psnr=33.0))
    luma, unrounded = differences(scores, "swinir_light", training=None)
    assert (luma.psnr, luma.ssim) == pytest.approx((32.0 - 32.44, 0.89 - 0.8976))
    assert unrounded.psnr == pytest.approx(33.0 - 32.44)
    comparison = compare(scores, "swinir_light", None)
    columns = comparison.fields["Set5", "basicsr"]
    line = "Set5, basicsr: -0.440 dB and SSIM -0.0076 from the published 32.44 0.8976 (trained on DIV2K;"
    assert comparison.lines[0].startswith(line)
    assert comparison.records[0]["reference"]["psnr"] == 32.44
    assert columns["published_psnr"] == 32.44
    assert columns["psnr_difference"] == luma.psnr
    assert columns["published_verified"] is True
    assert "swinir_paper" in columns["published_sources"]


def test_only_whole_benchmarks_under_the_papers_protocols_are_compared():
    scores = report(
        mean("Set5", images=4),
        mean("demo", images=2),
        mean("DIV2K", images=100),
        mean("Set14", "rgb", images=14),
        mean("Set14", "basicsr", images=14),
        protocols=(basicsr(2), rgb(4)),
    )
    assert differences(scores, "swinir_light", training=None) == ()
    (first,) = {each.set_name for each in differences(scores, "edsr_baseline", training=None)}
    assert first == "Set14"


def test_rgb_is_held_against_rgb_and_knows_div2k():
    scores = report(mean("DIV2K", "rgb", images=100, psnr=29.0), mean("DIV2K", images=100))
    (only,) = differences(scores, "msrresnet", training="DIV2K")
    assert only.psnr == pytest.approx(29.0 - 28.9967)


def test_bicubic_is_compared_under_the_protocol_of_its_published_rows_alone():
    means = [mean("Set5", "published_y", images=5, psnr=28.421), mean("Set5", images=5, psnr=28.431)]
    scores = report(*means, protocols=(published_y(4), basicsr(4)))
    (only,) = differences(scores, "bicubic", training=None)
    assert (only.protocol, only.psnr) == ("published_y", pytest.approx(0.001))


def test_gray_images_are_compared_as_the_papers_count_them():
    """Networks' rows replicate them, bicubic rows keep their values; sets of colour images do not care."""
    own, replicated = basicsr(4, gray=GrayRule.own), published_y(4)
    replicated.gray = GrayRule.replicate
    names = "basicsr", "basicsr+gray_own", "published_y", "published_y+gray_replicate"
    means = [mean("Set14", name, images=14, gray=("bridge",)) for name in names]
    means += [mean("Set5", "basicsr+gray_own", images=5)]
    scores = report(*means, protocols=(basicsr(4), own, published_y(4), replicated))

    def compared(network):
        return [(each.set_name, each.protocol) for each in differences(scores, network, training="DIV2K")]

    assert compared("hit_srf") == [("Set14", "basicsr"), ("Set5", "basicsr+gray_own")]
    assert compared("bicubic") == [("Set14", "published_y")]


def test_without_a_published_network_there_is_no_difference():
    scores = report(mean("Set5", images=5))
    assert differences(scores, None, training=None) == ()
    assert differences(scores, "elan_demo", training=None) == ()
    nothing = compare(scores, None, None)
    assert set(nothing.fields["Set5", "basicsr"].values()) == {None}
    assert not any((nothing.records, nothing.lines, nothing.found))


def test_the_table_fits_80_columns_and_names_every_source():
    scores = report(*(mean(name, images=n) for name, n in [("Set5", 5), ("Manga109", 109)]))
    table = difference_table(differences(scores, "esc", training=None))
    console = Console(width=80, record=True)
    console.print(table)
    text = console.export_text()
    assert "Manga109 x4" in text
    assert "1 esc_main_div2k, 2 esc_dflip" in text
    assert "* read from a picture" in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("config", "training"),
    [
        (None, None),
        ({}, None),
        ({"data": {"_target_": "srlab.data.datasets.div2k"}}, "DIV2K"),
        ({"data": {"_target_": "srlab.data.datasets.df2k"}}, "DF2K"),
        ({"data": {"_target_": "srlab.data.datasets.folder"}}, "folder"),
    ],
)
def test_a_runs_configuration_tells_what_it_trained_on(config, training):
    assert training_data(config) == training
