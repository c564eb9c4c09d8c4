"""train.py as a user runs it: on a folder of pictures, stopped, resumed, on two processes, then evaluated."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

import srlab
from srlab.tasks.interruption import GracefulStop

ROOT = Path(__file__).parents[1]
TINY_ELAN = ("model=elan_demo", "model.dim=12", "model.depth=4", "model.window_sizes=[2,4]")
SMALL = [
    "latency.output_size=[32,32]",
    "latency.warmup=0",
    "latency.repeats=1",
    "logger=csv",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "data.patch_size=8",
    "data.batch_size=4",
    "data.num_workers=0",
    "scale=2",
]


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Smooth random pictures: ten to train on, two to validate on."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for folder, count in (("train", 10), ("validation", 2)):
        (root / folder).mkdir()
        for index in range(count):
            small = generator.integers(0, 256, (8, 9, 3), dtype=np.uint8)
            Image.fromarray(small).resize((72, 64), Image.Resampling.BICUBIC).save(
                root / folder / f"{index}.png"
            )
    return root


@pytest.fixture
def train(photos, tmp_path, monkeypatch):
    """Run train.py's main in this process; returns the folder that the run wrote to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("SRLAB_CACHE", str(tmp_path / "cache"))

    data = ["data=folder", f"data.root={photos / 'train'}", f"data.validation_root={photos / 'validation'}"]

    def run(*overrides: str, into: str = "run", network: tuple[str, ...] = TINY_ELAN) -> Path:
        import train as entry_point

        is_new = not any(override.startswith("resume=") for override in overrides)
        new_run = [*network, *SMALL, *data, f"hydra.run.dir={tmp_path / into}"] if is_new else []
        monkeypatch.setattr(sys, "argv", ["train.py", *new_run, *overrides])
        entry_point.main()
        return tmp_path / into

    return run


def curve(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(run: Path, key: str = "state_dict") -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[key]


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


@pytest.fixture
def press_ctrl_c(monkeypatch):
    """A user who presses Ctrl-C, once, while the step that follows ``finished`` steps is computed."""
    pressed = []

    def press(self, trainer, *_, finished: int):
        if trainer.global_step == finished and not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    return lambda finished: monkeypatch.setattr(
        GracefulStop, "on_train_batch_start", partialmethod(press, finished=finished)
    )


@pytest.mark.parametrize(
    "extra",
    [[], ["callbacks=ema", "trainer.accumulate_grad_batches=2"]],
    ids=["plain", "ema and accumulation"],
)
@pytest.mark.parametrize("finished", [2, 3], ids=["between validations", "when one is due"])
def test_a_run_stopped_by_ctrl_c_and_resumed_equals_one_that_never_stopped(
    train, extra, finished, press_ctrl_c, tmp_path
):
    """Weights, averages, curve and schedule, bit for bit; oracle: the run in one go."""
    steps = ["trainer.max_steps=6", "validate_every=2", *extra]
    whole = train(*steps, into="whole")

    press_ctrl_c(finished)
    with pytest.raises(SystemExit) as stopped:
        train(*steps, into="halves")
    assert stopped.value.code == 130
    halves = tmp_path / "halves"
    assert curve(halves)[-1]["step"] == str(finished + 1)
    train(f"resume={halves}", into="halves")

    for key in ["state_dict", *(["current_model_state"] if "callbacks=ema" in extra else [])]:
        for name, value in weights(whole, key).items():
            assert torch.equal(value, weights(halves, key)[name]), (key, name)
    assert curve(whole) == curve(halves)


def test_a_finished_run_goes_on_from_its_weights_not_from_their_average(train):
    """Oracle: the run that was told the full length at once, under a constant learning rate."""
    common = ["callbacks=ema", "scheduler=constant", "validate_every=2"]
    whole = train("trainer.max_steps=6", *common, into="whole")
    train("trainer.max_steps=4", *common, into="longer")
    longer = train(f"resume={whole.parent / 'longer'}", "trainer.max_steps=6", into="longer")
    for name, value in weights(whole, "current_model_state").items():
        assert torch.equal(value, weights(longer, "current_model_state")[name]), name


def test_a_resumed_run_follows_the_schedule_that_it_is_given_now(train):
    """Oracle: half a cosine over the new length, from the new learning rate."""
    run = train("trainer.max_steps=4", "validate_every=2", "optimizer.lr=1e-3")
    train(f"resume={run}", "trainer.max_steps=8", "optimizer.lr=2e-3")
    followed = {int(row["step"]): float(row["lr-Adam"]) for row in curve(run)}
    expected = [5e-4 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    expected += [1e-3 * (1 + math.cos(math.pi * step / 8)) for step in range(4, 8)]
    assert [followed[step] for step in range(1, 9)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.depth=5"], "do not divide into blocks"),
        (["model.dim=13"], "cannot be divided equally"),
        (["shift_schedule=custom", "shift_schedule.pattern=[0,1,0]"], "has 3 entries"),
        (["data.batch_size=3", "trainer.accumulate_grad_batches=2"], "batch_size"),
        (["protocol=published_y"], "bicubic only"),
        (["protocol=[basicsr,rgb]"], "one protocol"),
        (["initial_weights=nowhere.pt"], "no checkpoint at"),
        (["trainer.max_steps=0"], "at least 1"),
        (["trainer.max_steps=abc"], "integer of at least 1"),
        (["trainer.max_steps=5", "validate_every=2"], "no multiple of"),
        (["optimizer.lr=fast"], "must be a number"),
        (["+trainer.max_epochs=3"], "decided by the run"),
        (["compile=fast"], "compile must be false, true or one of default,"),
        (
            ["compile=reduce-overhead"],
            "compile=reduce-overhead replays CUDA graphs, and this run trains without CUDA",
        ),
        (["optimizer.fused=maybe"], "optimizer.fused must be auto, true or false, got 'maybe'"),
        (
            ["optimizer.fused=true", "trainer.gradient_clip_val=1.0", "trainer.precision=bf16-mixed"],
            "optimizer.fused=true cannot go with trainer.gradient_clip_val=1.0",
        ),
    ],
)
def test_what_cannot_work_ends_with_one_message_and_status_2(train, overrides, message, capsys):
    with pytest.raises(SystemExit) as ended:
        train("trainer.max_steps=2", "validate_every=1", *overrides)
    assert ended.value.code == 2
    assert message in capsys.readouterr().out


def test_a_shift_schedule_is_refused_for_a_network_without_windows(train, capsys):
    with pytest.raises(SystemExit, match="2"):
        train(
            "trainer.max_steps=2",
            "validate_every=1",
            "shift_schedule=every",
            network=("model=edsr_baseline",),
        )
    assert "no windows to shift" in capsys.readouterr().out


def test_a_shift_schedule_that_the_preset_overrules_is_refused(train, capsys):
    with pytest.raises(SystemExit, match="2"):
        train("shift_schedule=every", network=("model=hit_srf",))
    assert "preset sets model.shift_schedule=none itself" in capsys.readouterr().out


def test_a_recipe_of_a_larger_scale_asks_for_its_x2_network(train, capsys):
    with pytest.raises(SystemExit, match="2"):
        train("initial_weights=RUN_OF_X2")  # as experiment=rcan_x4 has it
    assert "give initial_weights=RUN_OR_FILE of it, or initial_weights=null" in capsys.readouterr().out


def test_resuming_what_is_not_there_says_where_it_looked(train, capsys):
    with pytest.raises(SystemExit, match="2"):
        train("resume=nowhere")
    assert "resume=nowhere: no run there" in capsys.readouterr().err


def test_resuming_refuses_to_exchange_a_whole_group(train, capsys):
    run = train("trainer.max_steps=2", "validate_every=1")
    with pytest.raises(SystemExit):
        train(f"resume={run}", "model=swinir_light")
    assert "would exchange all of model" in capsys.readouterr().out


def test_a_resume_that_fails_leaves_the_run_as_it_was(train, capsys):
    run = train("trainer.max_steps=2", "validate_every=1")
    before = (run / "config.yaml").read_text()
    for override in ("model.dim=24", "scale=3", "trainer.max_steps=x"):
        with pytest.raises(SystemExit, match="2"):
            train(f"resume={run}", override)
    assert "would make it another one" in capsys.readouterr().out
    assert (run / "config.yaml").read_text() == before


def test_a_folder_that_holds_a_run_is_not_written_over(train, capsys):
    train("trainer.max_steps=1", "validate_every=1")
    with pytest.raises(SystemExit, match="2"):
        train("trainer.max_steps=1", "validate_every=1")
    assert "already holds a run" in capsys.readouterr().out


def test_a_run_shorter_than_the_interval_is_validated_at_its_end(train):
    run = train("trainer.max_steps=3", "validate_every=100")
    assert [row["step"] for row in curve(run) if row["val/psnr"]] == ["3"]


def test_one_bad_cell_does_not_end_a_sweep(train, tmp_path):
    """Of depths 7 and 8: 7 modules do not divide into blocks of 2."""
    network = (*TINY_ELAN[:2], TINY_ELAN[3], "model.depth=7,8", "trainer.max_steps=1")
    with pytest.raises(SystemExit):
        train(f"hydra.sweep.dir={tmp_path / 'sweep'}", "-m", network=network)
    assert not (tmp_path / "sweep" / "0" / "summary.json").exists()
    assert (tmp_path / "sweep" / "1" / "summary.json").exists()


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
@pytest.mark.parametrize("extra", [[], ["activation_checkpointing=true"]], ids=["kept", "recomputed"])
def test_compiled_training_follows_the_eager_one(train, extra):
    common = ["trainer.max_steps=2", "validate_every=1"]
    eager, compiled = train(*common, into="eager"), train(*common, *extra, "compile=true", into="compiled")
    for name, value in weights(eager).items():
        torch.testing.assert_close(weights(compiled)[name], value, rtol=1e-3, atol=1e-3)


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
    assert rows[0]["psnr"] == pytest.approx(summary["scores"][0]["psnr"], abs=1e-9)
    assert len(list((tmp_path / "scores" / "images").rglob("*.png"))) == 2


def command_line(photos: Path, tmp_path: Path, folder: Path, *overrides: str) -> list[str]:
    """train.py on a tiny network without BatchNorm, as typed."""
    return [
        *(sys.executable, str(ROOT / "train.py"), "model=edsr_baseline", "model.dim=8", "model.depth=2"),
        *("data=folder", f"data.root={photos / 'train'}", f"data.validation_root={photos / 'validation'}"),
        *(f"hydra.run.dir={folder}", f"paths.cache={tmp_path / 'cache'}", "trainer.max_steps=4"),
        *("validate_every=2", *SMALL, *overrides),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_ctrl_c_at_a_terminal_stops_every_process_and_the_run_can_go_on(photos, tmp_path, devices):
    """A terminal sends the signal to the whole process group, loaders and other ranks included."""
    folder = tmp_path / "run"
    long = [
        "trainer.max_steps=1000000",
        f"trainer.devices={devices}",
        "data.num_workers=2",
        "validate_every=1000000",
    ]
    run = subprocess.Popen(
        command_line(photos, tmp_path, folder, *long),
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (folder / "metrics.csv").exists():  # written a few seconds into the training
        assert time.monotonic() < deadline, run.communicate()[0]
        time.sleep(0.2)
    os.killpg(run.pid, signal.SIGINT)
    output = run.communicate(timeout=120)[0]
    assert run.returncode == 130, output
    assert f"python train.py resume={folder}" in output
    steps = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    resume = [
        sys.executable,
        str(ROOT / "train.py"),
        f"resume={folder}",
        f"trainer.max_steps={steps + 2}",
        "validate_every=1",
    ]
    subprocess.run(resume, check=True, timeout=300, cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("extra", [[], ["activation_checkpointing=true"]], ids=["kept", "recomputed"])
def test_two_processes_learn_what_one_learns(photos, tmp_path, extra):
    """From the plain command line, without BatchNorm; oracle: the same effective batch on one process."""

    def run(devices: int, *extra: str) -> Path:
        folder = tmp_path / f"devices{devices}"
        settings = (f"trainer.devices={devices}", "data.num_workers=1", *extra)
        command = command_line(photos, tmp_path, folder, *settings)
        subprocess.run(command, check=True, timeout=300, cwd=tmp_path)
        return folder

    one, two = run(1), run(2, *extra)
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(two)[name], value, rtol=1e-4, atol=1e-6)
    scores = [[float(row["val/psnr"]) for row in curve(folder) if row["val/psnr"]] for folder in (one, two)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
