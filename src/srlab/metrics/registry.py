"""The metrics by name.

To add one, write ``srlab/metrics/<name>.py`` with ``METRIC = Metric(name="<name>", …)``. Validation curves,
tables, summaries and reports show it wherever ``metrics=[psnr,<name>]`` asks for it.
"""

import functools
import importlib
import importlib.util
import math
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

DEFAULT_METRICS = ("psnr", "ssim")

_PACKAGE = "srlab.metrics"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Compares restored images with their references, or judges them alone.

    Attributes:
        name: key in records and curves, and the name of its module.
        label: heading in tables.
        compute: maps two (B, C, H, W) batches of one shape and the largest pixel value to (B,) in float64.
        compute_alone: in its place for a metric without reference: maps the restored batch and the largest
            pixel value to (B,). It does not get the reference.
        higher_is_better: False for distances.
        decimals: printed in tables.
        unit: such as ``dB``; empty for none.
        least_side: pixels that each side must have.
        needs_rgb: compares RGB under every protocol, instead of the protocol's colour space.
        prepare: raises an error if the metric cannot be computed, because its weights are missing, say.
    """

    name: str
    label: str
    compute: Callable[[Tensor, Tensor, float], Tensor] | None = None
    compute_alone: Callable[[Tensor, float], Tensor] | None = None
    higher_is_better: bool
    decimals: int
    unit: str = ""
    least_side: int = 1
    needs_rgb: bool = False
    prepare: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        assert (self.compute is None) != (self.compute_alone is None)

    def __call__(self, restored: Tensor, reference: Tensor, *, peak: float) -> Tensor:
        """Value for each image.

        Args:
            restored: (B, C, H, W), same range as ``reference``.
            reference: (B, C, H, W).
            peak: largest possible value, 1 or 255.

        Returns:
            (B,) in float64.
        """
        if restored.shape != reference.shape or restored.ndim != 4 or math.prod(restored.shape) == 0:
            raise ValueError(
                "restored and reference must be (B, C, H, W) of one shape and not empty, "
                f"got {tuple(restored.shape)} and {tuple(reference.shape)}"
            )
        height, width = restored.shape[-2:]
        if min(height, width) < self.least_side:
            raise ValueError(
                f"{self.label} needs at least {self.least_side}x{self.least_side} pixels, got "
                f"{height}x{width}; score larger images or use a smaller border"
            )
        if self.compute is not None:
            return self.compute(restored, reference, peak)
        assert self.compute_alone is not None
        return self.compute_alone(restored, peak)

    @property
    def needs_reference(self) -> bool:
        """Whether it compares."""
        return self.compute is not None

    @property
    def heading(self) -> str:
        """Label and unit: ``PSNR (dB)``."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def show(self, value: float) -> str:
        """The value as tables print it."""
        return f"{value:.{self.decimals}f}"


@functools.cache
def list_metrics() -> tuple[str, ...]:
    """Names of all metrics; imports them all."""
    package = importlib.import_module(_PACKAGE)
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return tuple(n for n in names if hasattr(importlib.import_module(f"{_PACKAGE}.{n}"), "METRIC"))


def find_metric(name: str) -> Metric:
    """The metric called ``name``.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    module = f"{_PACKAGE}.{name}"
    is_there = name.isidentifier() and importlib.util.find_spec(module) is not None
    metric = getattr(importlib.import_module(module), "METRIC", None) if is_there else None
    if metric is None:
        raise ValueError(f"there is no metric {name!r}; choose from {', '.join(list_metrics())}")
    return metric


def ready_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics called ``names``, each checked to be computable here.

    Raises:
        ValueError: for an unknown or repeated name, or an empty list.
        FileNotFoundError: the weights of one are missing.
    """
    names = list(names)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"metrics must name at least one metric, each once, got [{', '.join(names)}]")
    metrics = tuple(map(find_metric, names))
    for metric in metrics:
        if metric.prepare is not None:
            metric.prepare()
    return metrics
