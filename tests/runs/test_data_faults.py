"""Images that come to harm and processes that are killed during a run; oracle: a run left in peace."""

import os
import shlex
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning.pytorch import Callback, Trainer
from PIL import Image

from demo_data import loading
from forked_runs import ForkedRun
from recorded_fits import Recorder, fit
from srlab.data import datasets


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten pictures to train on; two to validate on, with LR files."""
    generator = np.random.default_rng(0)
    for index in range(12):
        small = Image.fromarray(generator.integers(0, 256, (8, 9, 3), dtype=np.uint8))
        part = "validation/HR" if index >= 10 else "train"
        (tmp_path / "photos" / part).mkdir(parents=True, exist_ok=True)
        small.resize((72, 64), Image.Resampling.BICUBIC).save(tmp_path / f"photos/{part}/{index}.png")
    lr_folder = tmp_path / "photos/validation/LR_bicubic/X2"
    lr_folder.mkdir(parents=True)
    for index in (10, 11):
        picture = Image.open(tmp_path / f"photos/validation/HR/{index}.png")
        picture.resize((36, 32), Image.Resampling.BICUBIC).save(lr_folder / f"{index}x2.png")
    return tmp_path / "photos"


class Meanwhile(Callback):
    """Does something once the third step is over."""

    def __init__(self, deed: Callable[[], object]) -> None:
        self.deed = deed

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 3:
            self.deed()


def fitted(
    photos: Path, *, deed: Callable[[], object] = list, resume: Path | None = None, **changes: Any
) -> tuple[Recorder, Trainer]:
    """Six steps, or one more after ``resume``; two loader processes."""
    folders = {"root": str(photos / "train"), "validation_root": str(photos / "validation")}
    small = {"scale": 2, "batch_size": 4, "num_workers": 2, "on_bad_image": "skip"}
    data = datasets.folder(**folders, **loading(photos.parent / "cache", **(small | changes)))
    return fit(data, steps=7 if resume else 6, resume=resume, callbacks=[Meanwhile(deed)])


def harm(photos: Path) -> None:
    """One training image goes, another is cut off; so do HR and LR of validation."""
    (photos / "train/0.png").unlink()
    (photos / "validation/LR_bicubic/X2/10x2.png").unlink()
    for name in ("train/1.png", "validation/HR/11.png", "validation/LR_bicubic/X2/11x2.png"):
        path = photos / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.slow
def test_a_run_goes_on_when_its_images_are_removed_or_cut_off(photos: Path):
    peaceful, _ = fitted(photos)
    harmed, _ = fitted(photos, deed=lambda: harm(photos))
    assert len(peaceful.trained) == 6
    assert len(peaceful.validated) == 6
    assert (harmed.trained, harmed.validated) == (peaceful.trained, peaceful.validated)


def test_a_run_is_not_resumed_on_other_images_unless_told_to(photos: Path, tmp_path: Path, caplog):
    """Removed, unreadable, new and repainted ones are named; those that only moved are no others."""
    _, trainer = fitted(photos)
    trainer.save_checkpoint(tmp_path / "6.ckpt")
    moved = photos.rename(tmp_path / "moved")
    fitted(moved, resume=tmp_path / "6.ckpt")
    (moved / "train/0.png").unlink()
    (moved / "train/1.png").write_bytes(b"nothing")
    (moved / "train/2.png").rename(moved / "train/new.png")
    (moved / "train/4.png").write_bytes((moved / "train/3.png").read_bytes())
    lr_file = moved / "validation/LR_bicubic/X2/10x2.png"
    pixels = np.array(Image.open(lr_file))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(lr_file)
    told = (
        r"training: 3 missing \(0, 1, 2\), 1 new \(new\), 1 changed \(4\); "
        r"validation on validation: 1 changed \(10\)"
    )
    with pytest.raises(ValueError, match=rf"{told}; put .* data\.accept_changed_images=true"):
        fitted(moved, resume=tmp_path / "6.ckpt")
    (moved / "validation/LR_bicubic/X2/10x2.png").unlink()
    (moved / "validation/LR_bicubic/X2/11x2.png").unlink()
    (moved / "validation/LR_bicubic/X2").rmdir()
    fitted(moved, resume=tmp_path / "6.ckpt", accept_changed_images=True)
    assert "continuing with other images than before: training: 3 missing" in caplog.text


def words(photos: Path, folder: Path, *overrides: str) -> list[str]:
    """Of a training of a tiny network with two loader processes, as typed."""
    return [
        *("model=edsr_baseline", "model.dim=8", "model.depth=2"),
        *("data=folder", f"data.root={photos / 'train'}", f"data.validation_root={photos / 'validation'}"),
        *("scale=2", "data.patch_size=8", "data.batch_size=4", "logger=csv", "trainer.accelerator=cpu"),
        *("latency.output_size=[32,32]", "latency.warmup=0", "latency.repeats=1", "data.num_workers=2"),
        *(f"paths.cache={folder.parent / 'cache'}", f"hydra.run.dir={as_value(folder)}", *overrides),
    ]


def as_value(path: Path) -> str:
    """A path in Hydra's grammar."""
    return '"' + str(path) + '"'


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def assert_equal_weights(one: Path, other: Path) -> None:
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name


def loaders_of(run: ForkedRun) -> list[int]:
    """Loader processes: children of the server that the run has started."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, parent, *_ = path.read_text().rpartition(")")[2].split()
            if state != "Z":
                parents[int(path.parent.name)] = int(parent)
    return sorted(pid for pid, parent in parents.items() if parents.get(parent) == run.pid)


def run_to_resume(output: str) -> str:
    """What the printed command resumes, as a shell and Hydra read it."""
    (line,) = {line.strip() for line in output.splitlines() if line.strip().startswith("python ")}
    (override,) = OverridesParser.create().parse_overrides(shlex.split(line)[2:])
    assert override.key_or_group == "resume"
    return str(override.value())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds loader processes in /proc")
def test_a_killed_loader_process_ends_the_run_soon_and_resuming_learns_the_same(
    photos: Path, tmp_path: Path, forked
):
    """In the middle of training; oracle: a run left in peace, and the command that is printed."""
    steps = ("trainer.max_steps=100", "validate_every=20", "trainer.log_every_n_steps=1")
    forked.finish(words(photos, tmp_path / "peaceful", *steps), cwd=tmp_path)
    harmed = tmp_path / "har'med run"
    run = forked.start(words(photos, harmed, *steps), cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not (harmed / "checkpoints/last.ckpt").exists() or len(loaders_of(run)) < 2:
        assert time.monotonic() < deadline, run.output
        assert run.poll() is None, run.output
        time.sleep(0.01)
    victim = loaders_of(run)[0]
    os.kill(victim, signal.SIGKILL)
    assert run.wait(timeout=60) == 2, run.output
    assert f"loader process {victim} was killed by SIGKILL" in " ".join(run.output.split())
    assert run_to_resume(run.output) == str(harmed)
    assert not loaders_of(run)
    forked.finish(words(photos, harmed, *steps, "resume=auto"), cwd=tmp_path)
    assert_equal_weights(harmed, tmp_path / "peaceful")


@pytest.mark.slow
def test_two_runs_started_at_once_on_the_same_images_both_learn_from_them(
    photos: Path, tmp_path: Path, forked
):
    """Without decoded images at first; oracle: a third run, later."""
    steps = ("trainer.max_steps=4", "validate_every=2")
    both = [forked.start(words(photos, tmp_path / name, *steps), cwd=tmp_path) for name in ("one", "other")]
    for run in both:
        assert run.wait() == 0, run.output
    forked.finish(words(photos, tmp_path / "later", *steps), cwd=tmp_path)
    stores = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert len(stores) == 3  # training, validation and its LR files: each once, nothing half-built
    assert_equal_weights(tmp_path / "one", tmp_path / "later")
    assert_equal_weights(tmp_path / "other", tmp_path / "later")
