"""Run folders as train.py leaves them, written in milliseconds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CONFIG = """\
scale: {scale}
seed: {seed}
model:
  _target_: srlab.models.elan.ELAN
  scale: ${{scale}}
  n_share: {n_share}
  window_sizes: {window_sizes}
  dim: 12
  depth: 4
  expansion: 2
  shift_schedule: alternate
  backend: {backend}
data:
  _target_: srlab.data.datasets.folder
  seed: ${{seed}}
  root: /data/train
  batch_size: {batch_size}
  num_workers: {workers}
degradation:
  _target_: srlab.data.degradation.BicubicDegradation
optimizer:
  _target_: torch.optim.Adam
  lr: {lr}
protocol:
  basicsr:
    name: basicsr
paths:
  name: elan_light_x{scale}
  run: {run}
latency:
  output_size: [720, 1280]
trainer:
  max_steps: {max_steps}
  devices: {devices}
callbacks:
  best:
    dirpath: ${{paths.run}}/checkpoints
"""
DEFAULTS = {
    "scale": 2, "seed": 0, "n_share": 1, "window_sizes": "[4, 8, 16]", "batch_size": 16, "workers": 0,
    "backend": "auto", "lr": 0.0002, "max_steps": 100, "devices": 1,
}  # fmt: skip


def write_run(
    folder: Path,
    *,
    psnr: float | Mapping[str, float] | None,
    ssim: float = 0.9,
    latency_ms: float = 10.0,
    params: int = 600_000,
    multiply_adds: int = 50_000_000_000,
    images: Sequence[Mapping[str, Any]] = (),
    commit: str | None = "c0ffee0000000000",
    preset: str | None = None,
    protocol: Mapping[str, Any] | None = None,
    device: str = "test device",
    timing: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """One run; without ``psnr`` one that has not finished."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {**DEFAULTS, **config}
    (folder / "config.yaml").write_text(CONFIG.format(run=folder, **values))
    costs = {
        "parameters": {"all": params, "trainable": params, "held": params},
        "multiply_adds": multiply_adds,
        "output_size": [720, 1280],
        "latency": {
            "device": device, "median_ms": latency_ms, "p10_ms": latency_ms * 0.9, "p90_ms": latency_ms * 1.2,
            **(timing or {}),
        },
        "memory": {"peak_mib": 100.0},
    }  # fmt: skip
    (folder / "costs.json").write_text(json.dumps(costs))
    sets = psnr if isinstance(psnr, Mapping) else {"Set5": psnr}
    if psnr is not None:
        summary = {
            "name": f"elan_light_x{values['scale']}",
            "step": 80,
            "steps": values["max_steps"],
            "scores": [
                {"set_name": name, "protocol": "basicsr", "images": 5, "psnr": value, "ssim": ssim}
                for name, value in sets.items()
            ],
            "bicubic": [{"set_name": name, "images": 5, "psnr": 28.0, "ssim": 0.8} for name in sets],
            "protocol": protocol or {"name": "basicsr", "color": "y", "border": 2},
            "conditions": {
                "date": "2026-11-21T10:00:00+00:00", "commit": commit, "torch_version": "2.13.0",
                "device": device, "preset": preset, "costs": costs,
            },
            "images": list(images),
        }  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(summary))
    write_curve(folder, final=30.0 if psnr is None else max(sets.values()))
    return folder


def write_curve(folder: Path, *, final: float, steps: int = 10) -> None:
    lines = ["step,train/loss,val/psnr"]
    for step in range(1, steps + 1):
        psnr = repr(final - 3 / step) if step % 2 == 0 else ""
        lines.append(f"{step * 10},{5 / step!r},{psnr}")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")


def write_cell(folder: Path, *, swept: Mapping[str, str], state: str = "finished", **fields: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    cell = {
        "name": folder.name, "overrides": [f"{key}={value}" for key, value in swept.items()],
        "swept": dict(swept), "state": state, "exit_status": 0, "attempts": [{}], "objective": None,
        "message": None,
    }  # fmt: skip
    (folder / "cell.json").write_text(json.dumps({**cell, **fields}))
    return folder


def write_sweep(folder: Path, swept: Mapping[str, Sequence[str]], *, launcher: str = "basic") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    record = {"command": ["python", "train.py", "-m"], "swept": {k: list(v) for k, v in swept.items()}}
    (folder / "sweep.json").write_text(json.dumps({**record, "sweeper": "grid", "launcher": launcher}))
    return folder


def write_photograph(path: Path, *, height: int = 160, width: int = 192, seed: int = 0) -> np.ndarray:
    """Smooth random colours with an edge; (H, W, 3) uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(30, 220, (height // 16, width // 16, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    pixels[:, width // 2 : width // 2 + 4] = 20
    Image.fromarray(pixels).save(path)
    return pixels


def write_restoration(
    run: Path, photograph: Path, *, noise: float, seed: int = 0, spot: tuple[int, int] | None = None
) -> dict[str, Any]:
    """A noisy copy saved with the run, much worse within 64 pixels of ``spot``; its entry of summary.json."""
    pixels = np.array(Image.open(photograph)).astype(float)
    sigma = np.full(pixels.shape[:2], noise)
    if spot is not None:
        sigma[spot[0] : spot[0] + 64, spot[1] : spot[1] + 64] *= 6
    noisy = pixels + np.random.default_rng(seed).normal(size=pixels.shape) * sigma[..., None]
    file = run / "images" / "Set5" / f"{photograph.stem}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8)).save(file)
    error = float(((noisy - pixels) ** 2).mean())
    return {
        "set_name": "Set5", "name": photograph.stem, "psnr": 10 * np.log10(255**2 / error), "ssim": 0.9,
        "bicubic_psnr": 28.0, "bicubic_ssim": 0.8, "hr_file": str(photograph),
        "restored": str(file.relative_to(run)),
    }  # fmt: skip
