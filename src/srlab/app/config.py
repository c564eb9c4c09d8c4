"""Typed schemas of what YAML may set. Plain data: no torch, no behaviour."""

from dataclasses import dataclass, field
from typing import Any

from srlab.metrics.protocol import ProtocolConfig


@dataclass(kw_only=True)
class ShiftScheduleConfig:
    """Which attention blocks shift their windows cyclically."""

    pattern: Any
    """``alternate``, ``every``, ``none``, ``late``, or one boolean for each block."""


@dataclass(kw_only=True)
class PathsConfig:
    """Folders; no other group in ``conf/`` names any."""

    data: str
    cache: str
    name: str
    new_run: str
    run: str


@dataclass(kw_only=True)
class LatencyConfig:
    """How the cost of a network is measured."""

    output_size: tuple[int, int]
    """Height and width of the restored image that latency and peak memory are measured at."""
    warmup: int
    """Forward passes before the clock starts."""
    repeats: int
    """Forward passes timed one by one; 0: neither latency nor memory is measured."""


@dataclass(kw_only=True)
class LimitsConfig:
    """What a network may cost to be trained at all."""

    parameters: float | None = None
    """All parameters, frozen ones too; None for any number."""
    multiply_adds: float | None = None
    """Of the official formulation at 1280x720; None for any number."""


@dataclass(kw_only=True)
class LatencyLimitConfig(LatencyConfig):
    """How long a network may take to be trained at all."""

    limit_ms: float | None = None
    """Median milliseconds of one forward pass, above which a run ends before its first step; None for any."""


@dataclass(kw_only=True)
class ExperimentConfig:
    """What training and evaluation share; nodes of type ``Any`` are checked by their ``_target_``."""

    scale: Any
    seed: int
    model: Any = None
    shift_schedule: ShiftScheduleConfig
    data: Any
    degradation: Any
    protocol: dict[str, ProtocolConfig] = field(default_factory=dict)
    metrics: list[str] = field(default_factory=lambda: ["psnr", "ssim"])
    """Names of modules in ``srlab.metrics``."""
    paths: PathsConfig
    matmul_precision: str


@dataclass(kw_only=True)
class TrainConfig(ExperimentConfig):
    """``conf/train.yaml``."""

    scale: int
    latency: LatencyLimitConfig
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    loss: Any
    optimizer: Any
    scheduler: Any
    trainer: Any
    callbacks: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)
    resume: str | None = None
    """A run's folder, one of its checkpoints, or ``auto``."""
    rerun: str | None = None
    """A run whose configuration is trained again."""
    initial_weights: str | None = None
    compile: Any = False
    """Whether, or in which mode, training steps run through ``torch.compile``."""
    threads: int | None = None
    """Of torch on a CPU; None: its own choice, which the run then keeps."""
    activation_checkpointing: bool = False
    """Whether blocks are computed again in the backward pass instead of being kept."""
    on_nan: str = "stop"
    """What follows a NaN/inf or spiked loss: ``stop`` or ``skip``."""
    loss_spike_factor: float | None = 100.0
    """A loss above this many times its running median is bad, too; None: only NaN/inf."""
    validate_every: int = 2000
    saved_images: int = 20
    """How many restored validation images the finished run leaves at most."""


@dataclass(kw_only=True)
class EvaluateConfig(ExperimentConfig):
    """``conf/evaluate.yaml``."""

    scale: Any = None
    """A number, a list of several, or None: the network's own."""
    latency: LatencyConfig
    checkpoint: str | None = None
    pretrained: bool = False
    """Whether ``model`` has the weights that come with srlab."""
    backend: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    device: str
    tile: Any = "auto"
    """LR side of the tiles that images are restored in; 0: whole; ``auto``: whole where memory allows."""
    exact: bool = False
    """Whether tiles overlap by the whole receptive reach."""
    ensemble: bool = False
    """Whether the mean of eight flips and turns is scored."""
    save_images: bool
