"""A run's config.yaml as flat ``group.key: value``, interpolations resolved and told apart."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FlatConfiguration", "flat_configuration", "shown_value"]


@dataclass(frozen=True)
class FlatConfiguration:
    """Values by dotted key.

    Attributes:
        values: leaves of the resolved configuration; lists are leaves.
        derived: keys whose value is computed from another key (``model.scale: ${scale}``); what differs
            there differs at its source, too.
    """

    values: Mapping[str, Any]
    derived: frozenset[str]


def flat_configuration(path: Path) -> FlatConfiguration:
    """Read ``path``.

    Raises:
        ValueError: no YAML mapping, or an interpolation that leads nowhere.
        OSError: it cannot be read.
    """
    import yaml
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        raw = OmegaConf.load(path)
        if not isinstance(raw, DictConfig):
            raise ValueError(f"{path} is no mapping")
        written = dict(_leaves(OmegaConf.to_container(raw, resolve=False)))
        resolved = dict(_leaves(OmegaConf.to_container(raw, resolve=True)))
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    derived = {
        key
        for key in resolved
        if any("${" in str(written.get(parent, "")) for parent in (key, *_parents(key)))
    }
    return FlatConfiguration(values=resolved, derived=frozenset(derived))


def shown_value(value: Any) -> str:
    """As it would be typed on a command line: lists without blanks, null, true."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(shown_value, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{shown_value(each)}" for key, each in value.items()) + "}"
    return str(value)


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Empty mappings are leaves, too."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, node


def _parents(key: str) -> Iterator[str]:
    while "." in key:
        key = key.rpartition(".")[0]
        yield key
