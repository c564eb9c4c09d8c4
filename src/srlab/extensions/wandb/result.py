"""What a finished run adds to its W&B run: the same keys for every run, so that one dashboard fits all."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srlab.extensions.wandb.logger import TolerantWandbLogger

from srlab.runs.scores import read_scores

__all__ = ["COMPARISON", "RESTORED", "log_result", "result_summary"]

COMPARISON = "comparison"
#: One key for each picture: W&B distorts pictures of unlike sizes below one key.
RESTORED = tuple(f"restored/{number}" for number in range(1, 5))
_CONDITIONS = ("date", "commit", "srlab_version", "torch_version", "device", "seed")


def result_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Flat numbers of a run's ``summary.json``: PSNR in dB and SSIM of the best checkpoint and of bicubic.

    ``best/val/psnr`` is the mean over sets, ``best/val/<set>/psnr`` that of one; ``best/gain`` is what the
    former has above bicubic. ``gray_images`` is how many references are gray, ``gray_rule`` what they count
    as. ``conditions/…`` say what made the numbers.
    """
    flat: dict[str, Any] = {"step": summary["steps"], "best/step": summary["step"]}
    for source, means in (("best", summary["scores"]), ("bicubic", summary["bicubic"])):
        for metric in ("psnr", "ssim"):
            for mean in means:
                flat[f"{source}/val/{mean['set_name']}/{metric}"] = read_scores(mean)[metric]
            flat[f"{source}/val/{metric}"] = sum(read_scores(mean)[metric] for mean in means) / len(means)
    flat["gray_images"] = sum(len(mean["gray_images"]) for mean in summary["scores"])
    flat["gray_rule"] = summary["protocol"]["gray"]
    flat.update({f"conditions/{key}": summary["conditions"][key] for key in _CONDITIONS})
    flat["best/gain"] = flat["best/val/psnr"] - flat["bicubic/val/psnr"]
    return flat


def log_result(
    logger: "TolerantWandbLogger", summary: Mapping[str, Any], *, folder: Path, picture: Path
) -> None:
    """Hand over scores, the comparison picture and the first restored images.

    Args:
        logger: of the run.
        summary: what ``summary.json`` will hold.
        folder: the run's, which the paths of restored images start from.
        picture: the comparison.
    """
    logger.log_summary(result_summary(summary))
    last = summary["steps"] - 1
    logger.log_image(COMPARISON, [str(picture)], step=last)
    shown = [entry for entry in summary["images"] if entry["restored"]]
    for key, entry in zip(RESTORED, shown, strict=False):
        caption = f"{entry['set_name']}/{entry['name']} {read_scores(entry)['psnr']:.2f} dB"
        logger.log_image(key, [str(folder / entry["restored"])], step=last, caption=[caption])
