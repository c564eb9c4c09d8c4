"""The score of the NTIRE challenges on efficient super-resolution.

Source: README.md of github.com/Amazingren/NTIRE{2024,2025,2026}_ESR. Each of runtime, multiply-adds and
parameters scores exp(2 x / baseline); the total is their weighted sum, 7.3891 for the baseline; the lower the
better. Networks must reach 26.90 dB on the validation and 26.99 dB on the test images (RGB, border 4).
"""

import math
from dataclasses import dataclass

__all__ = ["NTIRE_YEARS", "NtireYear", "ntire_score"]


@dataclass(frozen=True)
class NtireYear:
    """One year's baseline and weights.

    Attributes:
        baseline: name of the baseline network.
        device: that its runtime was measured on; other devices' runtimes do not compare.
        runtime_ms: of the baseline.
        multiply_adds: of the baseline, for an input of 256x256, counted by fvcore.
        parameters: of the baseline.
        weights: of runtime, multiply-adds and parameters.
    """

    baseline: str
    device: str
    runtime_ms: float
    multiply_adds: float
    parameters: float
    weights: tuple[float, float, float]


#: The 2026 runtime is that of the organisers' final table (results.txt); their README's example has 5.59 ms.
NTIRE_YEARS = {
    2024: NtireYear("RLFN", "NVIDIA GeForce RTX 3090", 13.54, 19.67e9, 0.317e6, (0.7, 0.15, 0.15)),
    2025: NtireYear("EFDN", "NVIDIA RTX A6000", 16.69, 16.70e9, 0.276e6, (0.7, 0.15, 0.15)),
    2026: NtireYear("SPAN", "NVIDIA RTX A6000", 7.74, 9.83e9, 0.151e6, (0.8, 0.1, 0.1)),
}


def ntire_score(runtime_ms: float, multiply_adds: float, parameters: float, *, year: int) -> float:
    """Final score of a network that reaches the demanded PSNR; infinite where a term overflows.

    Args:
        runtime_ms: mean over the challenge's images, on the year's device, see :data:`NTIRE_YEARS`.
        multiply_adds: for an input of 256x256 as fvcore counts, see convention ``ntire``.
        parameters: all of them.
        year: 2024, 2025 or 2026.

    Raises:
        ValueError: no weights are known for ``year``, or a cost is negative or not a number.
    """
    if year not in NTIRE_YEARS:
        known = ", ".join(map(str, NTIRE_YEARS))
        raise ValueError(f"the baseline and weights of NTIRE {year} are not known; choose one of {known}")
    rules = NTIRE_YEARS[year]
    costs = {"runtime_ms": runtime_ms, "multiply_adds": multiply_adds, "parameters": parameters}
    for name, cost in costs.items():
        if not cost >= 0:
            raise ValueError(f"{name} must be 0 or more, got {cost}")
    terms = zip(rules.weights, costs.items(), strict=True)
    return sum(weight * _exp(2 * cost / getattr(rules, name)) for weight, (name, cost) in terms)


def _exp(exponent: float) -> float:
    try:
        return math.exp(exponent)
    except OverflowError:
        return math.inf
