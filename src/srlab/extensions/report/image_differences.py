"""Where one configuration restores better than another, image by image."""

import math
from dataclasses import dataclass
from statistics import fmean

from srlab.extensions.report.comparison import Comparison, Configuration
from srlab.extensions.report.parameters import differing_keys


@dataclass(frozen=True)
class ImageDifference:
    """PSNR in dB of one image under two configurations, means over seeds."""

    image: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        """Gain of the second; 0 if both are equal, also if both are exact (infinite)."""
        return 0.0 if self.first == self.second else self.second - self.first


@dataclass(frozen=True)
class PairComparison:
    """Two configurations: (key, value of each) of what is different, and images, the largest gain first."""

    first: Configuration
    second: Configuration
    differing: tuple[tuple[str, str, str], ...]
    images: tuple[ImageDifference, ...]

    @property
    def wins(self) -> int:
        """Images that the second restores better."""
        return sum(each.difference > 0 for each in self.images)

    @property
    def losses(self) -> int:
        """Images that the first restores better."""
        return sum(each.difference < 0 for each in self.images)

    @property
    def mean_difference(self) -> float | None:
        """Of all images, in dB; None without any, or if both infinities are among them."""
        differences = [each.difference for each in self.images]
        if not differences or {math.inf, -math.inf} <= set(differences):
            return None
        return fmean(differences)


def compare_images(first: Configuration, second: Configuration) -> PairComparison:
    """Of the images that both were scored on."""
    before, after = _image_psnr(first), _image_psnr(second)
    images = [ImageDifference(name, before[name], after[name]) for name in before if name in after]
    return PairComparison(
        first=first,
        second=second,
        differing=tuple(differing_keys(first.runs[0], second.runs[0])),
        images=tuple(sorted(images, key=lambda each: (-each.difference, each.image))),
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
    pairs = [compare_images(baseline, each) for each in others]
    return sorted(pairs, key=lambda pair: -fmean(run.psnr for run in pair.second.finished))


def _image_psnr(configuration: Configuration) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for run in configuration.finished:
        for image in run.images:
            if "psnr" in image.scores:
                values.setdefault(image.key, []).append(image.scores["psnr"])
    return {name: fmean(each) for name, each in values.items()}
