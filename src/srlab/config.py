"""Typed schemas of what YAML may set. Plain data: no torch, no behaviour."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

__all__ = [
    "OVER_LATENCY_LIMIT",
    "Arithmetic",
    "ColorSpace",
    "EvaluateConfig",
    "GrayRule",
    "InputPadding",
    "LatencyConfig",
    "LatencyLimitConfig",
    "ProtocolConfig",
    "TrainConfig",
]

# Exit status of a run whose network is slower than ``latency.limit_ms``.
OVER_LATENCY_LIMIT = 3


class ColorSpace(Enum):
    """What PSNR and SSIM compare."""

    y = auto()
    """Luma of ITU-R BT.601, studio swing (black 16, white 235), as MATLAB's rgb2ycbcr."""
    rgb = auto()
    """All three channels: PSNR pools their squared errors, SSIM is the mean over channels."""


class Arithmetic(Enum):
    """Precision in which pixels become a score; PSNR itself is always in float64."""

    double = auto()
    """BasicSR's: luma rounded to float32 once on the way, everything else in float64."""
    single = auto()
    """ELAN's: luma and SSIM in float32."""
    eight_bit = auto()
    """Luma rounded to uint8, as MATLAB scripts that read and write 8-bit images do; then float64."""


class GrayRule(Enum):
    """How a restored RGB image is held against a gray reference."""

    replicate = auto()
    """The reference counts as three equal channels and is scored like any other image, as by BasicSR's and
    ELAN's code, which read every file as colour: the rows of networks in published tables."""
    own = auto()
    """The gray values are their own luma, black 0 and white 255, as in MATLAB scripts: 20*log10(255/219) =
    1.32 dB lower under a luma. The bicubic rows of published tables."""


class InputPadding(Enum):
    """How an LR image reaches a multiple of the network's window; the output is cropped to match."""

    model = auto()
    """Not at all: the network pads itself."""
    swinir_test = auto()
    """SwinIR's test script: mirrored with the edge pixel repeated, always by a row and column or more."""
    esc_validation = auto()
    """ESC's validation: mirrored without the edge pixel, up to the next multiple."""


@dataclass
class ProtocolConfig:
    """How a restored image is scored; its name travels with every number."""

    name: str
    color: ColorSpace
    quantize: bool
    """Round the restored image to 8 bits first, as saving it would."""
    border: int
    """High-resolution pixels left out on each side."""
    arithmetic: Arithmetic
    gray: GrayRule
    padding: InputPadding = InputPadding.model
    bicubic_only: bool = False
    """Scores bicubic interpolation of the luma itself, from the HR image alone; no network takes part."""


@dataclass(kw_only=True)
class ShiftScheduleConfig:
    """Which attention blocks shift their windows cyclically."""

    pattern: Any
    """``alternate``, ``every``, ``none``, ``late``, or one boolean for each block."""


@dataclass(kw_only=True)
class PathsConfig:
    """Where things lie; nothing else in ``conf/`` names a folder."""

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
    """Forward passes timed one by one."""


@dataclass(kw_only=True)
class LatencyLimitConfig(LatencyConfig):
    """What a network may cost to be trained at all."""

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
    paths: PathsConfig
    matmul_precision: str


@dataclass(kw_only=True)
class TrainConfig(ExperimentConfig):
    """``conf/train.yaml``."""

    scale: int
    latency: LatencyLimitConfig
    loss: Any
    optimizer: Any
    scheduler: Any
    trainer: Any
    callbacks: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)
    resume: str | None = None
    """A run's folder, one of its checkpoints, or ``auto``."""
    rerun: str | None = None
    """A run whose configuration is run once more."""
    initial_weights: str | None = None
    compile: Any = False
    """Whether, or in which mode, training steps run through ``torch.compile``."""
    threads: int | None = None
    """Of torch on a CPU; None: its own choice, which the run then keeps."""
    activation_checkpointing: bool = False
    """Whether blocks are computed again in the backward pass instead of being kept."""
    on_nan: str = "stop"
    """What follows a loss that is no number or explodes: ``stop``, ``skip`` or ``rewind``."""
    explosion: float | None = 100.0
    """How many times its running median a loss may reach; None: any."""
    validate_every: int = 2000
    saved_images: int = 20
    """How many restored validation images the finished run leaves at most."""


@dataclass(kw_only=True)
class EvaluateConfig(ExperimentConfig):
    """``conf/evaluate.yaml``."""

    scale: int | None = None
    latency: LatencyConfig
    checkpoint: str | None = None
    backend: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    device: str
    cuda_graphs: bool = False
    """Whether images are restored by replaying a recorded graph for each size."""
    save_images: bool
