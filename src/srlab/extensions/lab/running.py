"""The lab: ceilings, then every size in one interleaved run, then the figures that follow from both."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch

from srlab.counts.complexity import counted_backend
from srlab.extensions.lab.ceilings import Ceilings, best_of, measure_ceilings
from srlab.extensions.lab.conditions import LabConditions, load_average
from srlab.extensions.lab.energy import EnergyMeter, find_energy_meter
from srlab.extensions.lab.measurement import Measurement, Session
from srlab.extensions.lab.notes import notes_on
from srlab.extensions.lab.preparation import Workload
from srlab.extensions.lab.record import KIND, Figures, LabRecord, LabSettings, SizeRun
from srlab.extensions.lab.roofline import Roofline, executed_by, fewest_needs, roofline
from srlab.extensions.lab.sizes import padded_size
from srlab.extensions.lab.subjects import Plan
from srlab.models.network import AttentionNetwork, Network
from srlab.ops.subnormals import flush_subnormals

__all__ = ["Laboratory", "run_lab"]


@dataclass(frozen=True, kw_only=True)
class Laboratory:
    """Everything that a run needs.

    Attributes:
        networks: by name.
        plan: subjects and baseline.
        settings: batch, rounds, scale.
        workloads: what is done, one for each size.
        conditions: at the start.
        with_rooflines: whether needs are set against ceilings.
        progress: is told what happens next.
    """

    networks: Mapping[str, Network]
    plan: Plan
    settings: LabSettings
    workloads: Sequence[Workload]
    conditions: LabConditions
    with_rooflines: bool
    progress: Callable[[str], None]

    @property
    def device(self) -> torch.device:
        """Of all workloads."""
        return self.workloads[0].device


def run_lab(lab: Laboratory) -> LabRecord:
    """Measure; after Ctrl-C the record holds what there is and says that it is not complete.

    Raises:
        KeyboardInterrupt: before anything was timed.
        ValueError: every subject failed.
    """
    with _current(lab.device), flush_subnormals():
        return _run_here(lab)


def _run_here(lab: Laboratory) -> LabRecord:
    meter = find_energy_meter(lab.device)
    ceilings = _measure_ceilings(lab)
    sessions: list[Session] = []
    complete = True
    try:
        for workload in lab.workloads:
            sessions.append(Session(lab.networks, workload, lab.progress))
            _measure(sessions[-1], lab, meter)
        second = _measure_ceilings(lab)
        ceilings = {dtype: best_of(first, second[dtype]) for dtype, first in ceilings.items()}
    except KeyboardInterrupt:
        complete = False
    sizes = tuple(_size_run(lab, session, ceilings) for session in sessions)
    if not any(each.rounds for run in sizes for each in run.subjects):
        _raise_for_nothing(sizes, complete)
    conditions = replace(
        lab.conditions,
        load_average_after=load_average(),
        other_programs_cores=max(
            (session.others for session in sessions if session.others is not None), default=None
        ),
    )
    return LabRecord(
        kind=KIND,
        complete=complete,
        conditions=conditions,
        settings=lab.settings,
        ceilings=tuple(ceilings.values()),
        energy=meter.source if isinstance(meter, EnergyMeter) else meter,
        sizes=sizes,
        skipped=lab.plan.skipped,
        notes=tuple(
            notes_on(
                conditions=conditions,
                settings=lab.settings,
                skipped=lab.plan.skipped,
                sizes=sizes,
                complete=complete,
            )
        ),
    )


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Kernels are launched on the current CUDA device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _measure_ceilings(lab: Laboratory) -> dict[str, Ceilings]:
    lab.progress("measuring the device's ceilings")
    dtypes = dict.fromkeys(subject.dtype for subject in lab.plan.subjects)
    return {dtype: measure_ceilings(lab.device, getattr(torch, dtype)) for dtype in dtypes}


def _measure(session: Session, lab: Laboratory, meter: EnergyMeter | str) -> None:
    session.prepare(lab.plan.subjects)
    session.time(warmup=lab.settings.warmup, repeats=lab.settings.repeats)
    if isinstance(meter, EnergyMeter):
        session.weigh(meter)
    session.release()


def _raise_for_nothing(sizes: Sequence[SizeRun], complete: bool) -> None:
    if not complete:
        raise KeyboardInterrupt
    reasons = "; ".join(f"{each.subject}: {each.reason}" for run in sizes for each in run.failed)
    raise ValueError(f"every subject failed ({reasons})")


def _size_run(lab: Laboratory, session: Session, ceilings: Mapping[str, Ceilings]) -> SizeRun:
    height, width = lr_size = session.workload.lr_size
    measurements = session.measurements(lab.plan.baseline)
    figures = tuple(_figures(lab, lr_size, each, ceilings) for each in measurements)
    return SizeRun(
        lr_size=lr_size,
        output_size=(height * lab.settings.scale, width * lab.settings.scale),
        subjects=figures,
        failed=tuple(session.failed),
        rooflines=tuple(_rooflines(lab, lr_size, figures, ceilings)) if lab.with_rooflines else (),
    )


def _figures(
    lab: Laboratory, lr_size: tuple[int, int], measured: Measurement, ceilings: Mapping[str, Ceilings]
) -> Figures:
    subject, network = measured.subject, lab.networks[measured.subject.model]
    batch, pixels = lab.settings.batch, lr_size[0] * lr_size[1] * lab.settings.scale**2
    median_ms = measured.time_ms.median if measured.time_ms else None
    images_per_second = batch * 1e3 / median_ms if median_ms else None
    executed, counted = None, None  # a training step has no count that is agreed on
    if lab.settings.step == "inference":
        executed = executed_by(network, lr_size, measured.backend)
    if isinstance(network, AttentionNetwork) and measured.backend is not None:
        counted = counted_backend(network, measured.backend)
    rate = 2 * executed * images_per_second / 1e9 if executed is not None and images_per_second else None
    return Figures(
        label=subject.label,
        model=subject.model,
        backend=subject.backend,
        resolved_backend=measured.backend,
        dtype=subject.dtype,
        compile=subject.compile,
        mask=subject.mask,
        checkpointing=subject.checkpointing,
        subnormals=subject.subnormals,
        padded_size=padded_size(network, lr_size),
        rounds=measured.rounds,
        time_ms=measured.time_ms,
        speedup=measured.speedup,
        images_per_second=images_per_second,
        megapixels_per_second=images_per_second * pixels / 1e6 if images_per_second else None,
        memory=measured.memory,
        joules_per_image=None if measured.joules is None else measured.joules / batch,
        multiply_adds=executed,
        multiply_adds_of=counted,
        gflop_per_second=rate,
        share_of_matrix_rate=None if rate is None else rate / ceilings[subject.dtype].matrix_gflop_per_s,
    )


def _rooflines(
    lab: Laboratory, lr_size: tuple[int, int], figures: Sequence[Figures], ceilings: Mapping[str, Ceilings]
) -> Iterator[Roofline]:
    for model, dtype in dict.fromkeys((each.model, each.dtype) for each in figures):
        yield roofline(
            model=model,
            needs=fewest_needs(lab.networks[model], lr_size, getattr(torch, dtype)),
            batch=lab.settings.batch,
            ceilings=ceilings[dtype],
            median_ms={
                each.label: each.time_ms.median
                for each in figures
                if (each.model, each.dtype) == (model, dtype) and each.time_ms
            },
        )
