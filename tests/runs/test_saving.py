"""Signals at any moment, disks that fill up, folders that move: what was saved stays good."""

import errno
import os
import re
import resource
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from srlab.app.run_report import RunReport
from srlab.tasks import checkpoint_io
from srlab.tasks.checkpoint_io import AtomicCheckpointIO, KeptCheckpoint, NonFiniteError, validation_is_due
from srlab.tasks.costs import CostRecord
from srlab.tasks.interruption import GracefulStop
from srlab.tasks.super_resolution import SuperResolutionTask
from training_runs import assert_same_state, checkpoint, curve, in_process

RUN = ("trainer.max_steps=6", "validate_every=2")


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory) -> Path:
    """The run that nothing happened to."""
    with pytest.MonkeyPatch.context() as patch:
        return in_process(photos, tmp_path_factory.mktemp("finished"), patch)(*RUN)


@pytest.mark.parametrize(
    ("owner", "hook", "saved"),
    [
        pytest.param(CostRecord, "on_fit_start", None, id="before training", marks=pytest.mark.slow),
        pytest.param(GracefulStop, "on_train_batch_start", 1, id="in a step"),
        pytest.param(
            SuperResolutionTask,
            "on_validation_epoch_start",
            2,
            id="in a validation",
            marks=pytest.mark.slow,
        ),
        pytest.param(RunReport, "publish", 6, id="in the report", marks=pytest.mark.slow),
    ],
)
def test_sigterm_at_any_moment_leaves_a_run_that_goes_on_to_the_same_last_bit(
    owner, hook, saved, train, finished, tmp_path, monkeypatch
):
    """Status 143, and what was learnt until then is saved; oracle: the run that was left alone."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    honest = getattr(owner, hook, None)

    def terminated(self, *arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return honest(self, *arguments) if honest is not None else None

    with monkeypatch.context() as patch:
        patch.setattr(owner, hook, terminated)
        with pytest.raises(SystemExit) as stopped:
            train(*RUN)
    assert stopped.value.code == 143
    run = tmp_path / "run"
    assert not (run / "summary.json").exists()
    if saved is None:
        assert not (run / "checkpoints" / "last.ckpt").exists()
    else:
        assert checkpoint(run)["global_step"] == saved
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    train(*RUN, "resume=auto")
    assert_same_state(run, finished)
    assert curve(run) == curve(finished)


def test_the_curve_on_the_disk_reaches_as_far_as_every_checkpoint(train, tmp_path, monkeypatch):
    """Whenever a file has just got its name, which is when a kill would matter."""
    honest, reached = checkpoint_io._write, []

    def written(state, path):
        honest(state, path)
        row = {each["step"]: each for each in curve(tmp_path / "run")}[str(state["global_step"])]
        assert row["train/loss"]
        assert validation_is_due(state) or row["val/psnr"]
        reached.append((path.name, state["global_step"], validation_is_due(state)))

    monkeypatch.setattr(checkpoint_io, "_write", written)
    train(*RUN, "trainer.log_every_n_steps=1")
    for step in (2, 4, 6):
        assert {("last.ckpt", step, True), ("last.ckpt", step, False)} <= set(reached)


def test_a_second_signal_aborts_at_once_and_loses_only_the_step(train, tmp_path, monkeypatch, capsys):
    def twice(self, trainer, *_):
        if trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(GracefulStop, "on_train_batch_start", twice)
    with pytest.raises(SystemExit) as stopped:
        train(*RUN)
    assert stopped.value.code == 143
    assert re.search(r"aborted in step 4; .*last.ckpt can be resumed", "".join(capsys.readouterr()))
    assert checkpoint(tmp_path / "run")["global_step"] == 2


@pytest.fixture
def full_disk(monkeypatch):
    """The kernel refuses files beyond 20 kB, a fraction of a checkpoint, while these steps are saved."""
    honest = AtomicCheckpointIO.save_checkpoint

    def at(*steps: int) -> None:
        def save(self, content, path, storage_options=None):
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            try:
                if content["global_step"] in steps:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
                honest(self, content, path, storage_options)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save)

    return at


def test_a_full_disk_in_mid_run_is_said_once_and_costs_nothing(train, finished, full_disk, capsys):
    """Refused at steps 2 and 4, not at 6; oracle: the run on a disk with room."""
    full_disk(2, 4)
    # the lowest score: that of step 2, as scores rise here
    run = train(*RUN, "callbacks.best.mode=min")
    said = "".join(capsys.readouterr())
    assert said.count("could not be saved: [Errno 27] File too large; training continues") == 1
    assert "saving works again: step 6 is saved" in said
    assert_same_state(run, finished)
    assert curve(run) == curve(finished)
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    # what could not be saved is not the best so far
    assert checkpoint(run, "best")["global_step"] == 6


def test_a_full_disk_at_the_end_is_an_error_that_says_what_is_lost(
    train, finished, full_disk, tmp_path, capsys
):
    full_disk(6)
    with pytest.raises(SystemExit, match="2"):
        train(*RUN)
    said = "".join(capsys.readouterr())
    assert "step 6 could not be saved ([Errno 27] File too large): what follows step 4 is lost." in said
    run = tmp_path / "run"
    assert f"python train.py resume={run}" in said
    assert checkpoint(run)["global_step"] == 4
    assert not (run / "summary.json").exists()
    full_disk()
    train(f"resume={run}")
    assert_same_state(run, finished)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system; the tests of refused files do without")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("floats", [200_000, 14_000], ids=["in a tensor", "at the end"])
def test_a_checkpoint_that_does_not_fit_leaves_the_older_one(small_disk, floats):
    store, path = AtomicCheckpointIO(), small_disk / "last.ckpt"
    store.save_checkpoint({"global_step": 1, "state_dict": {"weight": torch.zeros(4_000)}}, path)
    before = path.read_bytes()
    store.save_checkpoint({"global_step": 2, "state_dict": {"weight": torch.zeros(floats)}}, path)
    assert store.unsaved_step == 2
    assert store.fault == f"[Errno {errno.ENOSPC}] No space left on device"
    assert path.read_bytes() == before
    assert list(small_disk.iterdir()) == [path]
    store.save_checkpoint({"global_step": 3, "state_dict": {"weight": torch.ones(4_000)}}, path)
    assert store.unsaved_step is None
    assert torch.load(path, weights_only=True)["global_step"] == 3


def test_a_checkpoint_appears_by_one_rename_in_its_own_folder(tmp_path, monkeypatch):
    """It has reached the disk before the older file is given up; oracle: the order of system calls."""
    calls = []
    honest_sync, honest_rename = os.fsync, Path.replace

    def fsync(descriptor):
        calls.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        honest_sync(descriptor)

    def replace(self, target):
        calls.append(("rename", self.name))
        return honest_rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    AtomicCheckpointIO().save_checkpoint(
        {"global_step": 1, "state_dict": {}}, tmp_path / "runs" / "last.ckpt"
    )
    partial = ".last.ckpt.partial"
    assert calls == [("fsync", partial), ("rename", partial), ("fsync", "runs")]


def test_weights_that_are_no_numbers_are_refused_by_the_writer_too(tmp_path):
    content = {"global_step": 3, "state_dict": {"weight": torch.tensor([1.0, float("nan")])}}
    with pytest.raises(NonFiniteError, match="not finite after step 3"):
        AtomicCheckpointIO().save_checkpoint(content, tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_moved_remembers_its_best_score(tmp_path):
    there, here = (
        KeptCheckpoint(dirpath=tmp_path / name, filename="best", monitor="val/psnr", mode="max")
        for name in ("there", "here")
    )
    best = str(tmp_path / "there" / "best.ckpt")
    state = {**there.state_dict(), "best_model_path": best, "kth_best_model_path": best}
    state |= {"best_model_score": torch.tensor(30.0), "best_k_models": {best: torch.tensor(30.0)}}
    state["kth_value"] = torch.tensor(30.0)
    here.load_state_dict(state)
    assert here.best_model_path == str(tmp_path / "here" / "best.ckpt")
    assert here.best_k_models == {here.best_model_path: torch.tensor(30.0)}
    assert here.best_model_score == 30.0
