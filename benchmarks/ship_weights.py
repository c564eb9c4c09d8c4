"""Copies the best weights of a run to those that come with srlab, if they are better than those that do.

python benchmarks/ship_weights.py RUN --images data/elan_tiny/images.json [--state training/elan_tiny_x2]
python benchmarks/ship_weights.py --scores EVALUATION.json

The file is src/srlab/weights/<preset>_x<scale>.safetensors. Its metadata has the commit, the configuration,
the seed, the steps, the training images with their SHA-256 and their terms, and the score on the held-out
images. It is replaced only if this score has grown by 0.02 dB, and the record of its scores is then removed.
--state copies what a run needs to be resumed, without pictures, to a folder outside the wheel.

--scores writes that record, src/srlab/weights/<preset>_x<scale>.json, from what evaluate.py wrote of the run
or of the shipped file under basicsr; srlab zoo and README.md show it.
"""

import argparse
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

import srlab
from srlab.app.presets import match_preset
from srlab.checkpoints import LoadedCheckpoint, read_checkpoint, save_safetensors
from srlab.checkpoints.shipped import shipped_file
from srlab.extensions.zoo.networks import PROTOCOL
from srlab.runs.contract import MONITOR
from srlab.runs.folder import RunFolder
from srlab.runs.records import write_json

WEIGHTS = Path(srlab.__file__).parent / "weights"
LEAST_GAIN_DB = 0.02
MOST_BYTES = 1_000_000
TERMS = {
    "t91": "T91 (J. Yang et al., 2010): terms unstated",
    "bsds": "BSDS500 (P. Arbelaez et al., 2011): for non-commercial research and education",
    "photographs": "photographs of budgie-backgrounds (CC0) and of pop-os/wallpapers (public domain)",
}

Place = tuple[str, str]


def main() -> None:
    """Copy weights, or write the record of their scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--scores", type=Path, help="evaluation.json of evaluate.py")
    parser.add_argument("--images", type=Path, help="of benchmarks/training_images.py")
    parser.add_argument("--state", type=Path, help="folder for what resumes the run")
    chosen = parser.parse_args()
    if chosen.scores is not None:
        for evaluation in json.loads(chosen.scores.read_text())["evaluations"]:
            print(record_scores(evaluation))
        return
    if chosen.run is None or chosen.images is None:
        parser.error("give RUN and --images, or --scores")
    ship(chosen.run, json.loads(chosen.images.read_text()))
    if chosen.state is not None:
        copy_state(chosen.run, chosen.state)
        print(f"{chosen.state}: python train.py resume={chosen.state}")


def copy_state(run: Path, folder: Path) -> None:
    """Copy what resumes ``run``, with paths that hold on any machine."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    shutil.copy(run / "metrics.csv", folder)
    config = OmegaConf.load(run / "config.yaml")
    places = places_of(config.paths)
    plain = portable(OmegaConf.to_container(config), places)
    OmegaConf.save({**plain, "resume": None, "logger": {}}, folder / "config.yaml")
    state = torch.load(run / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)
    torch.save(portable(state, places), folder / "checkpoints/last.ckpt")


def places_of(paths: Mapping[str, str]) -> list[Place]:
    """Folders of this machine and what stands for them elsewhere, inner ones first."""
    return [(paths["run"], "run"), (paths["cache"], "data/.srlab"), (paths["data"], "data")]


def portable(value: Any, places: Sequence[Place]) -> Any:
    """``value`` with the beginnings of its paths replaced, in dictionaries and lists of any depth."""
    if isinstance(value, Mapping):
        return type(value)((portable(key, places), portable(item, places)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(portable(item, places) for item in value)
    if isinstance(value, str):
        for folder, name in places:
            if value == folder or value.startswith(f"{folder}/"):
                return name + value.removeprefix(folder)
    return value


def ship(run: Path, images: dict[str, Any]) -> None:
    """Compare, then copy."""
    loaded = read_checkpoint(run)
    described = description(loaded, run, images)
    preset = match_preset(described["model"])
    if preset is None:
        raise SystemExit(f"{run} holds no preset; weights are shipped under a preset's name")
    target = WEIGHTS / f"{preset}_x{loaded.network.scale}.safetensors"
    before = read_checkpoint(target).description["held_out"]["psnr"] if target.exists() else None
    found = described["held_out"]["psnr"]
    if before is not None and found < before + LEAST_GAIN_DB:
        raise SystemExit(
            f"not copied: {found:.3f} dB on the held-out images, the shipped weights have {before:.3f}"
        )
    WEIGHTS.mkdir(exist_ok=True)
    save_safetensors(LoadedCheckpoint(loaded.network, described), target)
    target.with_suffix(".json").unlink(missing_ok=True)
    size = target.stat().st_size
    print(f"{target}: {size / 1e3:.0f} kB, {found:.3f} dB on the held-out images (before: {before})")
    if size > MOST_BYTES:
        target.unlink()
        raise SystemExit(f"removed: {size} bytes are more than {MOST_BYTES}")


def record_scores(evaluation: dict[str, Any]) -> Path:
    """Write the record beside the shipped weights that were scored.

    Raises:
        ValueError: these are not the weights that come with srlab.
    """
    report, conditions = evaluation["report"], evaluation["conditions"]
    weights = shipped_file(conditions["preset"], report["scale"])
    known = read_checkpoint(weights).description if weights else {}
    if weights is None or not conditions["checkpoint"].endswith(f"step {known['step']}"):
        raise ValueError(
            f"{conditions['checkpoint']} was scored, but srlab comes with step {known.get('step')} of "
            f"{conditions['preset']} x{report['scale']}; score that: evaluate.py model=… pretrained=true"
        )
    kept = ("date", "commit", "torch_version", "subnormals")
    record = {
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "step": known["step"],
        **{name: conditions[name] for name in kept},
        **{name: report[name] for name in ("device", "dtype", "restoration")},
        "means": [mean for mean in report["means"] if mean["protocol"] == PROTOCOL],
    }
    write_json(weights.with_suffix(".json"), record)
    return weights.with_suffix(".json")


def description(loaded: LoadedCheckpoint, run: Path, images: dict[str, Any]) -> dict[str, Any]:
    """The recorded metadata."""
    scores = [row[MONITOR] for _, row in RunFolder(run).metrics() if MONITOR in row]
    kept = ("name", "model", "network", "scale", "protocol", "versions", "step", "assumed")
    whole = loaded.description["config"]
    config = portable(
        {name: each for name, each in whole.items() if name != "paths"}, places_of(whole["paths"])
    )
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
