"""What a resumed run obeys of what is typed with ``resume=RUN``, and what it refuses."""

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from srlab.app.flat_config import flat

__all__ = ["check_obeyed"]

_NETWORK = (
    "resume keeps the network in {folder}, and this would make it another one: start a new run, perhaps with "
    "initial_weights={folder}"
)
_PLACE = "a resumed run writes to its own folder, {folder}: leave it out"

# None: the objects that these keys build are built anew, and what a checkpoint restores in them leaves their
# options as typed. Otherwise why not, and what to do. The longest key counts; a key of none is refused.
_RULES: Mapping[str, str | None] = {
    "activation_checkpointing": None,
    "callbacks": None,
    "compile": None,
    "data": None,
    "degradation": None,
    "initial_weights": "a resumed run starts from its checkpoint: leave it out, or start a new run",
    "latency": None,
    "latency.limit_ms": (
        "the limit decides whether a run begins, and the one in {folder} has begun: leave it out, or start a "
        "new run"
    ),
    "logger": None,
    "loss": None,
    "loss_spike_factor": None,
    "matmul_precision": None,
    "metrics": None,
    "model": _NETWORK,
    "on_nan": None,
    "optimizer": None,
    "paths": None,
    "paths.new_run": _PLACE,
    "paths.run": _PLACE,
    "protocol": (
        "the best score so far was measured under the protocol in {folder}: keep it, and compare protocols "
        "with evaluate.py"
    ),
    "saved_images": None,
    "scale": _NETWORK,
    "scheduler": None,
    "seed": None,
    "shift_schedule": _NETWORK,
    "threads": None,
    "trainer": None,
    "validate_every": None,
}


def check_obeyed(before: DictConfig, now: DictConfig, folder: Path) -> None:
    """Refuse what a resumed run would not obey.

    Values are compared after interpolation, so that a key is refused by whatever other key changes it.

    Args:
        before: the configuration of the run.
        now: the same, changed as typed.
        folder: of the run.

    Raises:
        ValueError: naming the key, the values and what to do instead.
    """
    values = [flat(cfg) for cfg in (before, now)]
    for key in sorted(values[0].keys() | values[1].keys()):
        one, other = (each.get(key, "not set") for each in values)
        rule = _rule(key)
        if one != other and rule is not None:
            raise ValueError(f"{key}={other} instead of {one}: {rule.format(folder=folder)}")


def _rule(key: str) -> str | None:
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in _RULES:
            return _RULES[prefix]
    return "whether a resumed run obeys it is not known: leave it out, or start a new run"
