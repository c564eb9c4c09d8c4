"""Looking up published scores. Values asserted here were read as text, none by eye alone."""

import pytest

from srlab.extensions.literature import published as lookup
from srlab.extensions.literature.published import published, references
from srlab.extensions.literature.records import read_source

ROW = (
    "title: t\nwhere: w\nread: {read}\ntraining: DIV2K\n"
    "rows: [{{network: foo, scale: 4, {extra}Set5: {psnr}}}]\n"
)


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Replaces the packaged tables by one row of network foo for each ``(read, extra, psnr)``."""

    def replace(*rows):
        paths = [tmp_path / f"source{number}.yaml" for number in range(len(rows))]
        for path, (read, extra, psnr) in zip(paths, rows, strict=True):
            path.write_text(ROW.format(read=read, extra=extra, psnr=psnr))
        monkeypatch.setattr(lookup, "sources", lambda: tuple(read_source(path) for path in paths))
        lookup._witnesses.cache_clear()

    yield replace
    lookup._witnesses.cache_clear()


@pytest.mark.parametrize(
    ("rows", "verified"),
    [
        ([("text", "", 30)], [True]),
        ([("image", "", 30)], [False]),
        ([("image", "", 30), ("image", "", 30)], [True, True]),
        ([("image", "", 30), ("quoted", "", 30)], [True, True]),
        ([("image", "", 30), ("image", "", 30.01)], [False, False]),
        ([("image", "", 30), ("scored", "", 30)], [True, True]),
        ([("image", "", 30), ("scored", "", 30.01)], [False, False]),
        ([("image", "", 30), ("scored", "training: DF2K, ", 30)], [False, False]),
        ([("image", "", 30), ("text", "caution: other, ", 30)], [False, True]),
        ([("image", "", 30), ("text", "training: DF2K, ", 30)], [False, True]),
        ([("image", "", 30), ("text", "self_ensemble: true, ", 30)], [False, True]),
    ],
)
def test_only_the_same_figure_of_the_same_thing_verifies(tables, rows, verified):
    tables(*rows)
    assert [score.psnr_verified for score in published("foo")] == verified


def test_what_weights_score_is_no_reference_of_its_own(tables):
    tables(("scored", "", 30), ("scored", "", 30))
    assert references("foo", scale=4, dataset="Set5") == []


def test_the_figure_that_most_sources_print_comes_first(tables):
    tables(("text", "", 30.1), ("text", "", 30), ("text", "", 30))
    assert [each.psnr for each in references("foo", scale=4, dataset="Set5")] == [30, 30.1]
    tables(("image", "", 30.1), ("text", "", 30))
    assert [each.psnr for each in references("foo", scale=4, dataset="Set5")] == [30, 30.1]


def test_sources_that_disagree_stand_side_by_side():
    found = published("elan_light", scale=3, dataset="Set5")
    assert {(score.sources[0], score.psnr) for score in found} == {
        ("catanet_paper", 34.64),
        ("esc_main_div2k", 34.61),
        ("srformer_paper", 34.61),
    }
    first, second = references("elan_light", scale=3, dataset="Set5")
    assert (first.psnr, first.sources) == (34.61, ("esc_main_div2k", "srformer_paper"))
    assert (second.psnr, second.sources) == (34.64, ("catanet_paper",))


def test_a_figure_read_by_eye_is_verified_by_a_second_source_and_not_before():
    by_source = {
        score.sources[0]: score for score in published("esc", scale=2, dataset="Urban100", training="DIV2K")
    }
    assert by_source["esc_readme"].psnr == by_source["esc_main_div2k"].psnr
    assert by_source["esc_main_div2k"].psnr_verified
    assert by_source["esc_main_div2k"].ssim_verified
    (alone,) = published("esc", scale=4, dataset="Urban100", training="DFLIP")
    assert not alone.psnr_verified
    assert alone.shown.count("*") == 2
    (reference,) = references("esc", scale=4, dataset="Urban100", training="DFLIP")
    assert not reference.verified


def test_figures_that_the_published_weights_score_are_confirmed():
    """HiT-SRF x4 on DIV2K; nobody scored its other scales, its training on DF2K, or Manga109."""
    for score in published("hit_srf", scale=4, training="DIV2K"):
        assert score.ssim_verified == (score.ssim is not None and score.dataset != "Manga109"), score
    assert not any(score.psnr_verified for score in published("hit_srf", scale=4, training="DF2K"))
    (reference,) = references("hit_srf", scale=4, dataset="Set14", training="DIV2K")
    assert (reference.shown, reference.verified) == ("28.87 0.7880", True)
    assert "hit_srf_weights" not in reference.sources


def test_another_set_scale_or_training_confirms_nothing():
    """Only Urban100 of this network is printed as text somewhere; the other sets were read by eye."""
    for score in published("hit_sng", scale=2):
        assert score.psnr_verified == (score.dataset == "Urban100")


def test_a_row_with_a_caution_bears_no_witness_and_is_no_reference():
    slip = [score for score in published("elan", scale=2, dataset="Urban100") if score.caution]
    assert [score.psnr for score in slip] == [33.34]
    assert 33.34 not in [reference.psnr for reference in references("elan", scale=2, dataset="Urban100")]
    off_protocol = published("edsr", scale=3, dataset="Set5")
    assert {score.psnr for score in off_protocol} == {34.65, 35.31}
    assert [reference.psnr for reference in references("edsr", scale=3, dataset="Set5")] == [34.65]


def test_self_ensemble_is_never_the_reference_of_a_single_pass():
    single = references("catanet", scale=2, dataset="Urban100")
    ensemble = references("catanet", scale=2, dataset="Urban100", self_ensemble=True)
    assert [each.psnr for each in single] == [33.09]
    assert [each.psnr for each in ensemble] == [33.33]
    assert ensemble[0].self_ensemble


def test_training_data_choose_the_row_and_are_all_shown_where_they_are_unknown():
    chosen = references("swinir", scale=4, dataset="Set5", training="DF2K")
    assert [(each.training, each.psnr) for each in chosen] == [("DF2K", 32.92)]
    for training in (None, "demo"):
        both = references("swinir", scale=4, dataset="Set5", training=training)
        assert [(each.training, each.psnr) for each in both] == [("DIV2K", 32.72), ("DF2K", 32.92)]


def test_the_authors_own_table_comes_first():
    assert references("swinir_light", scale=4, dataset="Urban100")[0].sources[-1] == "swinir_paper"
    assert references("swinir_light", scale=4, dataset="Urban100")[0].shown == "26.47 0.7980"


def test_rgb_scores_are_apart_from_luma():
    (rgb,) = references("edsr_baseline", scale=4, dataset="Set5", color="rgb")
    assert (rgb.psnr, rgb.ssim) == (30.1821, 0.8641)
    assert [each.psnr for each in references("edsr_baseline", scale=4, dataset="Set5")] == [32.09]
    assert references("edsr_baseline", scale=4, dataset="DIV2K") == []


def test_unpublished_networks_have_no_references():
    assert references("elan_demo", scale=2, dataset="Set5") == []
    assert references("elan", scale=5, dataset="Set5") == []
