"""train.py as a user runs it: on a folder of pictures, on two processes, then evaluated."""

import json
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import srlab
from training_runs import curve, plain_words, weights


def test_a_run_leaves_everything_to_compare_it_by(train):
    run = train("trainer.max_steps=4", "validate_every=2")
    assert {path.name for path in run.iterdir()} >= {
        "checkpoints",
        "comparison.png",
        "config.yaml",
        "costs.json",
        "metrics.csv",
        "summary.json",
    }
    summary = json.loads((run / "summary.json").read_text())
    validated = [float(row["val/psnr"]) for row in curve(run) if row["val/psnr"]]
    assert len(validated) == 2
    assert summary["val/psnr"] == pytest.approx(max(validated), abs=1e-4)
    assert summary["conditions"]["costs"]["parameters"]["trainable"] > 0
    assert summary["conditions"]["costs"]["latency"]["median_ms"] > 0
    assert OmegaConf.load(run / "config.yaml").trainer.max_steps == 4


def test_checkpoint_knows_its_network_and_holds_no_code(train):
    run = train("trainer.max_steps=2", "validate_every=1", "model.n_share=3", "shift_schedule=every")
    saved = torch.load(
        run / "checkpoints" / "best.ckpt", weights_only=True
    )  # refuses anything but plain data
    assert saved["srlab"]["model"]["n_share"] == 3
    network = srlab.load_model(run)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, saved["state_dict"][f"network.{key}"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.max_steps=0"], "at least 1"),
        (["initial_weights=nowhere.pt"], "no checkpoint at"),
        pytest.param(["model.depth=5"], "do not divide into blocks", marks=pytest.mark.slow),
        pytest.param(["model.dim=13"], "cannot be divided equally", marks=pytest.mark.slow),
        pytest.param(
            ["shift_schedule=custom", "shift_schedule.pattern=[0,1,0]"],
            "has 3 entries",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["data.batch_size=3", "trainer.accumulate_grad_batches=2"], "batch_size", marks=pytest.mark.slow
        ),
        pytest.param(
            ["logger=wandb", "logger.wandb.mode=onlin"],
            "must be one of online, offline, disabled, got 'onlin'",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_cannot_work_ends_with_one_message_and_status_2(train, overrides, message, capsys):
    with pytest.raises(SystemExit) as ended:
        train("trainer.max_steps=2", "validate_every=1", *overrides)
    assert ended.value.code == 2
    assert message in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_shorter_than_the_interval_is_validated_at_its_end(train):
    run = train("trainer.max_steps=3", "validate_every=100")
    assert [row["step"] for row in curve(run) if row["val/psnr"]] == ["3"]


@pytest.mark.slow
def test_recomputed_blocks_leave_the_same_weights_statistics_and_curve(train):
    """Bit for bit, moving averages included, across a stop and a resume; oracle: the plain run in one go."""
    common = ["callbacks=ema", "scheduler=constant", "validate_every=2"]
    plain = train("trainer.max_steps=4", *common, into="plain")
    train("trainer.max_steps=2", *common, "activation_checkpointing=true", into="recomputed")
    recomputed = train(f"resume={plain.parent / 'recomputed'}", "trainer.max_steps=4", into="recomputed")
    assert OmegaConf.load(recomputed / "config.yaml").activation_checkpointing is True
    for key in ("state_dict", "current_model_state"):
        assert weights(plain, key).keys() == weights(recomputed, key).keys()
        for name, value in weights(plain, key).items():
            assert torch.equal(value, weights(recomputed, key)[name]), (key, name)
    assert curve(plain) == curve(recomputed)


@pytest.mark.slow
def test_compiled_training_follows_the_eager_one(train):
    """With activation checkpointing, which compiles each block's recomputation too."""
    common = ["trainer.max_steps=2", "validate_every=1", "model.depth=2", "model.window_sizes=[4]"]
    eager = train(*common, into="eager")
    compiled = train(*common, "activation_checkpointing=true", "compile=true", into="compiled")
    for name, value in weights(eager).items():
        torch.testing.assert_close(weights(compiled)[name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_weights_of_another_scale_start_a_network(train):
    """All but the head, the only part whose shape depends on the scale."""
    run = train("trainer.max_steps=2", "validate_every=1")
    other = train(
        "trainer.max_steps=1",
        "validate_every=1",
        "scale=3",
        f"initial_weights={run}",
        "optimizer.lr=0",
        into="x3",
    )
    before, after = srlab.load_model(run).state_dict(), srlab.load_model(other).state_dict()
    learnt = [key for key, value in before.items() if value.is_floating_point() and "running" not in key]
    assert {key for key in learnt if before[key].shape != after[key].shape} == {"tail.weight", "tail.bias"}
    for key in set(learnt) - {"tail.weight", "tail.bias"}:
        assert torch.equal(before[key], after[key]), key


def test_evaluation_of_a_run_agrees_with_its_own_summary(train, photos, tmp_path, monkeypatch):
    run = train("trainer.max_steps=2", "validate_every=1")
    import evaluate as entry_point

    monkeypatch.setattr(
        sys,
        "argv",
        [
            "evaluate.py",
            f"checkpoint={run}",
            "data=folder",
            f"data.root={photos / 'train'}",
            f"data.validation_root={photos / 'validation'}",
            f"hydra.run.dir={tmp_path / 'scores'}",
            "device=cpu",
            "latency.output_size=[32,32]",
            "latency.warmup=0",
            "latency.repeats=1",
            "save_images=true",
        ],
    )
    entry_point.main()
    rows = json.loads((tmp_path / "scores" / "evaluation.json").read_text())["rows"]
    summary = json.loads((run / "summary.json").read_text())
    assert rows[0]["psnr"] == pytest.approx(summary["scores"][0]["scores"]["psnr"], abs=1e-9)
    assert len(list((tmp_path / "scores" / "images").rglob("*.png"))) == 2


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(forked, photos, tmp_path):
    """From the plain command line, without BatchNorm; oracle: the same effective batch on one process."""

    def run(devices: int) -> Path:
        folder = tmp_path / f"devices{devices}"
        settings = (f"trainer.devices={devices}", "data.num_workers=1")
        forked.finish(plain_words(photos, tmp_path, folder, *settings), cwd=tmp_path)
        return folder

    one, two = run(1), run(2)
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(two)[name], value, rtol=1e-4, atol=1e-6)
    scores = [[float(row["val/psnr"]) for row in curve(folder) if row["val/psnr"]] for folder in (one, two)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
