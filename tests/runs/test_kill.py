"""A run that is killed by SIGKILL again and again ends with the weights of one that never was."""

import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from forked_runs import ForkedRun
from training_runs import SMALL, TINY_ELAN, assert_same_state, checkpoint, curve, write_photos

# Kills at each kind of moment; W&B and loader processes take seconds to start, so those are killed less often
OFTEN = {"starting": 1, "training": 2, "saving": 2}
SELDOM = {"starting": 1, "training": 1, "saving": 1}
DEADLINE_S = 120


def until(condition: Callable[[], bool], process: ForkedRun) -> bool:
    """Wait for it, without a pause; false once the process has ended."""
    begun = asked = time.monotonic()
    while not condition():
        time.sleep(0.0005)
        now = time.monotonic()
        assert now < begun + DEADLINE_S, "nothing happened"
        if now > asked + 0.1:
            asked = now
            if process.poll() is not None:
                return False
    return True


def inode(path: Path) -> int:
    return path.stat().st_ino if path.exists() else 0


def differs(path: Path, before: int) -> bool:
    return inode(path) != before


def kill(process: ForkedRun, run: Path, moment: str, draw: random.Random) -> bool:
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
    os.kill(process.pid, signal.SIGKILL)
    return any(path.exists() for path in partials)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills"), [(0, OFTEN), (1, SELDOM)], ids=["no loader", "loader"])
def test_a_run_that_is_killed_ends_with_the_same_last_bit(tmp_path, forked, workers, kills):
    """Network with BatchNorm, moving average, cosine, accumulation; with loaders an offline W&B run."""
    photos = write_photos(tmp_path)
    run, whole = tmp_path / "run", tmp_path / "whole"
    typed = [
        *(*TINY_ELAN, *SMALL, f"logger={'wandb' if workers else 'csv'}"),
        *("callbacks=ema", "trainer.accumulate_grad_batches=2"),
        *("data=folder", f"data.root={photos / 'train'}", f"data.validation_root={photos / 'validation'}"),
        *(f"data.num_workers={workers}", f"paths.cache={tmp_path / 'cache'}", "callbacks.progress=null"),
        *(f"trainer.max_steps={6 * sum(kills.values())}", "validate_every=2", "resume=auto"),
    ]
    forked.finish([*typed, f"hydra.run.dir={whole}"], cwd=tmp_path)

    draw, torn, ids, reached = random.Random(0), 0, set(), []
    moments = [moment for moment, number in kills.items() for _ in range(number)]
    draw.shuffle(moments)
    for moment in moments:
        process = forked.start([*typed, f"hydra.run.dir={run}"], cwd=tmp_path)
        torn += kill(process, run, moment, draw)
        assert process.wait() == -signal.SIGKILL, process.output[-3000:]
        if workers and (run / "config.yaml").exists():
            ids.add(OmegaConf.load(run / "config.yaml").logger.wandb.id)
        saved = run / "checkpoints" / "last.ckpt"
        reached.append(torch.load(saved, weights_only=True)["global_step"] if saved.exists() else 0)
    print(f"steps saved at each kill: {reached}; while a checkpoint was written: {torn}")
    assert reached == sorted(reached), "something was lost"
    assert len(moments) < reached[-1] < 6 * len(moments), f"no run was left to kill: {reached}"
    assert torn >= kills["saving"] // 2, f"few kills hit a save: {torn}"

    forked.finish([*typed, f"hydra.run.dir={run}"], cwd=tmp_path)
    assert_same_state(run, whole)
    for key in ("state_dict", "current_model_state"):
        torch.testing.assert_close(
            checkpoint(run, "best")[key], checkpoint(whole, "best")[key], rtol=0, atol=0
        )
    assert curve(run) == curve(whole)
    if workers:
        ids.add(OmegaConf.load(run / "config.yaml").logger.wandb.id)
        assert len(ids) == 1, f"one run in W&B, however often it was killed: {ids}"
