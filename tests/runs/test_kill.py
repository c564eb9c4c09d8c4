"""A run that is killed by SIGKILL again and again ends with the weights of one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from training_runs import ROOT, SMALL, TINY_ELAN, assert_same_state, checkpoint, curve, write_photos

# Kills at each kind of moment; a run with loader processes takes seconds to start, so it is killed less often
OFTEN = {"starting": 2, "training": 4, "saving": 4}
SELDOM = {"starting": 1, "training": 1, "saving": 1}
DEADLINE_S = 120


@pytest.fixture
def forked(tmp_path) -> Iterator[Callable[[list[str]], tuple[int, Callable[[], int]]]]:
    """Starts an attempt; returns its process and what waits for its status."""
    log = (tmp_path / "attempts.log").open("w")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "forked_runs.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "WANDB_SILENT": "true"},
    )

    def start(words: list[str]) -> tuple[int, Callable[[], int]]:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(words) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline()), lambda: int(server.stdout.readline())  # type: ignore[union-attr]

    yield start
    assert server.stdin is not None
    server.stdin.close()
    server.wait(timeout=DEADLINE_S)
    log.close()


def until(condition: Callable[[], bool], process: int) -> bool:
    """Wait for it, without a pause; false once the process has ended."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        time.sleep(0.0005)
        assert time.monotonic() < deadline, "nothing happened"
        if not (Path("/proc") / str(process)).exists():
            return False
    return True


def inode(path: Path) -> int:
    return path.stat().st_ino if path.exists() else 0


def differs(path: Path, before: int) -> bool:
    return inode(path) != before


def kill(process: int, run: Path, moment: str, draw: random.Random) -> bool:
    """SIGKILL at a random moment of the kind; returns whether a checkpoint was being written.

    Moments count saves, not seconds, so that a slow machine gets as far as a fast one.
    """
    last = run / "checkpoints" / "last.ckpt"
    partials = [run / "checkpoints" / f".{name}.ckpt.partial" for name in ("best", "last")]
    if moment == "starting":
        time.sleep(draw.uniform(0, 1.5))
    else:
        for _ in range(draw.randint(1, 3)):
            until(partial(differs, last, inode(last)), process)
    if moment == "training":
        time.sleep(draw.uniform(0, 0.2))
    elif moment == "saving":
        until(lambda: any(path.exists() for path in partials), process)
    os.kill(process, signal.SIGKILL)
    return any(path.exists() for path in partials)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills"), [(0, OFTEN), (1, SELDOM)], ids=["no loader", "loader"])
def test_a_run_that_is_killed_ends_with_the_same_last_bit(tmp_path, forked, workers, kills):
    """Network with BatchNorm, moving average, cosine, accumulation, an offline W&B run."""
    photos = write_photos(tmp_path)
    run, whole = tmp_path / "run", tmp_path / "whole"
    typed = [
        *(*TINY_ELAN, *SMALL, "logger=wandb", "callbacks=ema", "trainer.accumulate_grad_batches=2"),
        *("data=folder", f"data.root={photos / 'train'}", f"data.validation_root={photos / 'validation'}"),
        *(f"data.num_workers={workers}", f"paths.cache={tmp_path / 'cache'}", "callbacks.progress=null"),
        *(f"trainer.max_steps={6 * sum(kills.values())}", "validate_every=2", "resume=auto"),
    ]
    process, status = forked([*typed, f"hydra.run.dir={whole}"])
    assert status() == 0, (tmp_path / "attempts.log").read_text()

    draw, torn, ids, reached = random.Random(0), 0, set(), []
    moments = [moment for moment, number in kills.items() for _ in range(number)]
    draw.shuffle(moments)
    for moment in moments:
        process, status = forked([*typed, f"hydra.run.dir={run}"])
        torn += kill(process, run, moment, draw)
        assert status() == -signal.SIGKILL, (tmp_path / "attempts.log").read_text()[-3000:]
        if (run / "config.yaml").exists():
            ids.add(OmegaConf.load(run / "config.yaml").logger.wandb.id)
        saved = run / "checkpoints" / "last.ckpt"
        reached.append(torch.load(saved, weights_only=True)["global_step"] if saved.exists() else 0)
    print(f"steps saved at each kill: {reached}; while a checkpoint was written: {torn}")
    assert reached == sorted(reached), "something was lost"
    assert len(moments) < reached[-1] < 6 * len(moments), f"no run was left to kill: {reached}"
    assert torn >= kills["saving"] // 2, f"few kills hit a save: {torn}"

    command = [sys.executable, str(ROOT / "train.py"), *typed, f"hydra.run.dir={run}"]
    last = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert last.returncode == 0, last.stdout + last.stderr
    assert_same_state(run, whole)
    for key in ("state_dict", "current_model_state"):
        torch.testing.assert_close(
            checkpoint(run, "best")[key], checkpoint(whole, "best")[key], rtol=0, atol=0
        )
    assert curve(run) == curve(whole)
    ids.add(OmegaConf.load(run / "config.yaml").logger.wandb.id)
    assert len(ids) == 1, f"one run in W&B, however often it was killed: {ids}"
