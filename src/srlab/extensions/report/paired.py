"""Paired differences of two configurations: a confidence interval, and the smallest difference to detect."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from scipy.special import nctdtrinc, stdtrit

from srlab.extensions.report.comparison import Configuration
from srlab.extensions.report.runs import Run, gap

CONFIDENCE, POWER = 0.95, 0.80

_ROUNDING_DB = 1e-9  # float64 leaves less in a mean of PSNR


@dataclass(frozen=True)
class PairedDifference:
    """PSNR in dB of one configuration less that of the baseline, paired by seed and by image.

    Attributes:
        mean: over the common seeds and the images; None if nothing is paired.
        seeds: that both have.
        low: lower end of the 95 % confidence interval; None if ``missing`` says why there is none.
        high: upper end.
        detectable: smallest true difference that the test |mean| > t se (two-sided, 5 %) finds with a
            probability of 80 %, given this spread and as many seeds and images.
        missing: what an interval needs and the runs do not have.
    """

    mean: float | None
    seeds: int
    low: float | None = None
    high: float | None = None
    detectable: float | None = None
    missing: str | None = None


def paired_difference(
    baseline: Configuration, other: Configuration, images: Collection[str]
) -> PairedDifference:
    """Of ``images``, by their keys; see :func:`interval` for the method."""
    theirs, ours = (_by_seed(each, images) for each in (baseline, other))
    seeds = sorted(theirs.keys() & ours.keys())
    runs = [scores[seed] for scores in (theirs, ours) for seed in seeds]
    names = sorted(runs[0]) if runs else []
    missing = _missing(seeds, runs)
    nothing = PairedDifference(None, len(seeds), missing=missing)
    if not names or any(run.keys() != runs[0].keys() for run in runs):
        return nothing
    differences = np.array([[gap(ours[seed][name], theirs[seed][name]) for name in names] for seed in seeds])
    if not np.isfinite(differences).all():
        return replace(nothing, missing="an image has no finite difference")
    only_mean = replace(nothing, mean=float(differences.mean()))
    if missing is not None:
        return only_mean
    if np.ptp(differences) < _ROUNDING_DB:
        return replace(only_mean, missing="all differences are equal, which leaves no spread to judge by")
    low, high, detectable = interval(differences)
    return replace(only_mean, low=low, high=high, detectable=detectable)


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """95 % confidence interval of the mean, and the difference that is detected with a power of 80 %.

    Both are of the t test with :func:`error_of_mean`; power is that of the noncentral t distribution (J.
    Cohen, "Statistical power analysis", 1988). Percentiles of the bootstrap would mean little, as three seeds
    have ten resamples. In simulations with 3 seeds and 18 images the interval holds the true mean in 95 % of
    the cases (99 % if seeds and images differ by nothing but their interaction), the bootstrap's percentiles
    in 73 to 97 %, and in 67 to 93 % where images are drawn for each seed by itself, as if seeds shared none.

    Args:
        differences: (S, I) in dB, S >= 2 seeds and I >= 2 images, not all equal.

    Returns:
        Lower end, upper end, detectable difference.
    """
    mean, (error, freedom) = differences.mean(), error_of_mean(differences)
    quantile = stdtrit(freedom, (1 + CONFIDENCE) / 2)
    detectable = nctdtrinc(freedom, 1 - POWER, quantile) * error
    return float(mean - quantile * error), float(mean + quantile * error), float(detectable)


def error_of_mean(differences: np.ndarray) -> tuple[float, float]:
    """Standard error for other seeds and other images like these, and its degrees of freedom.

    The error is that of the bootstrap which resamples the seeds and, for all of them alike, the images (A.
    B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2), 2007). One less than there are is
    drawn of each, without which few seeds would seem alike (P. J. McCarthy and C. B. Snowden, "The bootstrap
    and finite population sampling", 1985). For a mean the limit of infinitely many resamples is known, so
    that none is drawn::

        error^2 = s_seeds^2 / S + s_images^2 / I + s_rest^2 / (S I)

    with the variances of the seeds' means, of the images' means and of what both leave. The degrees of
    freedom are those of F. E. Satterthwaite (Biometrics Bulletin 2 (6), 1946).

    Args:
        differences: as for :func:`interval`.
    """
    seeds, images = differences.shape
    mean, of_seeds, of_images = differences.mean(), differences.mean(axis=1), differences.mean(axis=0)
    rest = differences - of_seeds[:, None] - of_images + mean
    freedom = np.array([seeds - 1, images - 1, (seeds - 1) * (images - 1)])
    squares = np.array([((of_seeds - mean) ** 2).sum(), ((of_images - mean) ** 2).sum(), (rest**2).sum()])
    parts = squares / freedom / (seeds, images, seeds * images)
    return float(np.sqrt(parts.sum())), float(parts.sum() ** 2 / (parts**2 / freedom).sum())


def _missing(seeds: Sequence[str], runs: Sequence[dict[str, float]]) -> str | None:
    if len(seeds) < 2:
        return f"{len(seeds) or 'no'} seed in common, an interval needs 2"
    if not all(runs):
        return "a run recorded no PSNR of single images"
    if any(run.keys() != runs[0].keys() for run in runs):
        return "the runs were not scored on the same images"
    return "1 image, an interval needs 2" if len(runs[0]) < 2 else None


def _by_seed(configuration: Configuration, images: Collection[str]) -> dict[str, dict[str, float]]:
    """PSNR by seed and image; a seed that was run several times counts with its means."""
    repeats = defaultdict(list)
    for run in configuration.finished:
        repeats[seed_of(run)].append({key: psnr for key, psnr in run.image_psnr.items() if key in images})
    means = {}
    for seed, runs in repeats.items():
        names = set.intersection(*map(set, runs))
        means[seed] = {name: fmean(run[name] for run in runs) for name in names}
    return means


def seed_of(run: Run) -> str:
    """A run without a seed is paired with none."""
    return str(run.source if run.seed is None else run.seed)
