"""The table of networks."""

import hashlib
import json

import pytest
from rich.console import Console

import srlab
from evaluation_sets import benchmark
from protocols import basicsr
from srlab.checkpoints.shipped import shipped_weights
from srlab.extensions.literature.published import literature_table
from srlab.extensions.zoo import networks
from srlab.extensions.zoo.conventions import convention_table
from srlab.extensions.zoo.networks import (
    find_card,
    scores_markdown,
    scores_table,
    to_markdown,
    update_readme,
    zoo_rows,
    zoo_table,
)
from srlab.tasks.evaluation import evaluate


@pytest.fixture(scope="module")
def rows():
    return zoo_rows(["elan_light", "elan_demo", "bicubic"])


def printed(table, width):
    console = Console(width=width, record=True)
    console.print(table)
    return console.export_text()


def test_a_row_joins_what_is_counted_published_and_there_to_run(rows):
    """Oracle of the sizes: the official code, counted."""
    light, demo, bicubic = rows
    assert (light.parameters, light.trainable) == (640_392, 601_488)
    assert light.multiply_adds == pytest.approx(53.46e9, abs=5e6)
    assert {name: reference.psnr for name, reference in light.published.items()} == {
        "Set5": 32.43,
        "Urban100": 26.54,
    }
    assert (light.recipes, light.card.weights.released) == ((2, 3, 4), False)
    assert (demo.published, demo.card.weights) == ({}, None)
    assert bicubic.published["Set5"].psnr == 28.42


def test_markdown_has_a_line_for_each_network(rows):
    lines = to_markdown(rows).splitlines()
    assert lines[2].startswith("| `elan_light` | 640 (601) | 53.46 | 32.43 | 26.54 | x2 x3 x4 | no |")
    assert lines[3].startswith("| `elan_demo` | 69 (63) | 6.61 | – | – |")
    assert len({line.count("|") for line in lines[:5]}) == 1


def test_scores_of_training_on_more_than_div2k_are_marked():
    """ESC-RIB was published after training on DFLIP alone."""
    (line,) = [line for line in to_markdown(zoo_rows(["esc_rib"])).splitlines() if "`esc_rib`" in line]
    assert "| 32.82*† | 27.59*† |" in line


def test_the_terminal_table_loses_nothing_at_100_columns_or_at_80(rows):
    for width in (80, 100):
        text = printed(zoo_table(rows, width=width), width)
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= width
        assert "elan_light" in text
        assert ("one map" in " ".join(text.split())) == (width == 100)
    assert "x2 x3 x4" in printed(zoo_table(rows, width=100), 100)


def test_shipped_weights_stand_among_published_networks_of_their_size(tmp_path, monkeypatch):
    """Oracles: the sizes and PSNR that the papers print, and a record written here."""
    weights = tmp_path / "elan_tiny_x2.safetensors"
    means = [
        {"set_name": "Set5", "scores": {"psnr": 36.7316}},
        {"set_name": "B100", "scores": {"psnr": 31.3421}},
    ]
    weights.with_suffix(".json").write_text(json.dumps({"step": 8000, "means": means}))
    other = tmp_path / "elan_tiny_x3.safetensors"
    monkeypatch.setattr(networks, "shipped_weights", lambda: {"elan_tiny": {2: weights, 3: other}})
    lines = scores_markdown().splitlines()
    assert "| x2 | FSRCNN | 12.5 | 37.00 | 32.63 | 31.53 | published |" in lines
    assert "| x2 | SRCNN | 57 | 36.66 | 32.42 | 31.36 | published |" in lines
    assert "| x2 | `elan_tiny` | 110 | 36.73 | – | 31.34 | scored here, step 8,000 |" in lines
    assert "| x2 | VDSR | 665 | 37.53 | 33.03 | 31.90 | published |" in lines
    assert "| x3 | `elan_tiny` | 118 | – | – | – | not scored yet |" in lines
    assert not any("elan_light" in line for line in lines), "presets stand in the table above"
    assert "FSRCNN" in printed(scores_table("elan_tiny"), 80)
    assert scores_table("elan") is None


def scored_weights():
    """Weights that come with srlab and have a record, by their scale."""
    files = {scale: path for scales in shipped_weights().values() for scale, path in scales.items()}
    return {scale: path for scale, path in files.items() if path.with_suffix(".json").exists()}


def test_records_are_of_the_weights_that_come_with_srlab():
    """New weights need new scores: benchmarks/ship_weights.py --scores."""
    assert 2 in scored_weights()
    for path in scored_weights().values():
        record = json.loads(path.with_suffix(".json").read_text())
        assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest(), path
        assert {mean["set_name"] for mean in record["means"]} == {"Set5", "Set14", "B100"}


@pytest.mark.slow
def test_shipped_weights_score_what_their_record_says(real_images):
    """The kernels of another machine round differently: 0.005 dB."""
    for scale, path in scored_weights().items():
        with srlab.flush_subnormals():
            sets = [benchmark(real_images, "Set5", scale)]
            report = evaluate(srlab.load_model(path), sets, [basicsr(scale)], scale=scale, device="cpu")
        recorded = json.loads(path.with_suffix(".json").read_text())["means"][0]["scores"]
        assert report.means[0].scores["psnr"] == pytest.approx(recorded["psnr"], abs=0.005), path


def test_every_source_of_a_network_is_listed_with_its_marks():
    text = printed(literature_table("swinir"), 200)
    assert "DF2K+" in text
    assert "swinir_paper" in text
    assert "34.65" in printed(literature_table("edsr"), 200)
    assert "DIV2K!" in printed(literature_table("edsr"), 200)
    with pytest.raises(ValueError, match=r"nothing is recorded for 'elam'; recorded are .*elan_light"):
        literature_table("elam")


def test_a_preset_without_a_card_is_refused(monkeypatch):
    assert find_card("elan").arxiv == "2203.06697"
    with pytest.raises(ValueError, match=r"preset foo must be listed by exactly one card, got no file"):
        find_card("foo")
    twice = find_card("elan")
    monkeypatch.setattr(networks, "cards", lambda: (twice, twice))
    with pytest.raises(ValueError, match=r"got elan\.yaml, elan\.yaml"):
        find_card("elan")


def test_the_readme_is_rewritten_between_its_markers_alone(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(networks, "zoo_rows", lambda: rows)
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- networks -->\nold\n<!-- end of networks -->\nafter\n")
    assert update_readme(readme)
    text = readme.read_text()
    assert text.startswith("before\n<!-- networks -->\n| model |")
    assert text.endswith("<!-- end of networks -->\nafter\n")
    assert "old" not in text
    assert not update_readme(readme)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize("text", ["", "<!-- networks -->", "<!-- end of networks --> <!-- networks -->"])
def test_a_readme_without_its_markers_is_left_alone(tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match=r"needs one line <!-- networks -->"):
        update_readme(readme)
    assert readme.read_text() == text


@pytest.mark.slow
def test_a_paper_s_column_is_shown_with_what_is_printed():
    """Oracle: the figures in SwinIR's own table."""
    text = printed(convention_table(None, convention="swinir_paper", scale=2), 120)
    assert "swinir_light" in text
    assert "878" in text
    assert "195.59" in text
    assert "195.6 swinir_paper" in text
    assert "elan" not in text


@pytest.mark.parametrize(
    ("names", "convention", "message", "scale"),
    [
        (["elan"], "fvcor", r"unknown convention 'fvcor'; choose one of official, fvcore", 4),
        (["elan_light"], "swinir_paper", r"swinir_paper is defined for SwinIR .*, not for this ELAN", 4),
        (None, "swinir_paper", r"scale must be an integer of at least 1, got None", None),
        pytest.param(
            *(None, "ntire", r"convention ntire is defined for no preset at scale 3", 3),
            marks=pytest.mark.slow,  # all presets are built
        ),
        (["elan_lite"], "fvcore", r"unknown model elan_lite; choose from .*bicubic", 4),
    ],
)
def test_what_a_convention_is_not_defined_for_is_refused(names, convention, message, scale):
    with pytest.raises(ValueError, match=message):
        convention_table(names, convention=convention, scale=scale)
