"""Runs at W&B, read by the keys that our logger gives its numbers."""

from collections.abc import Iterator, Mapping
from typing import Any

from srlab.extensions.report.configurations import configured_protocol, flat
from srlab.extensions.report.runs import FINISHED, Run, RunCosts
from srlab.metrics.protocol import recorded_gray_rule
from srlab.runs.contract import STEP_AXIS, TRAIN_LOSS, validation_key

_VALIDATION = validation_key("")  # what all validation keys begin with
_SAMPLES = 2000  # points of a curve, at most
_STATES = {"finished": "finished", "running": "running", "killed": "stopped", "preempted": "stopped"}
# W&B keeps no interpolations: keys with these last parts repeat the key of that name.
_REPEATED = ("seed", "scale")
_COMPUTED = frozenset({"model.shift_schedule", "scheduler.steps"})


def read_wandb(address: str, *, api: Any = None) -> list[Run]:
    """Every run of ``ENTITY/PROJECT`` or ``ENTITY/PROJECT/GROUP``.

    Args:
        address: what follows ``wandb:``.
        api: a ``wandb.Api``; default: one with the key that ``wandb login`` stored.

    Raises:
        ValueError: a malformed address, no such project, no runs, or W&B does not answer.
    """
    import requests
    import wandb

    parts = address.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ValueError(
            f"wandb:{address} is not an address; write wandb:ENTITY/PROJECT or wandb:ENTITY/PROJECT/GROUP"
        )
    filters = {"group": parts[2]} if len(parts) == 3 else {}
    try:
        client = wandb.Api() if api is None else api
        runs = [_run(found) for found in client.runs("/".join(parts[:2]), filters=filters)]
    except (wandb.Error, requests.RequestException) as error:
        raise ValueError(f"W&B cannot be asked for wandb:{address}: {error}; see wandb login") from error
    if not runs:
        raise ValueError(f"wandb:{address} has no runs")
    return runs


def _run(found: Any) -> Run:
    config = {key: value for key, value in flat(found.config) if not key.startswith("_wandb")}
    summary = dict(found.summary)
    scores = _scores(summary, f"best/{_VALIDATION}")
    state = _STATES.get(found.state, "failed")
    protocol = configured_protocol(config)
    has_gray_images = summary.get("gray_images") != 0
    return Run(
        source=f"wandb:{'/'.join(found.path)}",
        name=found.name,
        state=state if scores or state != FINISHED else "unfinished",
        sweep=found.group,
        config=config,
        derived=frozenset(key for key in config if _is_derived(key, config)),
        scores=scores,
        bicubic=_scores(summary, f"bicubic/{_VALIDATION}"),
        costs=_costs(summary, config),
        curves=dict(_curves(found, scores)),
        conditions={
            "date": found.created_at,
            "commit": getattr(found, "commit", None),
            "url": found.url,
        },
        protocol=protocol.get("name"),
        gray_rule=recorded_gray_rule((), protocol) if protocol and has_gray_images else None,
        step=summary.get("best/step"),
        steps=summary.get("step"),
    )


def _is_derived(key: str, config: Mapping[str, Any]) -> bool:
    value, folder = config[key], config.get("paths.run")
    if key in _COMPUTED or (isinstance(value, str) and folder and str(folder) in value):
        return True
    return any(key.endswith(f".{each}") and value == config.get(each) for each in _REPEATED)


def _scores(summary: Mapping[str, Any], prefix: str) -> dict[str, dict[str, float]]:
    """``best/val/<set>/<metric>``; means over the sets, ``best/val/<metric>``, are computed anew."""
    scores: dict[str, dict[str, float]] = {}
    for key, value in summary.items():
        set_name, _, metric = key.removeprefix(prefix).rpartition("/")
        if key.startswith(prefix) and set_name:
            scores.setdefault(set_name, {})[metric] = value
    return scores


def _costs(summary: Mapping[str, Any], config: Mapping[str, Any]) -> RunCosts:
    size = config.get("latency.output_size")
    at = f"{size[0]}x{size[1]}" if size else ""
    return RunCosts(
        params=summary.get("params/all"),
        multiply_adds=summary.get("multiply_adds/720x1280"),
        latency_ms=summary.get(f"latency_ms/{at}"),
        latency_p10_ms=summary.get(f"latency_ms_p10/{at}"),
        latency_p90_ms=summary.get(f"latency_ms_p90/{at}"),
        memory_mib=summary.get(f"peak_memory_mib/{at}"),
        output_size=(size[0], size[1]) if size else None,
    )


def _curves(found: Any, scores: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, Any]]:
    metrics = dict.fromkeys(metric for each in scores.values() for metric in each) or {"psnr": None}
    for key in (TRAIN_LOSS, *map(validation_key, metrics)):
        rows = found.history(keys=[key, STEP_AXIS], samples=_SAMPLES, pandas=False)
        points = [
            (int(row[STEP_AXIS]), float(row[key]))
            for row in rows
            if row.get(key) is not None and row.get(STEP_AXIS) is not None
        ]
        if points:
            yield key, tuple(points)
