"""Finds runs in folders and reads what they left: nothing that is there is dropped in silence."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from srlab.extensions.lab.load import CoreLoad
from srlab.extensions.report.configuration_files import FlatConfiguration, flat_configuration
from srlab.extensions.report.gray_rules import configured_gray_rule
from srlab.extensions.report.runs import FINISHED, ImageScore, Run, RunCosts, Score
from srlab.metrics.protocol import recorded_gray_rule
from srlab.runs.scores import read_scores

__all__ = ["find_run_folders", "read_folder", "read_runs"]

_MARKS = ("cell.json", "config.yaml", "summary.json")
# Folders of a run or a sweep that hold no runs of their own.
_PASSED_OVER = frozenset({"checkpoints", "images", "report", "wandb"})
_DEPTH = 4
_WANDB = "wandb:"


def read_runs(sources: Sequence[str | Path] | str | Path) -> list[Run]:
    """Read runs, sweeps, folders of runs, and runs at W&B (``wandb:ENTITY/PROJECT[/GROUP]``).

    Cells of a grid that their sweep has not started yet are among them.

    Raises:
        ValueError: a source without any run, or one that W&B does not have.
        OSError: a folder that is not there or cannot be read.
    """
    listed = [sources] if isinstance(sources, str | Path) else list(sources)
    found: dict[str, Run] = {}
    for source in listed:
        if str(source).startswith(_WANDB):
            from srlab.extensions.report.wandb_runs import read_wandb

            runs = read_wandb(str(source).removeprefix(_WANDB))
        else:
            runs = _read_place(Path(source))
        found.update((run.source, run) for run in runs)
    return list(found.values())


def find_run_folders(place: Path) -> list[Path]:
    """``place`` if it is a run, else the runs below it.

    Raises:
        ValueError: there is none.
        OSError: ``place`` is no folder.
    """
    if not place.is_dir():
        raise FileNotFoundError(f"{place} is no folder; name a run, a sweep or a folder of runs")
    return list(_run_folders(place, _DEPTH))


def read_folder(folder: Path) -> Run:
    """One run; damaged files are named in its ``problems``."""
    problems: list[str] = []
    cell = _read_json(folder / "cell.json", problems)
    summary = _read_json(folder / "summary.json", problems)
    config = _configuration(folder / "config.yaml", problems)
    try:
        scores, bicubic = _scores(summary.get("scores")), _scores(summary.get("bicubic"))
        images = tuple(_image(entry, folder) for entry in summary.get("images") or ())
    except (KeyError, TypeError, AttributeError) as error:
        problems.append(f"{folder / 'summary.json'} is of another kind: {error!r}")
        scores, bicubic, images = {}, {}, ()
    # written before the first step, so that a run that died later has them, too
    costs = _read_json(folder / "costs.json", problems) or _mapping(summary, "conditions", "costs")
    sweep = folder.parent if (folder.parent / "sweep.json").exists() else None
    protocol = _mapping(summary, "protocol")
    return Run(
        source=str(folder.resolve()),
        name=str(cell.get("name", folder.name)),
        state=_state(folder, cell, has_scores=bool(scores)),
        sweep=None if sweep is None else str(sweep.resolve()),
        config=config.values,
        derived=config.derived,
        swept={str(key): str(value) for key, value in _mapping(cell, "swept").items()},
        sweep_order={} if sweep is None else _sweep_order(sweep, problems),
        scores=scores,
        bicubic=bicubic,
        images=images,
        costs=_costs(costs),
        curves=_curves(folder / "metrics.csv", problems),
        conditions={key: value for key, value in _mapping(summary, "conditions").items() if key != "costs"},
        protocol=protocol.get("name") or _configured_protocol(config.values),
        gray_rule=recorded_gray_rule(summary["scores"], protocol)
        if scores
        else configured_gray_rule(config.values),
        protocol_details=protocol,
        step=summary.get("step"),
        steps=summary.get("steps"),
        attempts=len(cell["attempts"]) if cell.get("attempts") else None,
        launcher=None if sweep is None else _read_json(sweep / "sweep.json", problems).get("launcher"),
        attempt_times=tuple(_attempt_times(cell)),
        message=cell.get("message"),
        problems=tuple(problems),
    )


def _read_place(place: Path) -> list[Run]:
    runs = [read_folder(folder) for folder in find_run_folders(place)]
    runs += _not_started(place, runs)
    if not runs:
        raise ValueError(f"no runs in {place}: no folder of it has any of {', '.join(_MARKS)}")
    return runs


def _run_folders(place: Path, depth: int) -> Iterator[Path]:
    if any((place / mark).exists() for mark in _MARKS):
        yield place
    elif depth:
        for child in sorted(place.iterdir()):
            if child.is_dir() and not child.name.startswith(".") and child.name not in _PASSED_OVER:
                yield from _run_folders(child, depth - 1)


def _not_started(sweep: Path, runs: Sequence[Run]) -> list[Run]:
    """Cells of a grid without a folder; a search chooses its cells as it goes, so that none is missing."""
    order = _sweep_order(sweep, [])
    sweeper = str(_read_json(sweep / "sweep.json", []).get("sweeper", ""))
    is_search = "optuna" in sweeper.lower() or any(
        "(" in each for values in order.values() for each in values
    )
    if not order or is_search:
        return []
    there = {tuple(run.swept.get(key) for key in order) for run in runs}
    missing = [values for values in product(*order.values()) if values not in there]
    return [
        Run(
            source=f"{sweep.resolve()} ({','.join(f'{key}={value}' for key, value in swept.items())})",
            name=",".join(f"{key}={value}" for key, value in swept.items()),
            state="not started",
            sweep=str(sweep.resolve()),
            swept=swept,
            sweep_order=order,
        )
        for swept in (dict(zip(order, values, strict=True)) for values in missing)
    ]


def _sweep_order(sweep: Path, problems: list[str]) -> dict[str, tuple[str, ...]]:
    swept = _mapping(_read_json(sweep / "sweep.json", problems), "swept")
    return {str(key): tuple(map(str, values)) for key, values in swept.items() if isinstance(values, list)}


def _attempt_times(cell: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    for attempt in cell.get("attempts") or ():
        if attempt.get("started"):
            yield attempt["started"], attempt.get("ended")


def _state(folder: Path, cell: Mapping[str, Any], *, has_scores: bool) -> str:
    """What the sweep noted, unless the files say otherwise: a summary is written by finished runs alone."""
    noted = str(cell.get("state", "running"))
    if has_scores and noted != "running":
        return FINISHED
    if noted == FINISHED:
        return "unfinished"
    if noted != "running":
        return noted
    if _is_running(folder):
        return "running"
    if has_scores:
        return FINISHED
    return "killed" if cell else "unfinished"


def _is_running(folder: Path) -> bool:
    """A cell holds its own lock from its process's start on, the run's as soon as that is configured."""
    from srlab.runs.lock import is_running

    if is_running(folder):
        return True
    from srlab.extensions.sweep.records import LOCK_NAME

    if not (folder / LOCK_NAME).exists():
        return False
    from srlab.locks import is_held  # locks of this kind are there on POSIX alone

    return is_held(folder / LOCK_NAME)


def _read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    """Empty where there is none, or a damaged one, which ``problems`` then names."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        problems.append(f"{path} cannot be read: {error}")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path} is no JSON object")
        return {}
    return content


def _configuration(path: Path, problems: list[str]) -> FlatConfiguration:
    try:
        if path.exists():
            return flat_configuration(path)
    except (ValueError, OSError) as error:
        problems.append(str(error))
    return FlatConfiguration(values={}, derived=frozenset())


def _configured_protocol(config: Mapping[str, Any]) -> str | None:
    names = [value for key, value in config.items() if key.startswith("protocol.") and key.endswith(".name")]
    return " ".join(map(str, names)) or None


def _mapping(content: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        content = content.get(key) or {}
    return content


def _scores(means: Any) -> dict[str, Score]:
    return {
        mean["set_name"]: Score(
            images=mean.get("images"), psnr=read_scores(mean)["psnr"], ssim=read_scores(mean).get("ssim")
        )
        for mean in means or ()
    }


def _image(entry: Mapping[str, Any], folder: Path) -> ImageScore:
    restored = entry.get("restored")
    return ImageScore(
        set_name=entry["set_name"],
        name=entry["name"],
        psnr=read_scores(entry)["psnr"],
        ssim=read_scores(entry)["ssim"],
        bicubic_psnr=read_scores(entry, "bicubic").get("psnr"),
        hr_file=entry.get("hr_file"),
        restored=None if restored is None else str(folder.resolve() / restored),
    )


def _costs(costs: Mapping[str, Any]) -> RunCosts:
    latency, size = _mapping(costs, "latency"), costs.get("output_size")
    return RunCosts(
        params=_mapping(costs, "parameters").get("all"),
        multiply_adds=costs.get("multiply_adds"),
        latency_ms=latency.get("median_ms"),
        latency_p10_ms=latency.get("p10_ms"),
        latency_p90_ms=latency.get("p90_ms"),
        memory_mib=_mapping(costs, "memory").get("peak_mib"),
        device=latency.get("device"),
        output_size=None if size is None else (int(size[0]), int(size[1])),
        subnormals=latency.get("subnormals"),
        is_busy="load" in latency and CoreLoad(**latency["load"]).is_busy,
    )


def _curves(path: Path, problems: list[str]) -> dict[str, tuple[tuple[int, float], ...]]:
    """Empty fields are steps at which a metric was not logged."""
    if not path.exists():
        return {}
    curves: dict[str, list[tuple[int, float]]] = {}
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                step = int(float(row.pop("step")))
                for key, text in row.items():
                    if text:
                        curves.setdefault(key, []).append((step, float(text)))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        problems.append(f"{path} is damaged after step {_last_step(curves)}: {error}")
    finite = {
        key: tuple(point for point in curve if math.isfinite(point[1])) for key, curve in curves.items()
    }
    return {key: curve for key, curve in finite.items() if curve}


def _last_step(curves: Mapping[str, list[tuple[int, float]]]) -> int:
    return max((curve[-1][0] for curve in curves.values()), default=0)
