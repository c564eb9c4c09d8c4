"""The lab: every size in one interleaved run, then the figures that follow."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace

import torch

from srlab.counts.complexity import counted_backend
from srlab.counts.operations import multiply_adds_of, record_calls
from srlab.extensions.lab.conditions import (
    LabConditions,
    arithmetic,
    busy_warning,
    describe_machine,
    load_average,
)
from srlab.extensions.lab.latency import spread_of, time_ms
from srlab.extensions.lab.preparation import Workload
from srlab.extensions.lab.record import Figures, LabRecord, LabSettings, SizeRun
from srlab.extensions.lab.session import Session, Timed
from srlab.extensions.lab.subjects import Plan
from srlab.models.network import AttentionNetwork, Network
from srlab.ops.subnormals import flush_subnormals

__all__ = ["run_lab"]

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
    training = settings.step == "training"
    with _current(device), flush_subnormals(), arithmetic(threads=threads, matmul_precision=matmul_precision):
        conditions = describe_machine(device, command=command)
        lab = _Lab(networks, plan, settings, device, progress)
        complete = lab.measure(
            [
                Workload(lr_size=size, batch=settings.batch, device=device, training=training)
                for size in lr_sizes
            ]
        )
        sizes = tuple(map(lab.size_run, lab.sessions))
    if not any(each.rounds for run in sizes for each in run.subjects):
        if not complete:
            raise KeyboardInterrupt
        reasons = "; ".join(f"{each.subject}: {each.reason}" for run in sizes for each in run.failed)
        raise ValueError(f"every subject failed ({reasons})")
    others = [each.others for each in lab.sessions if each.others is not None]
    conditions = replace(
        conditions, load_average_after=load_average(), other_programs_cores=max(others, default=None)
    )
    return LabRecord(
        complete=complete,
        conditions=conditions,
        settings=settings,
        matrix_gflop_per_s=lab.matrix_rates,
        sizes=sizes,
        skipped=plan.skipped,
        notes=tuple(_notes(plan, conditions, sizes, complete)),
    )


@dataclass
class _Lab:
    networks: Mapping[str, Network]
    plan: Plan
    settings: LabSettings
    device: torch.device
    progress: Callable[[str], None]
    sessions: list[Session] = field(default_factory=list)
    matrix_rates: dict[str, float] = field(default_factory=dict)  # GFLOP/s by dtype

    def measure(self, workloads: Sequence[Workload]) -> bool:
        """False if Ctrl-C came before the end."""
        try:
            for workload in workloads:
                self.sessions.append(Session(self.networks, workload, self.progress))
                self._measure_matrix_rates()
                self.sessions[-1].prepare(self.plan.subjects)
                self.sessions[-1].time(warmup=self.settings.warmup, repeats=self.settings.repeats)
                self.sessions[-1].release()
            self._measure_matrix_rates()
        except KeyboardInterrupt:
            return False
        return True

    def size_run(self, session: Session) -> SizeRun:
        """What is reported of one size."""
        height, width = session.workload.lr_size
        return SizeRun(
            lr_size=(height, width),
            output_size=(height * self.settings.scale, width * self.settings.scale),
            subjects=tuple(self._figures(session, each) for each in session.timed.values()),
            failed=tuple(session.failed),
        )

    def _measure_matrix_rates(self) -> None:
        """Keep the best rate of each dtype, taken before and after the rounds: machines slow down."""
        if self.settings.step == "training":
            return
        self.progress("measuring the rate of matrix products")
        for dtype in dict.fromkeys(subject.dtype for subject in self.plan.subjects):
            rate = _matrix_gflop_per_s(self.device, getattr(torch, dtype))
            self.matrix_rates[dtype] = max(self.matrix_rates.get(dtype, 0.0), rate)

    def _figures(self, session: Session, timed: Timed) -> Figures:
        subject, lr_size = timed.subject, session.workload.lr_size
        network = self.networks[subject.model]
        times = session.times(subject.label)
        time = spread_of(times) if times else None
        rate = self.settings.batch * 1e3 / time.median if time else None  # images per second
        counted = timed.backend
        if isinstance(network, AttentionNetwork) and counted is not None:
            counted = counted_backend(network, counted)
        multiply_adds = None  # there is no agreed count of a training step
        if self.settings.step == "inference":
            multiply_adds = sum(map(multiply_adds_of, record_calls(network, lr_size, backend=counted)))
        gflop = 2 * multiply_adds * rate / 1e9 if multiply_adds is not None and rate else None
        height, width = (-(-side // network.size_multiple) * network.size_multiple for side in lr_size)
        return Figures(
            label=subject.label,
            **asdict(subject),
            resolved_backend=timed.backend,
            padded_size=(height, width),
            rounds=len(times),
            time_ms=time,
            speedup=session.speedup(subject.label, self.plan.baseline),
            images_per_second=rate,
            megapixels_per_second=rate * lr_size[0] * lr_size[1] * self.settings.scale**2 / 1e6
            if rate
            else None,
            memory=timed.memory,
            multiply_adds=multiply_adds,
            multiply_adds_of=counted,
            gflop_per_second=gflop,
            share_of_matrix_rate=None if gflop is None else gflop / self.matrix_rates[subject.dtype],
        )


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Kernels are launched on the current CUDA device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


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


def _notes(plan: Plan, conditions: LabConditions, sizes: Sequence[SizeRun], complete: bool) -> Iterator[str]:
    """One sentence for everything that is missing, doubtful or easily misread."""
    if not complete:
        yield "interrupted: only the finished rounds are reported"
    busy = busy_warning(conditions)
    if busy:
        yield busy
    yield from (f"skipped {each.subject}: {each.reason}" for each in plan.skipped)
    for run in sizes:
        size = f"{run.lr_size[0]}x{run.lr_size[1]}"
        yield from (f"not measured at {size}: {each.subject}: {each.reason}" for each in run.failed)
        if all(each.speedup is None for each in run.subjects):
            yield f"no speed-ups at {size}: the baseline {plan.baseline} was not timed"
    figures = [each for run in sizes for each in run.subjects]
    uncounted = {
        each.label: each.multiply_adds_of
        for each in figures
        if each.multiply_adds is not None and each.multiply_adds_of != each.resolved_backend
    }
    for label, counted in uncounted.items():
        yield f"multiply-adds of {label} are those of {counted}: compiled operators cannot be counted"
    for each in figures:
        if each.share_of_matrix_rate is not None and each.share_of_matrix_rate > 1:
            yield f"{each.label} exceeds the measured matrix rate, which was disturbed: measure again"
