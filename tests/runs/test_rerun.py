"""The configuration of a run once more: rerun=RUN, --config-dir RUN."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from srlab.app import resume
from srlab.extensions.console.main import main
from srlab.runs.provenance import provenance
from training_runs import assert_same_state, curve, in_process, weights

STEPS = ("trainer.max_steps=2", "validate_every=1", "optimizer.lr=1e-3", "callbacks=ema")


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory) -> Path:
    """The run that is run once more."""
    with pytest.MonkeyPatch.context() as patch:
        return in_process(photos, tmp_path_factory.mktemp("first"), patch)(*STEPS)


@pytest.mark.slow
def test_a_run_keeps_its_number_of_threads(train, tmp_path):
    """A pool's cell has fewer than the same run alone, and sums are rounded in their order."""
    threads = torch.get_num_threads()
    try:
        first = train(*STEPS, "threads=2")
        torch.set_num_threads(1)
        train(f"rerun={first}")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    (again,) = (tmp_path / "outputs" / "elan_demo_x2").iterdir()
    assert OmegaConf.load(again / "config.yaml").threads == 2


def test_a_run_once_more_has_the_same_weights_in_a_folder_of_its_own(run, train, tmp_path, capsys):
    train(f"rerun={run}")
    (again,) = (tmp_path / "outputs" / "elan_demo_x2").iterdir()
    assert_same_state(again, run)
    assert curve(again) == curve(run)
    one, two = (OmegaConf.to_container(OmegaConf.load(each / "config.yaml")) for each in (run, again))
    assert isinstance(one, dict)
    assert isinstance(two, dict)
    assert {key for key in one if one[key] != two[key]} == {"paths"}
    assert "weights may differ" not in "".join(capsys.readouterr())


@pytest.mark.slow
def test_single_values_of_a_run_once_more_may_differ(run, train, tmp_path):
    """Oracle: the same run typed in full."""
    typed = train(*STEPS, "seed=7", into="typed")
    train(f"rerun={run}", "seed=7", f"hydra.run.dir={tmp_path / 'again'}")
    assert_same_state(tmp_path / "again", typed)
    with pytest.raises(AssertionError):
        assert_same_state(tmp_path / "again", run)


@pytest.mark.slow
def test_another_version_is_warned_of(run, train, tmp_path, monkeypatch, capsys):
    now = provenance()
    monkeypatch.setattr(resume, "provenance", lambda: {**now, "torch": "9.9"})
    train(f"rerun={run}", f"hydra.run.dir={tmp_path / 'again'}")
    said = "".join(capsys.readouterr())
    assert f"rerun: torch was {now['torch']} and is 9.9 now: weights may differ" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=swinir_light",), "model=swinir_light would exchange all of model"),
        (("scale=3",), "which is x2; start a new run instead"),
        (("resume=elsewhere",), "give one"),
    ],
)
def test_what_would_be_another_run_is_refused(words, message, run, train, tmp_path, capsys):
    (tmp_path / "elsewhere").symlink_to(run)
    with pytest.raises(SystemExit, match="2"):
        train(f"rerun={run}", *words)
    assert message in "".join(capsys.readouterr())


@pytest.mark.slow
def test_srlab_train_runs_it_from_a_terminal_on_two_devices(run, tmp_path):
    """The second process is started by the same verb; oracle: the run itself."""
    folder = tmp_path / "two"
    command = [Path(sys.executable).with_name("srlab"), "train", f"rerun={run}", "trainer.devices=2"]
    subprocess.run([*command, f"hydra.run.dir={folder}"], cwd=tmp_path, check=True, timeout=300)
    for key, value in weights(run).items():
        torch.testing.assert_close(weights(folder)[key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_srlab_train_and_config_dir_run_it_to_the_same_last_bit(run, forked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", f"rerun={run}", f"hydra.run.dir={tmp_path / 'verb'}"]) in (0, None)
    assert_same_state(tmp_path / "verb", run)
    words = ["--config-dir", run, "--config-name", "config", f"hydra.run.dir={tmp_path / 'config'}"]
    forked.finish(words, cwd=tmp_path)
    assert_same_state(tmp_path / "config", run)
