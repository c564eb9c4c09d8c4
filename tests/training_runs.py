"""What the tests of whole runs share: a tiny network, train.py in this process, and the traces of runs."""

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
TINY_ELAN = ("model=elan_demo", "model.dim=12", "model.depth=4", "model.window_sizes=[2,4]")
TINY_ESC_LTE = (
    *("model=esc_lte", "model.dim=8", "model.mixed_dim=4", "model.kernel_side=3", "model.depth=1"),
    *("model.steps_per_block=1", "model.window_size=8", "model.num_heads=2", "model.query_dim=8"),
    *("data.scale_range=[1,4]", "data.compared_pixels=50", "loss=l1"),
)
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

Train = Callable[..., Path]


def write_photos(root: Path, *, training: int = 10, validation: int = 2) -> Path:
    """Smooth random pictures to train on and to validate on."""
    generator = np.random.default_rng(0)
    for folder, count in (("train", training), ("validation", validation)):
        (root / folder).mkdir()
        for index in range(count):
            small = generator.integers(0, 256, (8, 9, 3), dtype=np.uint8)
            picture = Image.fromarray(small).resize((72, 64), Image.Resampling.BICUBIC)
            picture.save(root / folder / f"{index}.png")
    return root


def in_process(photos: Path, tmp_path: Path, monkeypatch: Any) -> Train:
    """Runs train.py's main in this process; returns the folder that the run wrote to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("SRLAB_CACHE", str(tmp_path / "cache"))
    data = ["data=folder", f"data.root={photos / 'train'}", f"data.validation_root={photos / 'validation'}"]

    def run(*overrides: str, into: str = "run", network: tuple[str, ...] = TINY_ELAN) -> Path:
        import train as entry_point

        is_typed_in_full = not any(
            override.startswith(("resume=", "rerun=")) and override != "resume=auto" for override in overrides
        )
        typed = [*network, *SMALL, *data, f"hydra.run.dir={tmp_path / into}"] if is_typed_in_full else []
        monkeypatch.setattr(sys, "argv", ["train.py", *typed, *overrides])
        entry_point.main()
        return tmp_path / into

    return run


def command_line(photos: Path, tmp_path: Path, folder: Path, *overrides: str) -> list[str]:
    """train.py on a tiny network without BatchNorm, as typed."""
    return [
        *(sys.executable, str(ROOT / "train.py"), "model=edsr_baseline", "model.dim=8", "model.depth=2"),
        *("data=folder", f"data.root={photos / 'train'}", f"data.validation_root={photos / 'validation'}"),
        *(f"hydra.run.dir={folder}", f"paths.cache={tmp_path / 'cache'}", "trainer.max_steps=4"),
        *("validate_every=2", *SMALL, *overrides),
    ]


@contextmanager
def killed_after_saving(step: int, name: str) -> Iterator[None]:
    """The run within ends as a kill ends it, right after the checkpoint ``name`` of that step."""
    from srlab.tasks.checkpoint_io import AtomicCheckpointIO

    honest = AtomicCheckpointIO.save_checkpoint

    class Killed(BaseException):
        pass

    def save(self: Any, content: dict[str, Any], path: str, storage_options: Any = None) -> None:
        honest(self, content, path, storage_options)
        if content["global_step"] == step and Path(path).stem == name:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AtomicCheckpointIO, "save_checkpoint", save)
        with pytest.raises(Killed):
            yield


def curve(run: Path) -> list[dict[str, str]]:
    """Rows of the run's metrics.csv."""
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    """A whole checkpoint."""
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def weights(run: Path, key: str = "state_dict") -> dict[str, torch.Tensor]:
    """Tensors of the run's last checkpoint."""
    return checkpoint(run)[key]


def assert_same_state(one: Path, other: Path) -> None:
    """Weights, averages and the optimizer's moments agree to the last bit."""
    ours, theirs = checkpoint(one), checkpoint(other)
    assert ours["global_step"] == theirs["global_step"]
    keys = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers")
    assert [key in ours for key in keys] == [key in theirs for key in keys]
    pairs = {key: (ours[key], theirs[key]) for key in keys if key in ours}
    torch.testing.assert_close(
        {key: pair[0] for key, pair in pairs.items()},
        {key: pair[1] for key, pair in pairs.items()},
        rtol=0,
        atol=0,
        equal_nan=True,
    )
