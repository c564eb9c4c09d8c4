"""The literature's files hold what their schema allows, and are read as they stand."""

from pathlib import Path

import pytest

from extensions.literature.checker import check_card, check_source
from srlab.app.presets import list_models
from srlab.extensions.literature.records import DATASETS, cards, packaged, read_source, sources

SOURCE = """
title: a table
where: a repository
read: text
training: DIV2K
rows:
  - {network: elan, scale: 4, Set5: [32.75, 0.9022], Set14: 28.96}
"""
CARD = """
title: a paper
presets: {elan: ELAN}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "table.yaml"
    path.write_text(text)
    return path


def test_a_table_is_read(tmp_path):
    source = read_source(written(tmp_path, SOURCE))
    (row,) = source.rows
    assert (source.name, source.read, source.color, source.own) == ("table", "text", "y", ())
    assert (row.network, row.scale, row.training, row.self_ensemble) == ("elan", 4, "DIV2K", False)
    assert row.scores == {"Set5": (32.75, 0.9022), "Set14": (28.96, None)}


def test_a_row_may_say_otherwise_than_its_file(tmp_path):
    text = SOURCE + "  - {network: elan, scale: 4, training: DF2K, Set5: 32.9, latency_ms: [2, 3]}\n"
    text += "latency: {device: a GPU, output_size: [720, 1280]}\n"
    source = read_source(written(tmp_path, text))
    assert [row.training for row in source.rows] == ["DIV2K", "DF2K"]
    assert source.rows[1].latency_ms == (2.0, 3.0)
    assert source.latency.output_size == (720, 1280)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "0.9022",
            "1.02",
            r"table\.yaml: row 1 .*SSIM on Set5 must be a number above 0\.3 and up to 1\.0, got 1",
        ),
        ("32.75", "3", r"row 1 .*PSNR on Set5 must be a number above 15\.0 and up to 60\.0, got 3"),
        ("28.96", "twenty", r"row 1 .*PSNR on Set14 must be a number .* got 'twenty'"),
        ("[32.75, 0.9022]", "[32.75]", r"Set5 must be \[PSNR, SSIM\] or a PSNR"),
        ("Set14", "Set15", r"row 1 .*Row has no Set15 key"),
        ("scale: 4", "scale: 1", r"scale must be an integer from 2 to 8, got 1"),
        ("network: elan, ", "", r"row 1 .*missing: network"),
        ("network: elan", "network: 7", r"network must be text, got 7"),
        ("training: DIV2K", "training: DIV2k", r"training must be one of DIV2K, .* got 'DIV2k'"),
        ("where: a repository\n", "", r"table\.yaml: .*missing: where"),
        ("where: a repository", "where:", r"where must be text, got None"),
        ("title: a table", "titel: a table", r"Source has no titel key; missing: title"),
        ("read: text", "read: eye", r"read must be one of text, image, quoted, scored, got 'eye'"),
        ("read: text", "read: text\ncolor: z", r"color must be one of y, rgb, got 'z'"),
        ("read: text", "read: text\nread: image", r"table\.yaml: read is repeated"),
        ("Set14: 28.96", "Set5: 28.96", r"Set5 is repeated"),
        ("Set14: 28.96", "params_k: -1", r"params_k must be a number above 0"),
        ("Set14: 28.96", "latency_ms: 5", r"latencies need their device"),
        ("Set14: 28.96", "latency_ms: [5, 4]", r"latency_ms must be a number or \[lowest, highest\]"),
        ("Set14: 28.96", "self_ensemble: 1", r"self_ensemble must be true or false, got 1"),
        (", Set5: [32.75, 0.9022], Set14: 28.96", "", r"no figure in it; known columns are Set5"),
        (
            "read: text",
            "read: text\nlatency: {device: a GPU}",
            r"either output_size: \[height, width\] or images",
        ),
        ("  - {network", "  - {network: [", r"table\.yaml: "),
    ],
)
def test_what_cannot_be_is_refused_by_file_and_row(tmp_path, old, new, message):
    assert old in SOURCE
    with pytest.raises(ValueError, match=message):
        check_source(written(tmp_path, SOURCE.replace(old, new)))


@pytest.mark.parametrize("text", ["", "rows: 3", "- a list"])
def test_a_file_without_rows_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"table\.yaml: (the file must be a mapping|rows must be a list)"):
        check_source(written(tmp_path, text))


def test_two_rows_of_one_network_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"two rows of elan x4 on DIV2K; join them"):
        check_source(written(tmp_path, SOURCE + "  - {network: elan, scale: 4, B100: 27.83}\n"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: a paper", "", r"Card .*missing: title"),
        ("{elan: ELAN}", "{}", r"presets must name at least one preset"),
        ("{elan: ELAN}", "{elan: 3}", r"elan must be text, got 3"),
        ("title: a paper", "title: a paper\narxiv: 2203.06697", r"arxiv must be text, got 2203\.06697"),
        ("title: a paper", "title: a paper\nweights: {released: true}", r"Weights .*missing: where"),
        (
            "title: a paper",
            "title: a paper\nweights: {released: 'no', where: x}",
            r"must be true, false or null",
        ),
    ],
)
def test_cards_are_checked_alike(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        check_card(written(tmp_path, CARD.replace(old, new)))


@pytest.mark.parametrize("path", packaged("tables"), ids=lambda path: path.stem)
def test_every_table_of_the_package_is_sound(path):
    check_source(path)


@pytest.mark.parametrize("path", packaged("networks"), ids=lambda path: path.stem)
def test_every_card_of_the_package_is_sound(path):
    check_card(path)


def test_every_file_of_the_package_is_read():
    assert {"elan_paper", "esc_main_div2k", "hit_sr_figures", "swinir_paper"} <= {s.name for s in sources()}
    assert {"elan", "swinir", "bicubic"} <= {card.name for card in cards()}


def test_every_preset_has_exactly_one_card():
    listed = [preset for card in cards() for preset in card.presets]
    assert len(listed) == len(set(listed))
    assert set(list_models()) <= set(listed)


def test_a_published_network_has_its_paper_on_its_card():
    for card in cards():
        facts = (card.authors, card.venue, card.code, card.licence, card.weights)
        assert all(facts) or not any((*facts, card.arxiv)), card.name  # not every paper is on arXiv


def test_printed_figures_fit_one_another():
    """Of one network a higher scale never scores higher, and Urban100 is harder than Set5."""
    for source in sources():
        for row in source.rows:
            for other in source.rows:
                if (row.network, row.training, row.self_ensemble) == (
                    other.network,
                    other.training,
                    other.self_ensemble,
                ) and row.scale < other.scale:
                    for name in row.scores.keys() & other.scores.keys():
                        assert row.scores[name].psnr > other.scores[name].psnr, (source.name, row, other)
            if {"Set5", "Urban100"} <= row.scores.keys():
                assert row.scores["Set5"].psnr > row.scores["Urban100"].psnr


def test_sources_differ_by_little_where_they_print_the_same_thing():
    """0.15 dB or SSIM 0.003 of one another: a slip of a digit would be more. Cautioned rows may differ."""
    seen: dict[tuple[object, ...], list[tuple[float, float | None]]] = {}
    for source in sources():
        for row in source.rows:
            for name, score in row.scores.items() if row.caution is None else ():
                key = (source.color, row.network, row.scale, row.training, row.self_ensemble, name)
                seen.setdefault(key, []).append(score)
    for key, scores in seen.items():
        assert key[-1] in DATASETS
        psnr = [score[0] for score in scores]
        ssim = [score[1] for score in scores if score[1] is not None]
        assert max(psnr) - min(psnr) < 0.15, (key, scores)
        assert not ssim or max(ssim) - min(ssim) < 0.003, (key, scores)
