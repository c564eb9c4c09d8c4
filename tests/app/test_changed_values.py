"""Single values that a run goes on with, or is run once more with; damaged files beside its configuration."""

import logging

import pytest
from omegaconf import OmegaConf

from srlab.app.resume import _warn_of_other_versions, resumed_config
from srlab.metrics.protocol import GrayRule


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "scale: 2\ntrainer: {max_steps: 4}\ncallbacks: {progress: {_target_: some.Bar}}\n"
        "paths: {name: tiny, data: d, cache: c, run: r, new_run: n}\n"
    )
    return tmp_path


def test_a_run_goes_on_with_values_added_and_taken_away(run):
    typed = [f"resume={run}", "trainer.max_steps=8", "+trainer.profiler=simple", "++trainer.benchmark=true"]
    cfg = resumed_config(run, [*typed, "~callbacks.progress"])
    expected = {"max_steps": 8, "profiler": "simple", "benchmark": True}
    assert OmegaConf.to_container(cfg.trainer) == expected
    assert "progress" not in cfg.callbacks


@pytest.mark.parametrize(
    ("recorded", "rule"),
    [
        ("color: y", GrayRule.own), ("color: rgb", GrayRule.replicate),
        ("color: y, gray: replicate", GrayRule.replicate), ("color: y, gray: own", GrayRule.own),
    ],
)  # fmt: skip
def test_a_run_keeps_the_gray_rule_that_its_best_checkpoint_was_chosen_by(run, recorded, rule):
    """Those from before it could be chosen counted a gray image as its own luma, unless in RGB."""
    config = run / "config.yaml"
    settings = f"name: p, quantize: true, border: 2, arithmetic: double, {recorded}"
    config.write_text(f"{config.read_text()}protocol: {{p: {{{settings}}}}}\n")
    assert resumed_config(run, [f"resume={run}"]).protocol.p.gray is rule


def test_a_resumed_run_is_not_scored_in_two_ways(run):
    config = run / "config.yaml"
    settings = "name: p, color: y, quantize: true, border: 2, arithmetic: double, gray: own"
    config.write_text(f"{config.read_text()}protocol: {{p: {{{settings}}}}}\n")
    with pytest.raises(ValueError, match=r"protocol\.p\.gray=replicate instead of own: the best score"):
        resumed_config(run, [f"resume={run}", "protocol.p.gray=replicate"])


def test_a_misspelt_value_is_still_refused(run):
    with pytest.raises(ValueError, match=r"there is no key trainer\.profilr"):
        resumed_config(run, ["trainer.profilr=simple"])


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_no_reason_not_to_run_it_once_more(run, caplog, content):
    """The configuration is enough."""
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        _warn_of_other_versions(run / "checkpoints" / "last.ckpt")
    assert "last.ckpt does not record the versions it was computed with" in caplog.text
