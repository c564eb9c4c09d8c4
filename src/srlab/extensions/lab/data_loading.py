"""The loader's rates beside those of training steps, in one record."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import torch

from srlab.data.datamodule import SuperResolutionData
from srlab.extensions.lab.bottleneck import bottlenecks
from srlab.extensions.lab.loading import measure_loading
from srlab.extensions.lab.record import LabRecord

__all__ = ["with_loading"]

_BATCHES = 20  # for each number of workers and round


def with_loading(
    record: LabRecord, data: SuperResolutionData, workers: Sequence[int], device: torch.device
) -> LabRecord:
    """A finished record with the loader's report, or with a note on why there is none.

    Args:
        record: of training steps.
        data: what the loader reads.
        workers: numbers of loader processes.
        device: where batches go.
    """
    try:
        report = measure_loading(data, workers=workers, batches=_BATCHES, device=device)
    except KeyboardInterrupt:
        return replace(record, complete=False, notes=("interrupted: no loader", *record.notes))
    except Exception as error:  # whatever it is, what was measured before it must not be lost
        reason = " ".join(str(error).split())
        note = f"the loader could not be measured: {type(error).__name__}: {reason}"
        return replace(record, notes=(*record.notes, note))
    rates = {number: rate.median for number, rate in report.samples_per_s.items()}
    sentences = [*str(report).splitlines(), *bottlenecks(rates, record.sizes[0].subjects)]
    return replace(record, loading=asdict(report), notes=(*record.notes, *sentences))
