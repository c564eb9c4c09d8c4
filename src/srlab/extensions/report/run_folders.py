"""Finds runs in folders and reads what they left; damaged files are listed, never skipped silently."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from srlab.app.renamed_keys import migrated
from srlab.app.saved_config import flat
from srlab.extensions.lab.load import CoreLoad
from srlab.extensions.report.runs import FINISHED, ImageScore, Run, RunCosts
from srlab.extensions.sweep.records import LOCK_NAME
from srlab.locks import is_held
from srlab.metrics.protocol import recorded_gray_rule
from srlab.runs import contract
from srlab.runs.folder import RunFolder, read_json
from srlab.runs.records import read_scores

_MARKS = (contract.CELL_FILE, contract.CONFIG_FILE, contract.SUMMARY_FILE)
# Folders of a run or a sweep that hold no runs of their own.
_SKIPPED = frozenset({contract.CHECKPOINTS_FOLDER, contract.IMAGES_FOLDER, "report", "wandb"})
_DEPTH = 4


def read_runs(sources: Sequence[str | Path] | str | Path) -> list[Run]:
    """Read runs, sweeps and folders of runs; cells of a grid that have not started yet are included.

    Raises:
        ValueError: a source without runs.
        OSError: a folder does not exist or cannot be read.
    """
    places = [sources] if isinstance(sources, str | Path) else sources
    return list({run.source: run for place in places for run in _read_place(Path(place))}.values())


def _read_place(place: Path) -> list[Run]:
    if not place.is_dir():
        raise FileNotFoundError(f"{place} is not a folder; name a run, a sweep or a folder of runs")
    runs = [_read_run(folder) for folder in _run_folders(place, _DEPTH)]
    runs += _not_started(place, runs)
    if not runs:
        raise ValueError(f"no runs in {place}: none of its folders has any of {', '.join(_MARKS)}")
    return runs


def _run_folders(place: Path, depth: int) -> Iterator[Path]:
    if any((place / mark).exists() for mark in _MARKS):
        yield place
    elif depth:
        for child in sorted(place.iterdir()):
            if child.is_dir() and not child.name.startswith(".") and child.name not in _SKIPPED:
                yield from _run_folders(child, depth - 1)


def _read_run(path: Path) -> Run:
    folder, problems = RunFolder(path), []
    summary = _tolerant(folder.summary, problems)
    cell = _tolerant(lambda: read_json(path / contract.CELL_FILE), problems)
    sweep = _tolerant(lambda: read_json(path.parent / contract.SWEEP_FILE), problems)
    config, derived = _configuration(folder, problems)
    scored = _scored(summary, path, problems)
    conditions = dict(_within(summary, "conditions"))
    own_costs = conditions.pop("costs", {})  # the file is there earlier, the summary may outlive it
    protocol = _within(summary, "protocol") or {
        key.rpartition(".")[2]: value for key, value in config.items() if key.startswith("protocol.")
    }
    means = summary["scores"] if scored.get("scores") else ()
    return Run(
        source=str(path.resolve()),
        name=str(cell.get("name", path.name)),
        state=_state(folder, cell, has_scores=bool(means)),
        sweep=str(path.parent.resolve()) if (path.parent / contract.SWEEP_FILE).exists() else None,
        config=config,
        derived=derived,
        swept={str(key): str(value) for key, value in _within(cell, "swept").items()},
        sweep_order=_sweep_order(sweep),
        **scored,
        costs=_costs(_tolerant(folder.costs, problems) or own_costs),
        curves=_curves(folder, problems),
        conditions=conditions,
        protocol=protocol,
        gray_rule=recorded_gray_rule(means, protocol) if protocol else None,
        step=summary.get("step"),
        steps=summary.get("steps"),
        attempts=len(cell.get("attempts") or ()) or None,
        launcher=sweep.get("launcher"),
        message=cell.get("message"),
        problems=tuple(problems),
    )


def _not_started(place: Path, runs: Sequence[Run]) -> list[Run]:
    """Cells of a grid that have no folder; a search chooses its cells as it goes, so none is missing."""
    sweep = _tolerant(lambda: read_json(place / contract.SWEEP_FILE), [])
    order = _sweep_order(sweep)
    is_search = any("(" in value for values in order.values() for value in values)
    if not order or is_search or "optuna" in str(sweep.get("sweeper")).lower():
        return []
    folder, there = str(place.resolve()), {tuple(run.swept.get(key) for key in order) for run in runs}
    missing = []
    for values in product(*order.values()):
        if values not in there:
            swept = dict(zip(order, values, strict=True))
            name = ",".join(f"{key}={value}" for key, value in swept.items())
            of_sweep = {"sweep": folder, "swept": swept, "sweep_order": order}
            missing.append(Run(source=f"{folder} ({name})", name=name, state="not started", **of_sweep))
    return missing


def _sweep_order(sweep: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    swept = _within(sweep, "swept")
    return {str(key): tuple(map(str, values)) for key, values in swept.items() if isinstance(values, list)}


def _state(folder: RunFolder, cell: Mapping[str, Any], *, has_scores: bool) -> str:
    """What the sweep noted, unless the files say otherwise: only finished runs write a summary."""
    noted = str(cell.get("state", "running"))
    # a cell holds its own lock from the start of its process, the run's as soon as that is configured
    if noted == "running" and (folder.is_running or is_held(folder.path / LOCK_NAME)):
        return noted
    if has_scores:
        return FINISHED
    if noted in ("running", FINISHED):
        return "killed" if cell and noted == "running" else "unfinished"
    return noted


def _configuration(folder: RunFolder, problems: list[str]) -> tuple[dict[str, Any], frozenset[str]]:
    """Resolved values by dotted key, and the keys that are computed from others (``model.scale: ${scale}``).

    Both are empty if there is no configuration, or a damaged one, which is added to ``problems``.
    """
    config = OmegaConf.create(dict(_tolerant(lambda: migrated(folder.config() or {}), problems)))
    try:
        written, resolved = flat(config, resolve=False), flat(config)
    except OmegaConfBaseException as error:
        problems.append(f"{folder.path / contract.CONFIG_FILE} cannot be resolved: {error}")
        return {}, frozenset()
    # an interpolation may stand for a whole group: ``data.degradation: ${degradation}``
    computed = tuple(f"{key}." for key, value in written.items() if "${" in str(value))
    return resolved, frozenset(key for key in resolved if f"{key}.".startswith(computed))


def _tolerant(read: Callable[[], Any], problems: list[str]) -> Mapping[str, Any]:
    """Empty if the file does not exist or is damaged, which is added to ``problems``."""
    try:
        return read() or {}
    except (ValueError, OSError) as error:
        problems.append(str(error))
        return {}


def _within(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return content.get(key) or {}


def _scored(summary: Mapping[str, Any], path: Path, problems: list[str]) -> dict[str, Any]:
    """The fields of a run that hold scores; none if the summary is malformed."""
    means, images = summary.get("scores") or (), summary.get("images") or ()
    try:
        return {
            "scores": {mean["set_name"]: read_scores(mean) for mean in means},
            "image_counts": {mean["set_name"]: mean.get("images") for mean in means},
            "images": tuple(_image(entry, path) for entry in images),
        }
    except (KeyError, TypeError, AttributeError) as error:
        problems.append(f"{path / contract.SUMMARY_FILE} has an unknown layout: {error!r}")
        return {}


def _image(entry: Mapping[str, Any], path: Path) -> ImageScore:
    restored = entry.get("restored")
    return ImageScore(
        set_name=entry["set_name"],
        name=entry["name"],
        scores=read_scores(entry),
        hr_file=entry.get("hr_file"),
        restored=None if restored is None else str(path.resolve() / restored),
    )


def _costs(costs: Mapping[str, Any]) -> RunCosts:
    latency, size = _within(costs, "latency"), costs.get("output_size")
    return RunCosts(
        params=_within(costs, "parameters").get("all"),
        multiply_adds=costs.get("multiply_adds"),
        latency_ms=latency.get("median_ms"),
        latency_p10_ms=latency.get("p10_ms"),
        latency_p90_ms=latency.get("p90_ms"),
        memory_mib=_within(costs, "memory").get("peak_mib"),
        device=latency.get("device"),
        output_size=None if size is None else (int(size[0]), int(size[1])),
        is_busy="load" in latency and CoreLoad(**latency["load"]).is_busy,
    )


def _curves(folder: RunFolder, problems: list[str]) -> dict[str, tuple[tuple[int, float], ...]]:
    """Infinities and NaN are left out."""
    curves = defaultdict(list)
    try:
        for step, row in folder.metrics():
            for key, value in row.items():
                if math.isfinite(value):
                    curves[key].append((step, value))
    except (ValueError, OSError) as error:
        problems.append(str(error))
    return {key: tuple(curve) for key, curve in curves.items()}
