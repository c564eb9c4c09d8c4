"""What a finished run adds to its W&B run: the same keys for all runs, so that one dashboard fits them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srlab.metrics.registry import find_metric
from srlab.runs.contract import MONITOR, validation_key
from srlab.runs.scores import read_scores

COMPARISON = "comparison"
#: One key for each picture: W&B distorts pictures of different sizes under one key.
RESTORED = tuple(f"restored/{number}" for number in range(1, 5))
_CONDITIONS = ("date", "commit", "srlab_version", "torch_version", "device", "seed")


def result_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Flat numbers of a run's ``summary.json``: scores of the best checkpoint and of bicubic interpolation.

    ``best/val/psnr`` is the mean over sets and ``best/val/<set>/psnr`` that of one set; ``best/gain`` is the
    difference from bicubic. ``gray_images`` counts gray references, and ``gray_rule`` says what they count
    as.
    """
    flat: dict[str, Any] = {"step": summary["steps"], "best/step": summary["step"]}
    for source, means in (("best", summary["scores"]), ("bicubic", summary["bicubic"])):
        values: dict[str, list[float]] = {}
        for mean in means:
            for metric, value in read_scores(mean).items():
                flat[f"{source}/{validation_key(metric, mean['set_name'])}"] = value
                values.setdefault(metric, []).append(value)
        for metric, of_sets in values.items():
            flat[f"{source}/{validation_key(metric)}"] = sum(of_sets) / len(of_sets)
    flat["best/gain"] = flat[f"best/{MONITOR}"] - flat[f"bicubic/{MONITOR}"]
    flat["gray_images"] = sum(len(mean["gray_images"]) for mean in summary["scores"])
    flat["gray_rule"] = summary["protocol"]["gray"]
    return flat | {f"conditions/{key}": summary["conditions"][key] for key in _CONDITIONS}


def pictures(summary: Mapping[str, Any], folder: Path, comparison: Path) -> dict[str, tuple[Path, str]]:
    """Pictures of a run with their captions: the comparison and the first restored images.

    Args:
        summary: content of ``summary.json``.
        folder: the run's folder.
        comparison: file of the comparison.
    """
    restored = [entry for entry in summary["images"] if entry["restored"]]
    found = {COMPARISON: (comparison, "")}
    for key, entry in zip(RESTORED, restored, strict=False):
        scores = {find_metric(name): value for name, value in read_scores(entry).items()}
        shown = ", ".join(f"{metric.label} {metric.show(value)}" for metric, value in scores.items())
        found[key] = folder / entry["restored"], f"{entry['set_name']}/{entry['name']}: {shown}"
    return found
