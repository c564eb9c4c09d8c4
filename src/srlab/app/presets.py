"""Presets: the networks described in conf/model, found from any working directory and composed by Hydra."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab.app.launch import configuration_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from srlab.models.network import Network

# Arguments in which networks with the same function may differ: how it is computed, and what training adds.
_NOT_THE_FUNCTION = frozenset({"_target_", "_convert_", "backend", "drop_path"})


def list_models() -> list[str]:
    """Names that ``create_model`` and ``model=…`` on a command line take."""
    return choices("model")


def create_model(name: str, *, scale: int, **overrides: Any) -> Network:
    """Build the network of preset ``name`` with fresh weights.

    On an Intel processor call the network inside ``with srlab.flush_subnormals():``. ELAN's soft-max produces
    subnormal numbers, which take these processors most of the time (docs/speed.md); neither importing srlab
    nor building a network changes the floating-point mode of your program.

    Args:
        name: one of :func:`list_models`.
        scale: upsampling factor of both sides.
        overrides: constructor arguments that replace the preset's, such as ``window_sizes=[8, 8, 8]``.

    Raises:
        ValueError: unknown preset, unknown argument or an impossible combination.
    """
    from srlab.models.registry import construct

    if name not in list_models():
        raise ValueError(f"unknown model {name!r}; choose one of {', '.join(list_models())}")
    return construct({**_arguments(_model_node(name, scale)), **overrides})


def preset_class(name: str) -> type[Network]:
    """The class of the network that preset ``name`` builds, without building it."""
    from srlab.models.registry import find_class

    return find_class(_own_values(name, _files()).get("_target_") or _model_node(name, None)["_target_"])


def published_scales(name: str) -> tuple[int, ...]:
    """Scales that preset ``name`` exists for."""
    return preset_class(name).published_scales


def list_recipes(name: str) -> list[int]:
    """Scales that preset ``name`` has a paper's recipe for, ``conf/experiment/<name>_x<scale>.yaml``."""
    suffixes = (choice.removeprefix(f"{name}_x") for choice in choices("experiment"))
    return sorted(int(suffix) for suffix in suffixes if suffix.isdecimal())


def list_named_recipes(name: str) -> list[str]:
    """Experiments of preset ``name`` beside :func:`list_recipes`: ``<name>`` or ``<name>_<what>``."""
    longer = [other for other in list_models() if other != name and other.startswith(f"{name}_")]
    return [
        choice
        for choice in choices("experiment")
        if (choice == name or choice.startswith(f"{name}_"))
        and not choice.removeprefix(f"{name}_x").isdecimal()
        and not any(choice == other or choice.startswith(f"{other}_") for other in longer)
    ]


def match_preset(model: Mapping[str, Any]) -> str | None:
    """The preset that computes the same function of the same weights as ``model``; None without one.

    Args:
        model: import path ``_target_`` and constructor arguments, as a checkpoint's description has them.
    """
    wanted, files = _function_of(model), _files()
    for name in list_models():
        # composing takes time
        is_candidate = _own_values(name, files).get("_target_") in (None, model.get("_target_"))
        if is_candidate and _function_of(_arguments(_model_node(name, model.get("scale")))) == wanted:
            return name
    return None


def build_network(model_node: DictConfig | Mapping[str, Any]) -> Network:
    """Build the network that a composed ``model`` node, or a plain dictionary like it, describes.

    Raises:
        ValueError: a value is missing, unknown or impossible.
    """
    from srlab.models.registry import construct

    return construct(_arguments(model_node))


def choices(group: str) -> list[str]:
    """What may be chosen of a group of our configuration folder."""
    return sorted(path.stem for path in (configuration_folder() / group).glob("*.yaml"))


def _files() -> tuple[tuple[Path, int], ...]:
    """What presets are composed of, and when each file was changed: what was read is used until then."""
    folder = configuration_folder()
    paths = [folder / "network.yaml", *folder.glob("model/*.yaml"), *folder.glob("shift_schedule/*.yaml")]
    return tuple((path, path.stat().st_mtime_ns) for path in sorted(paths))


def _model_node(name: str, scale: float | None) -> DictConfig:
    """What preset ``name`` is composed to; the caller's own."""
    from omegaconf import OmegaConf

    config = copy.deepcopy(_composed(name, _files()))
    OmegaConf.update(config, "scale", scale)
    return config.model


@functools.lru_cache(maxsize=256)
def _composed(name: str, _unchanged: tuple[tuple[Path, int], ...]) -> DictConfig:
    return compose_root("network", [f"model={name}"])


@functools.lru_cache(maxsize=256)
def _own_values(name: str, _unchanged: tuple[tuple[Path, int], ...]) -> dict[str, Any]:
    """Values in a preset's own file, which override those it inherits, without composing it."""
    from omegaconf import OmegaConf

    node = OmegaConf.load(configuration_folder() / "model" / f"{name}.yaml")
    return OmegaConf.to_container(node)  # type: ignore[return-value]


def _function_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """Class and arguments that matter, defaults filled in, sequences as lists."""
    from srlab.models.registry import comparable, find_class

    network_class = find_class(str(model.get("_target_")))
    parameters = inspect.signature(network_class).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    arguments = comparable({**defaults, **model})
    kept = {name: value for name, value in arguments.items() if name not in _NOT_THE_FUNCTION}
    return {"class": network_class, **kept}


def _arguments(model_node: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Plain values, interpolations resolved; arguments that 0.1.0 named otherwise have today's names."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from srlab.models.registry import migrate

    if not isinstance(model_node, DictConfig):
        return migrate(model_node)
    try:
        container = OmegaConf.to_container(model_node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"the network's configuration is incomplete: {error}") from error
    return container  # type: ignore[return-value]


def compose_root(config_name: str, overrides: list[str]) -> DictConfig:
    """Compose a root of our configuration folder, also inside of a Hydra application."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    state = GlobalHydra.instance()
    running, state.hydra = state.hydra, None
    try:
        with initialize_config_dir(str(configuration_folder()), version_base="1.3", job_name="srlab"):
            return compose(config_name, overrides=overrides)
    finally:
        GlobalHydra.instance().hydra = running
