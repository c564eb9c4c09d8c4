"""Configurations of runs as flat ``group.key: value``."""

from collections.abc import Iterator, Mapping
from typing import Any

from srlab.runs.contract import CONFIG_FILE
from srlab.runs.folder import RunFolder


def read_configuration(folder: RunFolder, problems: list[str]) -> tuple[dict[str, Any], frozenset[str]]:
    """Resolved values by dotted key, and the keys that are computed from others (``model.scale: ${scale}``).

    Both are empty if there is no configuration, or a damaged one, which is added to ``problems``.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from srlab.app.renamed_keys import migrated

    try:
        config = migrated(folder.config() or {})
        written = dict(flat(config))
        resolved = dict(flat(OmegaConf.to_container(OmegaConf.create(config), resolve=True)))
    except OmegaConfBaseException as error:
        problems.append(f"{folder.path / CONFIG_FILE} cannot be resolved: {error}")
        return {}, frozenset()
    except (ValueError, OSError) as error:
        problems.append(str(error))
        return {}, frozenset()
    # an interpolation may stand for a whole group: ``data.degradation: ${degradation}``
    computed = tuple(key for key, value in written.items() if "${" in str(value))
    derived = {key for key in resolved if any(f"{key}.".startswith(f"{each}.") for each in computed)}
    return resolved, frozenset(derived)


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by dotted key; lists and empty mappings are leaves."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, node


def configured_protocol(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the scoring protocol in a flat configuration; empty without one."""
    settings = {key: value for key, value in config.items() if key.startswith("protocol.")}
    names = [str(value) for key, value in settings.items() if key.endswith(".name")]
    named = {"name": " ".join(names)} if names else {}
    return {key.rpartition(".")[2]: value for key, value in settings.items()} | named
