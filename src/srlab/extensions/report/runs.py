"""What a run is to a report: its configuration, scores, costs, curves and how it ended."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

__all__ = ["FINISHED", "ImageScore", "Run", "RunCosts", "Score"]

FINISHED = "finished"


@dataclass(frozen=True)
class Score:
    """Means over the images of one validation set: PSNR in dB, SSIM."""

    images: int | None
    psnr: float
    ssim: float | None


@dataclass(frozen=True)
class ImageScore:
    """One validation image, beside bicubic interpolation.

    Attributes:
        hr_file: source of the reference.
        restored: the restoration as PNG; None where it was not saved.
    """

    set_name: str
    name: str
    psnr: float
    ssim: float
    bicubic_psnr: float | None
    hr_file: str | None
    restored: str | None

    @property
    def key(self) -> str:
        """``set/name``."""
        return f"{self.set_name}/{self.name}"


@dataclass(frozen=True)
class RunCosts:
    """What the network of a run costs; None where not measured.

    Attributes:
        multiply_adds: for 1280x720 output.
        output_size: height and width that latency and memory are for.
        subnormals: ``flushed`` or ``kept`` while latency was timed; None in older records, which kept them.
        is_busy: whether other programs needed the same cores meanwhile.
    """

    params: int | None = None
    multiply_adds: int | None = None
    latency_ms: float | None = None
    latency_p10_ms: float | None = None
    latency_p90_ms: float | None = None
    memory_mib: float | None = None
    device: str | None = None
    output_size: tuple[int, int] | None = None
    subnormals: str | None = None
    is_busy: bool = False


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, finished or not.

    Attributes:
        source: its folder, or its address at W&B.
        name: of the cell in its sweep, or of the folder.
        sweep: folder of its sweep, or group at W&B.
        state: ``finished``, ``running``, ``failed``, ``stopped``, ``killed``, ``unfinished``,
            ``over_latency_limit`` or ``not started``; ``gray=own`` where its scores were left out, since
            others count gray images otherwise.
        config: resolved configuration, flat.
        derived: keys of it that are computed from others.
        swept: what the sweep sets for this cell, as typed.
        sweep_order: every value that the sweep gives to each key, in its order.
        scores: by set, of the best checkpoint.
        bicubic: likewise.
        curves: (step, value) by metric.
        conditions: commit, date, versions, as the summary has them.
        launcher: what started the cells of its sweep: ``basic``, one after the other, ``joblib`` …
        attempt_times: when each attempt of a cell started and ended, ISO; None for an end that nobody saw.
        protocol: its name.
        gray_rule: what gray references count as under it, ``replicate`` or ``own``; None if none was scored.
        message: why it failed.
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
    scores: Mapping[str, Score] = field(default_factory=dict)
    bicubic: Mapping[str, Score] = field(default_factory=dict)
    images: tuple[ImageScore, ...] = ()
    costs: RunCosts = RunCosts()
    curves: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    protocol: str | None = None
    gray_rule: str | None = None
    protocol_details: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None
    steps: int | None = None
    attempts: int | None = None
    launcher: str | None = None
    attempt_times: tuple[tuple[str, str | None], ...] = ()
    message: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether it has scores to compare."""
        return self.state == FINISHED and bool(self.scores)

    @property
    def psnr(self) -> float:
        """Mean over the sets of their mean PSNR in dB; NaN without scores."""
        return fmean(score.psnr for score in self.scores.values()) if self.scores else math.nan

    @property
    def seed(self) -> Any:
        """What the random numbers began with; None where that is unknown."""
        return self.config.get("seed", self.swept.get("seed"))

    @property
    def network(self) -> str | None:
        """The preset that the command line named, as ``paths.name`` has it, without the scale."""
        name, scale = self.config.get("paths.name"), self.config.get("scale")
        return name.removesuffix(f"_x{scale}") if isinstance(name, str) else self.swept.get("model")
