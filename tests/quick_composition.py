"""Hydra in tests: a configuration is composed once rather than twice, and its files are parsed in C.

Half of what a tiny run costs is the composition of its configuration. Hydra composes all of it once before to
read ``hydra.mode``, which no preset here sets; PyYAML parses in Python unless it is told otherwise.
"""

import functools
from collections.abc import Sequence
from typing import Any

import omegaconf._utils
from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from omegaconf import basecontainer
from yaml.constructor import SafeConstructor
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.resolver import Resolver

_in_python = omegaconf._utils.get_yaml_loader


@functools.cache
def _parser_in_c() -> type:
    """OmegaConf's loader, which knows its own constructors and resolvers, around libyaml's parser."""

    class Loader(CParser, _in_python()):
        def __init__(self, stream: Any) -> None:
            CParser.__init__(self, stream)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)

    return Loader


def _typed_mode(hydra: Hydra, config_name: str | None, overrides: Sequence[str]) -> RunMode | None:
    """The ``hydra.mode`` of the command line; None leaves it to ``-m``."""
    return RunMode.MULTIRUN if "hydra.mode=MULTIRUN" in overrides else None


def compose_quickly() -> None:
    """From now on, in this process and those that are forked from it."""
    omegaconf._utils.get_yaml_loader = _parser_in_c
    basecontainer.get_yaml_loader = _parser_in_c  # type: ignore[attr-defined]  (imported by name there)
    Hydra.get_mode = _typed_mode  # type: ignore[method-assign]
