"""The costs of a network: counted parameters and multiply-adds, and measurements of extensions."""

import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from srlab.counts.complexity import OUTPUT_SIZE, count
from srlab.models.network import Network
from srlab.runs.contract import COSTS_FILE, OVER_LIMIT, ResultLogger
from srlab.runs.records import write_json
from srlab.tasks.columns import METERS, MeterSettings, Reading, absent_columns, listed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Costs:
    """Of one network: the counts, then what the meters of extensions read for ``output_size``."""

    output_size: tuple[int, int]
    readings: tuple[Reading, ...]

    def merged(self, form: Literal["record", "fields", "cells", "summary"]) -> dict[str, Any]:
        """One form of all readings."""
        return {key: value for reading in self.readings for key, value in getattr(reading, form).items()}


def measure_costs(network: Network, settings: MeterSettings, *, counted: Reading | None = None) -> Costs:
    """Count what can be counted, unless that is given, and read all meters, or none where ``repeats`` is 0.

    The network is left as it was.
    """
    measured = [meter.measure(network, settings) for meter in METERS] if settings.repeats else []
    return Costs(settings.output_size, (counted or _counted(network, settings), *measured))


class CostRecord(Callback):
    """Records what the network of a run costs in ``costs.json`` and with the loggers.

    Parameters and multiply-adds are counted before the first validation, so that the first step waits for
    nothing and a run that is killed leaves them. Latency and memory are measured by :meth:`measure` after the
    training. What has a limit is counted or measured before the first step: a network that costs more is not
    trained, and the program exits on all ranks with status 3. A resumed run has passed this test.

    Args:
        folder: the run's folder.
        output_size: height and width of the restored image.
        warmup: forward passes before the clock starts.
        repeats: forward passes timed one by one; 0: neither latency nor memory is measured.
        limit_ms: largest median of milliseconds per forward pass; None for no limit.
        limits: largest ``parameters`` and ``multiply_adds``; None or absent for no limit.

    Raises:
        ValueError: there is a limit of latency and no extension that measures it.
    """

    def __init__(
        self,
        *,
        folder: Path,
        output_size: tuple[int, int],
        warmup: int,
        repeats: int,
        limit_ms: float | None,
        limits: Mapping[str, float | None],
    ) -> None:
        self.folder = folder
        self.limit_ms = limit_ms
        self.limits = {name: limit for name, limit in limits.items() if limit is not None}
        self._settings: dict[str, Any] = {"output_size": output_size, "warmup": warmup, "repeats": repeats}
        self._counted: Reading | None = None
        self._latency = METERS.get("latency")
        if limit_ms is not None and self._latency is None:
            raise ValueError(
                f"latency.limit_ms={limit_ms:g}, but latency cannot be measured: the extension "
                "srlab.extensions.lab is not installed; set latency.limit_ms=null"
            )
        if limit_ms is not None and repeats == 0:
            raise ValueError(
                f"latency.limit_ms={limit_ms:g} needs a measurement, which latency.repeats=0 leaves out; "
                "set latency.repeats=1 or more, or latency.limit_ms=null"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare a new run's costs with their limits.

        Raises:
            SystemExit: the network costs more.
        """
        if (self.limit_ms is None and not self.limits) or trainer.ckpt_path is not None:
            return
        excess = None
        if trainer.is_global_zero and (excess := self._excess(trainer, _network_of(pl_module))):
            log.error(f"not trained: the network {excess}")
        if trainer.strategy.reduce_boolean_decision(excess is not None, all=False):
            sys.exit(OVER_LIMIT)

    def _excess(self, trainer: Trainer, network: Network) -> str | None:
        """The first limit that the network exceeds, in words; None if it stays within all."""
        settings = self._settings_on(trainer)
        counted = _counted(network, settings).fields if self.limits else {}
        for name, limit in self.limits.items():
            if counted[name] > limit:
                return f"has {counted[name]:,} {name.replace('_', '-')} where limits.{name}={limit:g}"
        if self.limit_ms is None or self._latency is None:
            return None
        reading = self._latency.measure(network, settings)
        if reading.value is None or reading.value <= self.limit_ms:
            return None
        limit = f"{reading.value:.2f} ms where latency.limit_ms={self.limit_ms:g}"
        return f"takes {limit}; {'; '.join(reading.lines)}"

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count, once."""
        if trainer.is_global_zero and self._counted is None:
            settings = self._settings_on(trainer)
            self._counted = _counted(_network_of(pl_module), settings)
            self._write(trainer, Costs(settings.output_size, (self._counted,)))

    def measure(self, trainer: Trainer, network: Network) -> Costs:
        """Measure everything, with nothing else running; the first rank calls it after the training."""
        costs = measure_costs(network, self._settings_on(trainer), counted=self._counted)
        self._write(trainer, costs)
        if (absent := absent_columns()) is not None:
            log.info(absent)
        return costs

    def _settings_on(self, trainer: Trainer) -> MeterSettings:
        return MeterSettings(device=trainer.strategy.root_device, **self._settings)

    def _write(self, trainer: Trainer, costs: Costs) -> None:
        write_json(self.folder / COSTS_FILE, costs.merged("record"))
        for logger in trainer.loggers:
            if isinstance(logger, ResultLogger):
                logger.log_summary(costs.merged("summary"))


def _network_of(module: LightningModule) -> Network:
    assert isinstance(module.network, Network)
    return module.network


def _counted(network: Network, settings: MeterSettings) -> Reading:
    counts = count(network, device=settings.device)
    parameters, executed = counts.parameters, counts.executed_multiply_adds
    size = f"{OUTPUT_SIZE[0]}x{OUTPUT_SIZE[1]}"
    # column of files, value, heading in tables, its unit, name for loggers
    table = (
        ("parameters", parameters.all, "params (K)", 1e3, "params/all"),
        ("trainable_parameters", parameters.trainable, "trainable (K)", 1e3, "params/trainable"),
        ("multiply_adds", counts.multiply_adds, "mult-adds (G)", 1e9, f"multiply_adds/{size}"),
        ("executed_multiply_adds", executed, "executed (G)", 1e9, f"executed_multiply_adds/{size}"),
        ("activations", counts.activations, "activations (M)", 1e6, f"activations/{size}"),
    )
    return Reading(
        record={"output_size": settings.output_size, **asdict(counts)},
        fields={column: value for column, value, *_ in table},
        cells={name: f"{value / unit:.{2 if unit == 1e9 else 1}f}" for _, value, name, unit, _ in table},
        summary={name: value for _, value, _, _, name in table},
        lines=(
            f"parameters: {listed(asdict(parameters))}",
            "multiply-adds: of the official formulation at 1280x720, padding included; elements not "
            f"counted: {listed(counts.uncounted)}",
        ),
    )
