"""Copies the best weights of a run to those that come with srlab, if they are better than those that do.

python benchmarks/ship_weights.py RUN --images data/elan_tiny/images.json [--state training/elan_tiny_x2]

The file is src/srlab/weights/<preset>_x<scale>.safetensors. Its metadata has the commit, the configuration,
the seed, the steps, the training images with their SHA-256 and their terms, and the score on the held-out
images. It is replaced only if this score has grown by 0.02 dB. --state copies what a run needs to be resumed,
without pictures, to a folder outside the wheel.
"""

import argparse
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import srlab
from srlab.app.presets import match_preset
from srlab.checkpoints import LoadedCheckpoint, read_checkpoint, save_safetensors
from srlab.runs.contract import MONITOR
from srlab.runs.folder import RunFolder

WEIGHTS = Path(srlab.__file__).parent / "weights"
LEAST_GAIN_DB = 0.02
MOST_BYTES = 1_000_000
TERMS = {
    "t91": "T91 (J. Yang et al., 2010): terms unstated",
    "bsds": "BSDS500 (P. Arbelaez et al., 2011): for non-commercial research and education",
    "photographs": "photographs of budgie-backgrounds (CC0) and of pop-os/wallpapers (public domain)",
}
STATE = ("config.yaml", "metrics.csv", "checkpoints/last.ckpt")


def main() -> None:
    """Compare, then copy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="of benchmarks/training_images.py")
    parser.add_argument("--state", type=Path, help="folder for what resumes the run")
    chosen = parser.parse_args()
    loaded = read_checkpoint(chosen.run)
    described = description(loaded, chosen.run, json.loads(chosen.images.read_text()))
    preset = match_preset(described["model"])
    if preset is None:
        parser.error(f"{chosen.run} holds no preset; weights are shipped under a preset's name")
    target = WEIGHTS / f"{preset}_x{loaded.network.scale}.safetensors"
    before = read_checkpoint(target).description["held_out"]["psnr"] if target.exists() else None
    found = described["held_out"]["psnr"]
    if before is not None and found < before + LEAST_GAIN_DB:
        raise SystemExit(
            f"not copied: {found:.3f} dB on the held-out images, the shipped weights have {before:.3f}"
        )
    WEIGHTS.mkdir(exist_ok=True)
    save_safetensors(LoadedCheckpoint(loaded.network, described), target)
    size = target.stat().st_size
    print(f"{target}: {size / 1e3:.0f} kB, {found:.3f} dB on the held-out images (before: {before})")
    if size > MOST_BYTES:
        target.unlink()
        raise SystemExit(f"removed: {size} bytes are more than {MOST_BYTES}")
    if chosen.state is not None:
        for name in STATE:
            (chosen.state / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(chosen.run / name, chosen.state / name)
        print(f"{chosen.state}: python train.py resume={chosen.state}")


def description(loaded: LoadedCheckpoint, run: Path, images: dict[str, Any]) -> dict[str, Any]:
    """The recorded metadata."""
    scores = [row[MONITOR] for _, row in RunFolder(run).metrics() if MONITOR in row]
    kept = ("name", "model", "network", "scale", "protocol", "versions", "step", "assumed")
    config = {name: value for name, value in loaded.description["config"].items() if name != "paths"}
    trained = [entry for entry in images["images"] if entry["file"].startswith("train/")]
    collections = Counter(entry["file"].split("/")[1] for entry in trained)
    return {
        **{name: loaded.description[name] for name in kept if name in loaded.description},
        "config": config,
        "seed": config["seed"],
        "training_images": {
            "digest": images["digest"],
            "collections": {name: f"{count} images, {TERMS[name]}" for name, count in collections.items()},
            "sha256": {entry["file"].removeprefix("train/"): entry["sha256"] for entry in trained},
        },
        "held_out": {"psnr": max(scores)},  # of best.ckpt
    }


if __name__ == "__main__":
    main()
