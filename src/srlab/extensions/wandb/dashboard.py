"""A W&B workspace as code: what every run of a project logged, laid out to be compared."""

import json
import os
from dataclasses import dataclass
from typing import Any

import requests
import wandb

from srlab.extensions.optional_packages import require_packages
from srlab.runs.contract import MONITOR, STEP_AXIS, TRAIN_LOSS, validation_key

_NAME = "srlab"
_VIEW = f"nw-{_NAME}-v"  # as the package names views, but the same in every call
_BEST = f"best/{MONITOR}"
_SSIM = validation_key("ssim")
_CURVES = {MONITOR: "validation PSNR (dB)", _SSIM: "validation SSIM", TRAIN_LOSS: "training loss"}
COMPARISON = "comparison"
#: One key for each picture: W&B distorts pictures of different sizes under one key.
RESTORED = tuple(f"restored/{number}" for number in range(1, 5))


@dataclass(frozen=True)
class Dashboard:
    """What to lay out; ``sets`` get bars of their own, ``output_size`` is that of latency and memory.

    Without ``entity`` the project belongs to the user whose key is in use.
    """

    project: str
    entity: str | None = None
    sets: tuple[str, ...] = ()
    output_size: str = "720x1280"


def specification(dashboard: Dashboard) -> dict[str, Any]:
    """The layout as W&B stores it; needs neither key nor network.

    Raises:
        ValueError: W&B's package for workspaces is not installed.
    """
    spec = _workspace(dashboard)._to_model().spec
    return json.loads(spec.model_dump_json(by_alias=True, exclude_none=True))


def save(dashboard: Dashboard) -> str:
    """Make the layout a view of the project, or update the view that an earlier call made.

    Returns:
        Where it is shown.

    Raises:
        ValueError: no package, no key, or a key that the server refuses.
        OSError: the server cannot be reached.
    """
    workspace = _workspace(dashboard)
    os.environ.setdefault("WANDB_SILENT", "true")
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    try:
        if not wandb.login(prompt=False, verify=False):
            raise ValueError(
                "no key for W&B: wandb login, or WANDB_API_KEY; --dry-run prints the layout without one"
            )
        entity = dashboard.entity or wandb.Api(timeout=15).default_entity
        if not entity:
            raise ValueError(f"{server} does not return an owner of the project: give --entity NAME")
        workspace.entity = entity
        workspace._internal_name, workspace._internal_id = _VIEW, _saved_view(entity, dashboard.project)
        return workspace.save().url
    except (wandb.Error, requests.RequestException) as error:
        text = " ".join(str(error).split())
        raise OSError(f"{server} did not accept the dashboard: {text}; --dry-run prints it") from error


def _saved_view(entity: str, project: str) -> str:
    """W&B's id of the view that an earlier call made; empty if there is none."""
    from wandb_workspaces.workspaces.internal import get_view_dict

    try:
        return get_view_dict(entity, project, _NAME)["id"]
    except ValueError as error:
        if "not found" not in str(error):
            raise
        return ""


def _workspace(dashboard: Dashboard) -> Any:
    require_packages(["wandb_workspaces"], purpose="srlab dashboard", extra="dashboard")
    from wandb_workspaces import expr, workspaces
    from wandb_workspaces.reports import v2 as panels

    best, step = panels.SummaryMetric(_BEST), panels.Metric(STEP_AXIS)
    costs = _costs(dashboard)
    layout = {
        "PSNR against cost": [
            panels.ScatterPlot(title=f"PSNR against {title}", x=panels.SummaryMetric(key), y=best, log_x=True)
            for key, title in costs.items()
        ],
        "curves": [
            *(panels.LinePlot(title=title, x=step, y=[key]) for key, title in _CURVES.items()),
            # each optimizer's own: lr-Adam
            panels.LinePlot(title="learning rate", x=step, metric_regex="lr-.*"),
        ],
        "scores": [
            panels.BarPlot(title=title, metrics=[panels.SummaryMetric(key)])
            for key, title in _bars(dashboard).items()
        ],
        "images": [
            panels.MediaBrowser(title=COMPARISON, media_keys=[COMPARISON]),
            panels.MediaBrowser(title="restored", media_keys=list(RESTORED)),
        ],
    }
    columns = [_BEST, f"best/{_SSIM}", "best/gain", "gray_images", "gray_rule", *costs]
    return workspaces.Workspace(
        entity=dashboard.entity or "",
        project=dashboard.project,
        name=_NAME,
        sections=[workspaces.Section(name=name, panels=each, is_open=True) for name, each in layout.items()],
        settings=workspaces.WorkspaceSettings(x_axis=STEP_AXIS, max_runs=50),
        runset_settings=workspaces.RunsetSettings(
            groupby=[expr.Metric("Group")],
            order=[expr.Ordering(expr.Summary(_BEST), ascending=False)],
            pinned_columns=[f"summary:{key}" for key in columns],
        ),
    )


def _costs(dashboard: Dashboard) -> dict[str, str]:
    """What PSNR is shown against: key to title."""
    size = dashboard.output_size
    return {
        f"latency_ms/{size}": f"latency (ms) of one {size} image",
        "multiply_adds/720x1280": "multiply-adds",
        "params/all": "parameters",
        f"peak_memory_mib/{size}": "peak memory (MiB)",
    }


def _bars(dashboard: Dashboard) -> dict[str, str]:
    sets = {f"best/{validation_key('psnr', name)}": f"PSNR (dB) on {name}" for name in dashboard.sets}
    return {_BEST: "PSNR (dB), mean over sets", **sets, "best/gain": "gain over bicubic (dB)"}
