"""Errors for unknown keys and choices, which name the nearest known ones."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from srlab.app.launch import configuration_folder
from srlab.app.presets import choices, compose_root
from srlab.app.renamed_keys import new_name
from srlab.app.saved_config import dotted_items

_MOST_NAMED = 3
_ALMOST_ALIKE = 0.8


def parsed_overrides(words: Iterable[str]) -> list[Override]:
    """Overrides of a command line by Hydra's own parser."""
    return OverridesParser.create().parse_overrides(list(words))


def check_known(cfg: DictConfig, override: Override) -> None:
    """Refuse an override of a key that ``cfg`` does not have, by a ``ValueError`` with the nearest keys."""
    known = _keys(cfg)
    if override.key_or_group not in known:
        raise ValueError(_no_such_key(override, known))


def unknown_choice(error: BaseException) -> str | None:
    """A sentence for a choice that does not exist, of Hydra's error; None for other errors."""
    found = re.search(r"Could not (?:find|load) '([\w/@]+)/([^'/]+)'", str(error))
    if found is None:
        return None
    group, name = found[1].partition("@")[0], found[2]
    options = choices(group)
    if not options:
        return None
    near = get_close_matches(name, options, _MOST_NAMED)
    meant = f"the nearest are {', '.join(near)}; " if near else ""
    return f"there is no {group}={name}; {meant}there are {', '.join(options)}"


def misspelt(words: Iterable[str], config_name: str) -> list[str]:
    """A sentence for each key that does not exist, of overrides that Hydra could not compose."""
    try:
        overrides = parsed_overrides(words)
        overrides = [each for each in overrides if not each.key_or_group.startswith(("hydra.", "hydra/"))]
        groups = [each for each in overrides if (configuration_folder() / each.key_or_group).is_dir()]
        fixed = [each.input_line or "" for each in groups if not each.is_sweep_override()]
        known = _keys(compose_root(config_name, fixed))
    except (HydraException, OmegaConfBaseException):
        return []  # Hydra's own message says what is wrong, such as a choice that does not exist
    values = [each for each in overrides if each not in groups]
    return [_no_such_key(each, known) for each in values if not _is_known(each, known)]


def _is_known(override: Override, known: set[str]) -> bool:
    key = override.key_or_group
    if override.is_add() or override.is_force_add():
        return key.partition(".")[0] in known and new_name(key) is None  # the roots have a schema
    return key in known


def _keys(cfg: DictConfig) -> set[str]:
    """Dotted keys of values and of the nodes that contain them."""
    return {key for key, _ in dotted_items(OmegaConf.to_container(cfg))}


def _no_such_key(override: Override, known: Iterable[str]) -> str:
    """What is meant: a renamed key, keys of nearly the same name, or an option that is not set."""
    key = override.key_or_group
    if (renamed := new_name(key)) is not None:
        return f"{key} was renamed to {renamed}"
    names = {other: other.rpartition(".")[2] for other in known}
    near = get_close_matches(key.rpartition(".")[2], set(names.values()), cutoff=_ALMOST_ALIKE)
    alike = [other for other, name in names.items() if name in near]
    alike.sort(key=lambda other: SequenceMatcher(None, key, other).ratio(), reverse=True)
    hint = f"the nearest are {', '.join(alike[:_MOST_NAMED])}"
    if not alike:
        hint = f"an option that is not set yet is added with +{override.input_line}"
    return f"there is no key {key}; {hint}"
