"""Configuration keys and targets that were renamed since srlab 0.1.0."""

from typing import Any

#: Dotted key of 0.1.0 and its name now; a prefix stands for all keys below it.
RENAMED_KEYS: dict[str, str] = {
    "model.window_side": "model.window_size",
    "explosion": "loss_spike_factor",
    "callbacks.finite.explosion": "callbacks.finite.loss_spike_factor",
}

#: ``_target_`` of 0.1.0 and where the class is now.
MOVED_TARGETS = {
    **{
        f"srlab.tasks.schedules.{name}": f"srlab.tasks.optimization.{name}"
        for name in ("constant", "cosine", "cosine_restarts", "multistep")
    },
    "srlab.losses.CharbonnierLoss": "srlab.losses.charbonnier.CharbonnierLoss",
    "srlab.losses.L1Loss": "srlab.losses.l1.L1Loss",
    "srlab.runtime.wandb_logger.TolerantWandbLogger": "srlab.extensions.wandb.logger.TolerantWandbLogger",
    "srlab.runtime.sweep.callback.SweepCallback": "srlab.app.application.Hooks",
}


def new_name(key: str) -> str | None:
    """Name of a dotted key that was renamed; None for other keys."""
    for old, new in RENAMED_KEYS.items():
        if key == old or key.startswith(f"{old}."):
            return new + key[len(old) :]
    return None


def migrated(node: Any, prefix: str = "") -> Any:
    """A configuration saved by srlab 0.1.0 (plain containers, interpolations as text) with today's names."""
    if isinstance(node, list):
        return [migrated(each, prefix) for each in node]
    if isinstance(node, str):
        for old, new in RENAMED_KEYS.items():
            node = node.replace(f"${{{old}}}", f"${{{new}}}")
        return MOVED_TARGETS.get(node, node)
    if not isinstance(node, dict):
        return node
    renamed = {key: (new_name(f"{prefix}{key}") or f"{prefix}{key}").removeprefix(prefix) for key in node}
    return {renamed[key]: migrated(value, f"{prefix}{key}.") for key, value in node.items()}
