"""A configuration as dotted keys and plain values."""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

__all__ = ["flat", "flat_items"]


def flat(cfg: DictConfig) -> dict[str, Any]:
    """Dotted keys and their values after interpolation; lists are values."""
    container = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert isinstance(container, dict)
    return dict(flat_items(container))


def flat_items(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The same of nested mappings."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from flat_items(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
