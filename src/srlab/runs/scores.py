"""Reads scores from the JSON records of a run, in today's layout and in that of srlab 0.1.0."""

from collections.abc import Mapping
from typing import Any

# srlab 0.1.0 knew two metrics, each in a field of its own: psnr, ssim, bicubic_psnr, bicubic_ssim.
_EARLIER_METRICS = ("psnr", "ssim")


def read_scores(record: Mapping[str, Any], field: str = "scores") -> dict[str, float]:
    """{metric: value} of a set's mean or of an image, as ``summary.json`` and ``evaluation.json`` hold them.

    Args:
        record: of a set or an image, ``{"scores": {"psnr": 32.1, …}, …}``; of srlab 0.1.0: ``{"psnr": …}``.
        field: ``scores``, or ``bicubic`` for those of bicubic interpolation of the same image.

    Returns:
        Every metric that was recorded; empty where there is none.
    """
    if isinstance(record.get(field), Mapping):
        return {name: float(value) for name, value in record[field].items() if value is not None}
    prefix = "" if field == "scores" else f"{field}_"
    found = {name: record.get(f"{prefix}{name}") for name in _EARLIER_METRICS}
    return {name: float(value) for name, value in found.items() if value is not None}
