"""What W&B's client wrote to its transaction log ``run-<id>.wandb``.

The file is a LevelDB log (blocks of 32 KiB; records in fragments that start with 7 bytes: CRC-32 as zlib has
it, length, type) behind a header of 7 bytes; each record is one protobuf message ``Record`` of the client.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK = 32768
_HEADER = 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def _payloads(content: bytes) -> Iterator[bytes]:
    """Whole records; the file may end anywhere if its writer was killed."""
    # W&B's header, ":W&B" and a magic number, fills the place of one of LevelDB's
    assert content[:4] == b":W&B", content[:8]
    position, parts = _HEADER, b""
    while position + _HEADER <= len(content):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        crc, length, kind = struct.unpack_from("<IHB", content, position)
        data = content[position + _HEADER : position + _HEADER + length]
        assert crc == zlib.crc32(bytes([kind]) + data), f"damaged at {position}"
        parts = data if kind in (_FULL, _FIRST) else parts + data
        if kind in (_FULL, _LAST):
            yield parts
        position += _HEADER + length


@dataclass
class TransactionLog:
    """Everything that a run told W&B.

    Attributes:
        run: id, project, name, group, tags of the run.
        config: by key, the last value.
        history: one dict for each ``log`` call, nested keys joined by ``/``.
        summary: by key, the last value that was set explicitly; W&B derives the others from the history.
        metrics: name to the options of ``define_metric``.
        files: names of the files to upload.
        exit_code: None where the run never finished.
    """

    run: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    exit_code: int | None = None

    def add(self, record: Any) -> None:
        """One message of the client."""
        kind = record.WhichOneof("record_type")
        take = getattr(self, f"_take_{kind}", None)
        if take is not None:
            take(getattr(record, kind))

    def _take_run(self, run: Any) -> None:
        self.run = {
            "id": run.run_id,
            "project": run.project,
            "name": run.display_name,
            "group": run.run_group,
            "tags": sorted(run.tags),
        }
        self._take_config(run.config)

    def _take_config(self, config: Any) -> None:
        self.config.update(_values(config.update))

    def _take_history(self, history: Any) -> None:
        self.history.append(_values(history.item))

    def _take_summary(self, summary: Any) -> None:
        self.summary.update(_values(summary.update))

    def _take_metric(self, metric: Any) -> None:
        name = metric.name or metric.glob_name
        self.metrics[name] = {
            "step": metric.step_metric,
            "summary": [
                kind
                for kind in ("min", "max", "mean", "best", "last", "none")
                if getattr(metric.summary, kind)
            ],
            "goal": metric.goal,
        }

    def _take_files(self, files: Any) -> None:
        self.files += [file.path for file in files.files]

    def _take_exit(self, ended: Any) -> None:
        self.exit_code = ended.exit_code


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_log(path: Path) -> TransactionLog:
    """Read one file, checking every checksum."""
    from wandb.proto import wandb_internal_pb2

    log = TransactionLog()
    for payload in _payloads(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(payload)
        log.add(record)
    return log


def read_logs(run: Path) -> list[TransactionLog]:
    """Those of every process that worked on a run's folder, oldest first."""
    files = sorted(
        (run / "wandb").glob("*run-*/run-*.wandb"), key=lambda path: path.parent.name.rpartition("run-")[2]
    )
    return [read_log(path) for path in files]


def shown_keys(specification: dict) -> set[str]:
    """Keys of runs that the panels of a stored workspace show, without their kind (``summary:…``)."""
    sections = specification["section"]["panelBankConfig"]["sections"]
    keys = set()
    for config in (panel["config"] for section in sections for panel in section["panels"]):
        keys |= {config[axis] for axis in ("xAxis", "yAxis") if config.get(axis)}
        keys |= {*config.get("metrics", ()), *config.get("mediaKeys", ())}
    return {key.removeprefix("summary:").removeprefix("summary_metrics.") for key in keys}
