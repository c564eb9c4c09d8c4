"""train.py on several processes of one machine, and as two nodes of one: the run of a single process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from forked_runs import ForkedRuns
from training_runs import ROOT, SMALL, TINY_ELAN, TINY_ESC_LTE, curve, weights

TINY_SWINIR = (
    *("model=swinir_light", "model.dim=12", "model.depths=[2,2]", "model.num_heads=[2,2]"),
    *("model.window_size=4", "model.drop_path=0.5"),
)
# Two networks that take turns, with Adam's fused step.
TINY_GAN = (
    *("model=edsr_baseline", "model.dim=8", "model.depth=2", "loss=real_gan", "loss.discriminator.dim=4"),
    *("~loss.fidelity", "+loss.fidelity={_target_: srlab.losses.l1.L1Loss, value_range: 1.0}"),
)
STEPS = ("trainer.max_steps=6", "validate_every=3")
# Sixteen float32 roundings. The order of a sum is all that differs; 20 steps of this ELAN were seen to differ
# by two.
ROUNDING = 2e-6


def typed(photos: Path, *overrides: str, network: tuple[str, ...] = TINY_ELAN) -> list[str]:
    """The words behind ``python train.py``."""
    data = ["data=folder", f"data.root={photos / 'train'}", f"data.validation_root={photos / 'validation'}"]
    return [*network, *SMALL, *data, *overrides]


@pytest.fixture
def run_processes(forked: ForkedRuns, photos: Path, tmp_path: Path) -> Callable[..., Path]:
    """train.py as Lightning starts it once more for each further device."""

    def run(devices: int, *overrides: str, into: str, network: tuple[str, ...] = TINY_ELAN) -> Path:
        folder = tmp_path / into
        own = [f"hydra.run.dir={folder}", f"paths.cache={tmp_path / 'cache'}", f"trainer.devices={devices}"]
        forked.finish(typed(photos, *own, *overrides, network=network), cwd=tmp_path)
        return folder

    return run


def assert_same_curve(ours: Path, theirs: Path) -> None:
    """Same rows, same columns; losses and scores within rounding."""
    for row, other in zip(curve(ours), curve(theirs), strict=True):
        assert row.keys() == other.keys()
        filled = {key: float(value) for key, value in row.items() if value}
        expected = {key: float(value) for key, value in other.items() if value}
        assert filled == pytest.approx(expected, rel=ROUNDING, abs=ROUNDING)


def assert_same_weights(ours: Path, theirs: Path) -> None:
    expected = weights(theirs)
    assert list(weights(ours)) == list(expected)
    for name, value in weights(ours).items():
        # A bias in front of a batch norm changes nothing but that norm's running mean: its gradient is
        # rounding alone, which Adam enlarges to a tenth of a step.
        is_free = name.endswith(("project.bias", "running_mean"))
        tolerance = 1e-3 if is_free else 1e-5
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=tolerance, msg=name)


@pytest.mark.slow
def test_two_processes_follow_the_curve_of_one(train, run_processes):
    """ELAN, whose batch norms see the joined batch; only the first process leaves files."""
    one = train(*STEPS, into="one")
    two = run_processes(2, *STEPS, into="two")
    assert_same_curve(two, one)
    assert_same_weights(two, one)
    names = [{path.name for path in run.rglob("*")} for run in (one, two)]
    assert names[0] == names[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "network", "extra"),
    [
        (3, TINY_ELAN, ["callbacks=ema", "data.batch_size=6"]),
        (2, TINY_ELAN, ["activation_checkpointing=true", "data.num_workers=1"]),
        (2, TINY_SWINIR, ["trainer.accumulate_grad_batches=2"]),
        (2, TINY_ESC_LTE, ["trainer.accumulate_grad_batches=2", "data.validation_scales=[2,2.5]"]),
        (2, TINY_GAN, ["callbacks=ema"]),
    ],
    ids=["three, averaged", "recomputed", "dropped paths, accumulated", "random scales", "adversarial"],
)
def test_more_processes_and_other_networks_follow_it_too(train, run_processes, devices, network, extra):
    """Images drop the same branches wherever they are. Fewer validation images than processes, too."""
    one = train(*STEPS, *extra, into="one", network=network)
    several = run_processes(devices, *STEPS, *extra, into="several", network=network)
    assert_same_curve(several, one)
    assert_same_weights(several, one)


@pytest.mark.slow
def test_norms_that_are_not_joined_see_what_micro_batches_see(train, run_processes):
    """The documented difference of trainer.sync_batchnorm=false; oracle: accumulation on one process."""
    apart = run_processes(2, *STEPS, "trainer.sync_batchnorm=false", into="apart")
    accumulated = train(*STEPS, "trainer.accumulate_grad_batches=2", into="accumulated")
    joined = train(*STEPS, into="joined")
    losses = [[float(row["train/loss"]) for row in curve(run)] for run in (apart, accumulated, joined)]
    assert losses[0] == pytest.approx(losses[1], rel=ROUNDING)
    assert losses[0] != pytest.approx(losses[2], rel=1e-4)


@pytest.mark.slow
def test_two_nodes_under_torchrun_learn_what_one_process_learns(train, photos, tmp_path):
    """Each node has a working directory of its own: both name one folder, and only one of them fills it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
    torchrun = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", "--rdzv-id=two nodes"),
    ]
    words = typed(photos, *STEPS, "trainer.num_nodes=2", f"paths.cache={tmp_path / 'cache'}")
    nodes = [tmp_path / "node0", tmp_path / "node1"]
    for node in nodes:
        node.mkdir()
    started = [subprocess.Popen([*torchrun, ROOT / "train.py", *words], cwd=node) for node in nodes]
    try:
        assert [node.wait(timeout=240) for node in started] == [0, 0]
    finally:
        for node in started:
            node.kill()
    name = Path("outputs/elan_demo_x2/torchrun-two-nodes")
    (written,) = [node / name for node in nodes if (node / name / "summary.json").exists()]
    other = next(node for node in nodes if node not in written.parents)
    assert [path for path in other.rglob("*") if path.is_file()] == []
    one = train(*STEPS, into="one")
    assert_same_curve(written, one)
    assert_same_weights(written, one)


def further_processes(folder: Path) -> list[int]:
    """Ids of the living processes that the first one of the run in ``folder`` has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # gone meanwhile
        if any(str(folder) in word for word in words) and any(word.endswith("train.py") for word in words):
            found.append(int(entry.name))
    return found


def wait_until(condition, what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes through /proc")
def test_a_killed_process_ends_the_others_and_the_run_goes_on(train, forked, photos, tmp_path):
    """One after the other, either of two. Oracle: the run that nobody killed, on one process."""
    folder, saved = tmp_path / "killed", tmp_path / "killed" / "checkpoints" / "last.ckpt"
    length = ["trainer.max_steps=4000", "validate_every=4"]
    common = [f"paths.cache={tmp_path / 'cache'}", "trainer.devices=2", "scheduler=constant"]
    words = typed(photos, f"hydra.run.dir={folder}", *common, *length, "resume=auto")
    for victim in ("second", "first"):
        before = saved.stat().st_mtime_ns if saved.exists() else 0
        run = forked.start(words, cwd=tmp_path)
        wait_until(lambda: saved.exists() and saved.stat().st_mtime_ns > before, "no checkpoint")  # noqa: B023
        (second,) = further_processes(folder)
        os.kill(run.pid if victim == "first" else second, signal.SIGKILL)
        assert run.wait(timeout=60) != 0
        wait_until(lambda: not further_processes(folder), "a process outlived the killed one", seconds=60)
    steps = (torch.load(saved, weights_only=True)["global_step"] // 4 + 1) * 4
    forked.finish([f"resume={folder}", f"trainer.max_steps={steps}"], cwd=tmp_path)
    unhurt = train(f"trainer.max_steps={steps}", "validate_every=4", "scheduler=constant", into="unhurt")
    last, expected = curve(folder)[-1], curve(unhurt)[-1]
    assert last["step"] == expected["step"] == str(steps)
    # roundings of some hundred steps
    assert float(last["train/loss"]) == pytest.approx(float(expected["train/loss"]), rel=1e-3)
