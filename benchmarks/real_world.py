"""Both stages of esc_real at a small width on a CPU, whole and stopped in the middle, compared bit for bit.

    python benchmarks/real_world.py --out docs/results/real-world-esc_real-x4-cpu.json

VGG-19 has random weights from seed 0: the record shows that the recipe runs and resumes, not how it looks.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from srlab.runs.provenance import provenance  # noqa: E402
from vgg_weights import write_random_vgg19  # noqa: E402

SMALL = [
    *("model.dim=16", "model.mixed_dim=4", "model.depth=1", "model.steps_per_block=1", "model.window_size=8"),
    *("data=demo", "data.patch_size=8", "data.batch_size=2", "data.num_workers=0", "degradation.margin=8"),
    *("scale=4", "threads=1", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "logger=csv"),
    *("latency.output_size=[64,64]", "latency.warmup=0", "latency.repeats=1", "saved_images=0"),
]


def train(*words: str) -> float:
    """Run train.py; seconds."""
    started = time.monotonic()
    subprocess.run([sys.executable, str(ROOT / "train.py"), *words], check=True, cwd=ROOT)
    return time.monotonic() - started


def stage(name: str, steps: int, folder: Path, *words: str) -> dict[str, object]:
    """Train whole, and to the middle and on; the record of both."""
    common = [f"experiment={name}", *SMALL, f"validate_every={steps // 2}", *words]
    whole, halves = folder / f"{name}-whole", folder / f"{name}-halves"
    seconds = train(*common, f"trainer.max_steps={steps}", f"hydra.run.dir={whole}")
    train(*common, f"trainer.max_steps={steps // 2}", f"hydra.run.dir={halves}")
    train(f"resume={halves}", f"trainer.max_steps={steps}")
    states = [torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (whole, halves)]
    keys = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers")
    differing = [key for key in keys if not _equal(states[0][key], states[1][key])]
    curves = [list(csv.DictReader((run / "metrics.csv").open())) for run in (whole, halves)]
    losses = [float(row["train/loss"]) for row in curves[0] if row["train/loss"]]
    tenth = max(len(losses) // 10, 1)
    return {
        "experiment": name,
        "steps": steps,
        "resumed_after": steps // 2,
        "bit_identical_state": not differing,
        "differing": differing,
        "same_curve": curves[0] == curves[1],
        "tensors_compared": len(states[0]["state_dict"]),
        "seconds": round(seconds, 1),
        "loss_first_tenth": sum(losses[:tenth]) / tenth,
        "loss_last_tenth": sum(losses[-tenth:]) / tenth,
        "discriminator_loss_last": curves[0][-1].get("train/discriminator_loss"),
        "overrides": common,
    }


def _equal(one: object, other: object) -> bool:
    try:
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    except AssertionError:
        return False
    return True


def main() -> None:
    """Train both stages and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "vgg19.pth"
        features = "loss.fidelity.loss.terms.features"
        vgg = [f"{features}.file={file}", f"{features}.sha256={write_random_vgg19(file)}"]
        first = stage("esc_real_psnr_x4", arguments.steps, folder)
        start = f"initial_weights={folder / 'esc_real_psnr_x4-whole'}"
        second = stage("esc_real_gan_x4", arguments.steps, folder, start, *vgg, "loss.discriminator.dim=16")
        record = {
            "what": "both stages of esc_real at a small width, resumed in the middle",
            "vgg19": "random weights from seed 0, not the official file",
            "stages": [first, second],
            "versions": provenance(),
            "threads": 1,
        }
        text = json.dumps(record, indent=1).replace(str(folder), "FOLDER")
    arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
