"""Runs as W&B has them, under the names that our logger gives its numbers."""

from collections.abc import Iterator, Mapping
from typing import Any

from srlab.extensions.report.curves import CURVES
from srlab.extensions.report.gray_rules import configured_gray_rule
from srlab.extensions.report.runs import FINISHED, Run, RunCosts, Score

__all__ = ["read_wandb"]

_AXIS = "trainer/global_step"
_SAMPLES = 2000  # most points of a curve that are asked for
_STATES = {"finished": "finished", "running": "running", "killed": "stopped", "preempted": "stopped"}
# Of W&B's configurations nobody knows any more what was computed from what: last parts that repeat a key.
_REPEATED = ("seed", "scale")
_COMPUTED = frozenset({"model.shift_schedule", "scheduler.steps"})


def read_wandb(address: str, *, api: Any = None) -> list[Run]:
    """Every run of ``ENTITY/PROJECT`` or ``ENTITY/PROJECT/GROUP``.

    Args:
        address: what follows ``wandb:``.
        api: a ``wandb.Api``; made where none is given, with the key that ``wandb login`` stored.

    Raises:
        ValueError: a malformed address, no such project, no runs, or W&B cannot be asked.
    """
    parts = address.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ValueError(
            f"wandb:{address} is no address; write wandb:ENTITY/PROJECT or wandb:ENTITY/PROJECT/GROUP"
        )
    filters = {"group": parts[2]} if len(parts) == 3 else {}
    runs = list(_asked(address, "/".join(parts[:2]), filters, api))
    if not runs:
        raise ValueError(f"wandb:{address} has no runs")
    return runs


def _asked(address: str, project: str, filters: dict[str, str], api: Any) -> Iterator[Run]:
    import requests
    import wandb

    try:
        client = wandb.Api() if api is None else api
        for found in client.runs(project, filters=filters):
            yield _run(found)
    except (wandb.Error, requests.RequestException) as error:
        raise ValueError(f"W&B cannot be asked for wandb:{address}: {error}; see wandb login") from error


def _run(found: Any) -> Run:
    config = dict(_flat(found.config))
    summary = dict(found.summary)
    scores = _scores(summary, "best/val/")
    state = _STATES.get(found.state, "failed")
    return Run(
        source=f"wandb:{'/'.join(found.path)}",
        name=found.name,
        state=state if scores or state != FINISHED else "unfinished",
        sweep=found.group,
        config=config,
        derived=frozenset(key for key in config if _is_derived(key, config)),
        scores=scores,
        bicubic=_scores(summary, "bicubic/val/"),
        costs=_costs(summary, config),
        curves={metric: curve for metric, _ in CURVES if (curve := _curve(found, metric))},
        conditions={
            "date": found.created_at,
            "commit": getattr(found, "commit", None),
            "url": found.url,
        },
        protocol=next((value for key, value in config.items() if _is_protocol_name(key)), None),
        gray_rule=None if summary.get("gray_images") == 0 else configured_gray_rule(config),
        step=summary.get("best/step"),
        steps=summary.get("step"),
    )


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if key.startswith("_wandb"):
            continue
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_derived(key: str, config: Mapping[str, Any]) -> bool:
    value, folder = config[key], config.get("paths.run")
    if key in _COMPUTED or (isinstance(value, str) and folder and str(folder) in value):
        return True
    return any(key.endswith(f".{each}") and value == config.get(each) for each in _REPEATED)


def _is_protocol_name(key: str) -> bool:
    return key.startswith("protocol.") and key.endswith(".name")


def _scores(summary: Mapping[str, Any], prefix: str) -> dict[str, Score]:
    """``best/val/<set>/psnr``; ``best/val/psnr`` is their mean, which we take ourselves."""
    names = [
        key[len(prefix) : -len("/psnr")]
        for key in summary
        if key.startswith(prefix) and key.endswith("/psnr") and len(key) > len(f"{prefix}/psnr")
    ]
    return {
        name: Score(
            images=None, psnr=summary[f"{prefix}{name}/psnr"], ssim=summary.get(f"{prefix}{name}/ssim")
        )
        for name in names
    }


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


def _curve(found: Any, metric: str) -> tuple[tuple[int, float], ...]:
    rows = found.history(keys=[metric, _AXIS], samples=_SAMPLES, pandas=False)
    known = [row for row in rows if row.get(metric) is not None and row.get(_AXIS) is not None]
    return tuple((int(row[_AXIS]), float(row[metric])) for row in known)
