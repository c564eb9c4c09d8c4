"""The lab: every size in one interleaved run, then the figures that follow."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from srlab.counts.complexity import counted_backend
from srlab.counts.operations import multiply_adds_of, record_calls
from srlab.extensions.lab.conditions import (
    arithmetic,
    busy_warning,
    describe_machine,
    load_average,
)
from srlab.extensions.lab.latency import spread_of, time_ms
from srlab.extensions.lab.preparation import Workload
from srlab.extensions.lab.record import LabRecord, LabSettings
from srlab.extensions.lab.runtimes import find_run_time
from srlab.extensions.lab.session import Session, Timed
from srlab.extensions.lab.subjects import Plan
from srlab.models.network import AttentionNetwork, Network
from srlab.ops.subnormals import flush_subnormals

# Matrices grow until one product takes so long: by then the rate has settled.
_LONG_ENOUGH_MS = {"cpu": 50.0, "cuda": 5.0}
_FIRST_SIDE, _LAST_SIDE, _TRIALS = 256, 16384, 5


def run_lab(
    networks: Mapping[str, Network],
    plan: Plan,
    settings: LabSettings,
    *,
    lr_sizes: Sequence[tuple[int, int]],
    device: torch.device,
    command: str,
    threads: int | None = None,
    matmul_precision: str = "highest",
    progress: Callable[[str], None] = lambda _text: None,
) -> LabRecord:
    """Measure; after Ctrl-C the record holds the finished rounds and is marked incomplete.

    Args:
        networks: by name.
        plan: subjects and baseline.
        settings: batch, rounds, scale.
        lr_sizes: heights and widths of low-resolution images, one interleaved run for each.
        device: where.
        command: what was typed, for the record.
        threads: of the CPU; None: as torch has them.
        matmul_precision: of float32 products.
        progress: called with a line before each step.

    Raises:
        KeyboardInterrupt: before anything was timed.
        ValueError: every subject failed.
    """
    # kernels are launched on the current CUDA device
    current = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with current, flush_subnormals(), arithmetic(threads=threads, matmul_precision=matmul_precision):
        lab = _Lab(networks, plan, settings, device, progress, describe_machine(device, command=command))
        lab.measure(lr_sizes)
        return lab.record()


@dataclass
class _Lab:
    networks: Mapping[str, Network]
    plan: Plan
    settings: LabSettings
    device: torch.device
    progress: Callable[[str], None]
    conditions: dict[str, Any]
    complete: bool = False
    sessions: list[Session] = field(default_factory=list)
    matrix_rates: dict[str, float] = field(default_factory=dict)  # GFLOP/s by dtype

    def measure(self, lr_sizes: Sequence[tuple[int, int]]) -> None:
        """Fill ``sessions`` and ``matrix_rates``; ``complete`` stays False after Ctrl-C."""
        batch, training = self.settings.batch, self.settings.step == "training"
        with suppress(KeyboardInterrupt):
            for size in lr_sizes:
                workload = Workload(lr_size=size, batch=batch, device=self.device, training=training)
                self.sessions.append(Session(self.networks, workload, self.progress))
                self._measure_matrix_rates()
                self.sessions[-1].prepare(self.plan.subjects)
                self.sessions[-1].time(warmup=self.settings.warmup, repeats=self.settings.repeats)
                self.sessions[-1].release()
            self._measure_matrix_rates()
            self.complete = True

    def record(self) -> LabRecord:
        """What was measured."""
        sizes = list(map(self._size_run, self.sessions))
        if not any(each["rounds"] for run in sizes for each in run["subjects"]):
            if not self.complete:
                raise KeyboardInterrupt
            reasons = "; ".join(f"{each.subject}: {each.reason}" for run in sizes for each in run["failed"])
            raise ValueError(f"every subject failed ({reasons})")
        others = [each.others for each in self.sessions if each.others is not None]
        self.conditions["load_average_after"] = load_average()
        self.conditions["other_programs_cores"] = max(others, default=None)
        return LabRecord(
            complete=self.complete,
            conditions=self.conditions,
            settings=self.settings,
            matrix_gflop_per_s=self.matrix_rates,
            sizes=sizes,
            skipped=self.plan.skipped,
            notes=list(self._notes(sizes)),
        )

    def _size_run(self, session: Session) -> dict[str, Any]:
        """Heights come before widths."""
        height, width = session.workload.lr_size
        return {
            "lr_size": (height, width),
            "output_size": (height * self.settings.scale, width * self.settings.scale),
            "subjects": [self._figures(session, each) for each in session.timed.values()],
            "failed": session.failed,
        }

    def _measure_matrix_rates(self) -> None:
        """Keep the best rate of each dtype, taken before and after the rounds: machines slow down."""
        if self.settings.step == "training":
            return
        self.progress("measuring the rate of matrix products")
        for dtype in dict.fromkeys(subject.dtype for subject in self.plan.subjects):
            rate = _matrix_gflop_per_s(self.device, getattr(torch, dtype))
            self.matrix_rates[dtype] = max(self.matrix_rates.get(dtype, 0.0), rate)

    def _figures(self, session: Session, timed: Timed) -> dict[str, Any]:
        """None stands for what is not measured or not defined."""
        subject, lr_size = timed.subject, session.workload.lr_size
        network = self.networks[subject.model]
        times = session.times(subject.label)
        time = spread_of(times) if times else None
        rate = self.settings.batch * 1e3 / time.median if time else None
        output_pixels = lr_size[0] * lr_size[1] * self.settings.scale**2
        counted = timed.backend
        if not isinstance(network, AttentionNetwork):
            counted = None
        elif find_run_time(counted) is not None:
            counted = network.exported_backend
        elif counted is not None:
            counted = counted_backend(network, counted)
        multiply_adds = None  # there is no agreed count of a training step
        if self.settings.step == "inference":
            multiply_adds = sum(map(multiply_adds_of, record_calls(network, lr_size, backend=counted)))
        gflop = 2 * multiply_adds * rate / 1e9 if multiply_adds is not None and rate else None
        return {
            "label": subject.label,
            **asdict(subject),
            "resolved_backend": timed.backend,  # the one that ran where "backend" is auto
            "padded_size": [-(-side // network.size_multiple) * network.size_multiple for side in lr_size],
            "rounds": len(times),
            "time_ms": time,  # of one pass or step of the batch
            "speedup": session.speedup(subject.label, self.plan.baseline),
            "images_per_second": rate,
            "megapixels_per_second": rate * output_pixels / 1e6 if rate else None,
            "memory": timed.memory,
            "multiply_adds": multiply_adds,  # executed for one image, padding included
            "multiply_adds_of": counted,  # the back end whose arithmetic was counted
            "gflop_per_second": gflop,  # two operations for each multiply-add
            "share_of_matrix_rate": None if gflop is None else gflop / self.matrix_rates[subject.dtype],
        }

    def _notes(self, sizes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """One sentence for everything that is missing, doubtful or easily misread."""
        if not self.complete:
            yield "interrupted: only the finished rounds are reported"
        busy = busy_warning(self.conditions)
        if busy:
            yield busy
        yield from (f"skipped {each.subject}: {each.reason}" for each in self.plan.skipped)
        for run in sizes:
            size = f"{run['lr_size'][0]}x{run['lr_size'][1]}"
            yield from (f"not measured at {size}: {each.subject}: {each.reason}" for each in run["failed"])
            if all(each["speedup"] is None for each in run["subjects"]):
                yield f"no speed-ups at {size}: the baseline {self.plan.baseline} was not timed"
        figures = {each["label"]: each for run in sizes for each in run["subjects"]}
        for label, each in figures.items():
            counted = each["multiply_adds_of"]
            if each["multiply_adds"] is not None and counted not in (None, each["resolved_backend"]):
                yield f"multiply-adds of {label} are those of {counted}: compiled operators cannot be counted"
        if any((each["share_of_matrix_rate"] or 0) > 1 for each in figures.values()):
            yield "a share of the matrix rate above 1: its measurement was disturbed; measure again"


def _matrix_gflop_per_s(device: torch.device, dtype: torch.dtype) -> float:
    side = _FIRST_SIDE
    while True:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        product = functools.partial(torch.mm, left, right)
        with torch.inference_mode():
            milliseconds = min(time_ms(product, device) for _ in range(_TRIALS))
        if milliseconds >= _LONG_ENOUGH_MS[device.type] or side == _LAST_SIDE:
            return 2 * side**3 / milliseconds / 1e6
        side *= 2
