"""Where one configuration restores better than another, image by image."""

import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean

from srlab.extensions.report.comparison import Comparison, Configuration
from srlab.extensions.report.parameters import differing_keys


@dataclass(frozen=True)
class ImageDifference:
    """PSNR in dB of one image under two configurations, means over seeds.

    ``difference`` is the gain of the second; 0 if both are equal, also if both are exact (infinite).
    """

    image: str
    first: float
    second: float
    difference: float


@dataclass(frozen=True)
class PairComparison:
    """Two configurations: (key, value of each) of what is different, and images, the largest gain first.

    The second wins where it restores an image better. ``mean_difference`` is in dB; None without images, or
    if both infinities are among the differences.
    """

    first: Configuration
    second: Configuration
    differing: tuple[tuple[str, str, str], ...]
    images: tuple[ImageDifference, ...]
    wins: int
    losses: int
    mean_difference: float | None


def compare_images(first: Configuration, second: Configuration) -> PairComparison:
    """Of the images that both were scored on."""
    before, after = _image_psnr(first), _image_psnr(second)
    images = []
    for name, old in before.items():
        if name in after:
            new = after[name]
            images.append(ImageDifference(name, old, new, 0.0 if old == new else new - old))
    images.sort(key=lambda each: (-each.difference, each.image))
    differences = [each.difference for each in images]
    has_mean = differences and not {math.inf, -math.inf} <= set(differences)
    return PairComparison(
        first=first,
        second=second,
        differing=tuple(differing_keys(first.runs[0], second.runs[0])),
        images=tuple(images),
        wins=sum(each > 0 for each in differences),
        losses=sum(each < 0 for each in differences),
        mean_difference=fmean(differences) if has_mean else None,
    )


def compare_with_baseline(comparison: Comparison) -> list[PairComparison]:
    """Every other configuration that finished, the best first; if there is none, the first two seeds."""
    baseline = comparison.baseline
    if baseline is None:
        return []
    others = [each for each in comparison.finished if each is not baseline]
    if not others and len(baseline.finished) > 1:
        runs = baseline.finished[:2]
        first, second = (Configuration(baseline.number, baseline.values, run.name, (run,)) for run in runs)
        return [compare_images(first, second)]
    others.sort(key=lambda each: -fmean(run.psnr for run in each.finished))
    return [compare_images(baseline, each) for each in others]


def _image_psnr(configuration: Configuration) -> dict[str, float]:
    values = defaultdict(list)
    for run in configuration.finished:
        for image in run.images:
            if "psnr" in image.scores:
                values[image.key].append(image.scores["psnr"])
    return {name: fmean(each) for name, each in values.items()}
