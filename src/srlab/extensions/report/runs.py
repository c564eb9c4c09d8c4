"""The data of a run that a report uses: its configuration, scores, costs, curves and how it ended."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

FINISHED = "finished"
_Scores = Mapping[str, float]  # by metric


@dataclass(frozen=True)
class ImageScore:
    """One validation image; ``hr_file`` is its source, ``restored`` the saved PNG, if there is one."""

    set_name: str
    name: str
    scores: _Scores
    hr_file: str | None
    restored: str | None

    @property
    def key(self) -> str:
        """``set/name``."""
        return f"{self.set_name}/{self.name}"


@dataclass(frozen=True)
class RunCosts:
    """What the network of a run costs; None if it was not measured.

    Attributes:
        output_size: height and width that latency and memory are for; multiply-adds are for 1280x720.
        is_busy: whether other programs needed the same cores during the timing.
    """

    params: int | None = None
    multiply_adds: int | None = None
    latency_ms: float | None = None
    latency_p10_ms: float | None = None
    latency_p90_ms: float | None = None
    memory_mib: float | None = None
    device: str | None = None
    output_size: tuple[int, int] | None = None
    is_busy: bool = False


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, finished or not.

    Attributes:
        source: its folder.
        state: ``finished``, ``running``, ``failed``, ``stopped``, ``killed``, ``unfinished``,
            ``over_limit`` or ``not started``; ``gray=own`` if its scores were left out because other
            runs count gray images differently.
        sweep: folder of its sweep.
        config: resolved configuration by dotted key.
        derived: keys of it that are computed from other keys.
        swept: what the sweep sets for this cell, as typed.
        sweep_order: all values of each swept key, in the sweep's order.
        scores: by validation set and metric, of the best checkpoint.
        curves: (step, value) by metric key.
        conditions: commit, date, versions, as in the summary.
        protocol: settings of the scoring protocol; empty if unknown.
        gray_rule: ``replicate`` or ``own``; None if no gray image was scored.
        launcher: Hydra's launcher of the sweep: ``basic`` (one cell after the other), ``joblib`` …
        problems: files that could not be read.
    """

    source: str
    name: str
    state: str
    sweep: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    derived: frozenset[str] = frozenset()
    swept: Mapping[str, str] = field(default_factory=dict)
    sweep_order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scores: Mapping[str, _Scores] = field(default_factory=dict)
    image_counts: Mapping[str, int | None] = field(default_factory=dict)
    images: tuple[ImageScore, ...] = ()
    costs: RunCosts = RunCosts()
    curves: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    gray_rule: str | None = None
    step: int | None = None
    steps: int | None = None
    attempts: int | None = None
    launcher: str | None = None
    message: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether it has scores to compare."""
        return self.state == FINISHED and bool(self.scores)

    @property
    def psnr(self) -> float:
        """Mean over the sets of their mean PSNR in dB; NaN without scores."""
        return fmean(each.get("psnr", math.nan) for each in self.scores.values()) if self.scores else math.nan

    @property
    def image_psnr(self) -> dict[str, float]:
        """PSNR in dB of each image that has one, by the image's key."""
        return {each.key: each.scores["psnr"] for each in self.images if "psnr" in each.scores}

    @property
    def seed(self) -> Any:
        """Seed of the random numbers; None if unknown."""
        return self.config.get("seed", self.swept.get("seed"))

    @property
    def network(self) -> str | None:
        """The preset that was named on the command line, from ``paths.name`` without the scale."""
        name, scale = self.config.get("paths.name"), self.config.get("scale")
        return name.removesuffix(f"_x{scale}") if isinstance(name, str) else self.swept.get("model")


def gap(one: float, other: float) -> float:
    """``one - other``; 0 if both are equal, also if both are infinite."""
    return 0.0 if one == other else one - other
