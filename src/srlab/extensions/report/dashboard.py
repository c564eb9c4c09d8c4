"""A W&B workspace as code: what every run of a project logged, laid out to be compared.

The keys are those that runs log (:mod:`srlab.extensions.wandb.result`, ``Costs.summary``), so that one layout
fits every project.
"""

import importlib
import json
import os
from dataclasses import dataclass
from itertools import chain
from types import ModuleType
from typing import Any

__all__ = ["Dashboard", "logged_keys", "save", "specification"]

_NAME = "srlab"
_VIEW = f"nw-{_NAME}-v"  # as the package names views, but the same in every call
_INSTALL = "pip install 'srlab[dashboard]'"
_AXIS = "trainer/global_step"
_BEST = "best/val/psnr"
_CURVES = {"val/psnr": "validation PSNR (dB)", "val/ssim": "validation SSIM", "train/loss": "training loss"}
_LEARNING_RATES = "lr-.*"  # each optimizer's own: lr-Adam
_IMAGES = {"comparison": ["comparison"], "restored": [f"restored/{number}" for number in range(1, 5)]}
_COUNTED_AT = "720x1280"
_TIMEOUT_S = 15


@dataclass(frozen=True)
class Dashboard:
    """What to lay out.

    Attributes:
        project: W&B's name of it.
        entity: user or team whose project it is; None for the one whose key is in use.
        sets: validation sets that get bars of their own beside the mean over sets.
        output_size: HEIGHTxWIDTH that latency and memory were measured at, as ``latency.output_size`` says.
    """

    project: str
    entity: str | None = None
    sets: tuple[str, ...] = ()
    output_size: str = "720x1280"


def logged_keys(dashboard: Dashboard) -> list[str]:
    """Every key of runs that the layout shows, learning rates apart."""
    return [*_costs(dashboard), _BEST, *_bars(dashboard), *_CURVES, *chain(*_IMAGES.values()), "best/gain"]


def specification(dashboard: Dashboard) -> dict[str, Any]:
    """The layout as W&B stores it; needs neither key nor network.

    Raises:
        ValueError: W&B's package for workspaces is not installed.
    """
    return json.loads(
        _workspace(dashboard)._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    )


def save(dashboard: Dashboard) -> str:
    """Make the layout a view of the project, or bring the view that an earlier call made up to date.

    Returns:
        Where it is shown.

    Raises:
        ValueError: no package, no key, or a key that the server refuses.
        OSError: the server cannot be reached.
    """
    _import("workspaces")
    import requests
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    try:
        if not wandb.login(prompt=False, verify=False):
            raise ValueError(
                "no key for W&B: wandb login, or WANDB_API_KEY; --dry-run prints the layout without one"
            )
        entity = dashboard.entity or wandb.Api(timeout=_TIMEOUT_S).default_entity
        if not entity:
            raise ValueError(f"{server} does not say whose project it is: give --entity NAME")
        known = Dashboard(dashboard.project, entity, dashboard.sets, dashboard.output_size)
        workspace = _workspace(known)
        workspace._internal_name, workspace._internal_id = _VIEW, _saved_view(known)
        return workspace.save().url
    except (wandb.Error, requests.RequestException) as error:
        text = " ".join(str(error).split())
        raise OSError(f"{server} did not take the dashboard: {text}; --write FILE keeps it") from error


def _saved_view(dashboard: Dashboard) -> str:
    """W&B's id of the view that an earlier call made; empty where there is none."""
    internal = _import("workspaces.internal")
    try:
        return internal.get_view_dict(dashboard.entity, dashboard.project, _NAME)["id"]
    except ValueError as error:
        if "not found" not in str(error):
            raise
        return ""


def _workspace(dashboard: Dashboard) -> Any:
    workspaces, panels, keys = _import("workspaces"), _import("reports.v2"), _import("expr")
    best = panels.SummaryMetric(_BEST)

    def against(key: str, title: str) -> Any:
        return panels.ScatterPlot(
            title=f"PSNR against {title}", x=panels.SummaryMetric(key), y=best, log_x=True
        )

    costs = _costs(dashboard)
    step = panels.Metric(_AXIS)
    sections = {
        "PSNR against cost": [against(key, title) for key, title in costs.items()],
        "curves": [
            *(panels.LinePlot(title=title, x=step, y=[key]) for key, title in _CURVES.items()),
            panels.LinePlot(title="learning rate", x=step, metric_regex=_LEARNING_RATES),
        ],
        "scores": [
            panels.BarPlot(title=title, metrics=[panels.SummaryMetric(key)])
            for key, title in {**_bars(dashboard), "best/gain": "gain over bicubic (dB)"}.items()
        ],
        "images": [panels.MediaBrowser(title=name, media_keys=keys) for name, keys in _IMAGES.items()],
    }
    columns = [_BEST, "best/val/ssim", "best/gain", "gray_images", "gray_rule", *costs]
    return workspaces.Workspace(
        entity=dashboard.entity or "",
        project=dashboard.project,
        name=_NAME,
        sections=[
            workspaces.Section(name=name, panels=each, is_open=True) for name, each in sections.items()
        ],
        settings=workspaces.WorkspaceSettings(x_axis=_AXIS, max_runs=50),
        runset_settings=workspaces.RunsetSettings(
            groupby=[keys.Metric("Group")],
            order=[keys.Ordering(keys.Summary(_BEST), ascending=False)],
            pinned_columns=[f"summary:{key}" for key in columns],
        ),
    )


def _costs(dashboard: Dashboard) -> dict[str, str]:
    """What PSNR is shown against: key to title."""
    size = dashboard.output_size
    return {
        f"latency_ms/{size}": f"latency (ms) of one {size} image",
        f"multiply_adds/{_COUNTED_AT}": "multiply-adds",
        "params/all": "parameters",
        f"peak_memory_mib/{size}": "peak memory (MiB)",
    }


def _bars(dashboard: Dashboard) -> dict[str, str]:
    sets = {f"best/val/{name}/psnr": f"PSNR (dB) on {name}" for name in dashboard.sets}
    return {_BEST: "PSNR (dB), mean over sets", **sets}


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"wandb_workspaces.{name}")
    except ModuleNotFoundError as error:
        raise ValueError(f"dashboards need W&B's package for workspaces: {_INSTALL}") from error
