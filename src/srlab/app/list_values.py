"""Makes a list of a single value where the class or function of a ``_target_`` expects a list."""

import inspect
import types
from collections.abc import Sequence
from typing import Any, Union, get_args, get_origin

from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf


def single_values_as_lists(node: DictConfig, prefix: str = "") -> None:
    """Change a configuration in place: ``data.sets=Set5`` becomes ``[Set5]``.

    The annotations of the class or function in a node's ``_target_`` say what is a list.

    Raises:
        ValueError: a list has values of another number or kind than its annotation says.
    """
    hints = _list_hints(node)
    for key in list(node):
        if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, str(key)):
            continue
        value, name, hint = node[key], f"{prefix}{key}", hints.get(str(key))
        if isinstance(value, DictConfig):
            single_values_as_lists(value, f"{name}.")
        elif isinstance(value, str | int | float) and hint is not None:
            node[key] = [value]
        if hint is not None and isinstance(node[key], ListConfig):
            _check(list(node[key]), hint, name)


def _list_hints(node: DictConfig) -> dict[str, Any]:
    """The annotations of those arguments of a node's target that are lists; None for the others."""
    if "_target_" not in node:
        return {}
    try:
        parameters = inspect.signature(get_object(node["_target_"]), eval_str=True).parameters
    except (AttributeError, HydraException, NameError, TypeError, ValueError):
        return {}  # instantiating it reports what is wrong
    return {name: _list_hint(each.annotation) for name, each in parameters.items()}


def _list_hint(hint: Any) -> Any:
    """The annotation of a list in ``hint`` where a single value would not be allowed; else None."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = [kind for kind in kinds if kind is not types.NoneType]
    lists = [kind for kind in kinds if get_origin(kind) in (list, tuple, Sequence)]
    return lists[0] if len(lists) == 1 == len(kinds) else None


def _check(values: Sequence[Any], hint: Any, name: str) -> None:
    arguments = get_args(hint)
    if get_origin(hint) is tuple and arguments[-1] is not Ellipsis:
        if len(values) != len(arguments):
            raise ValueError(f"{name} has {len(arguments)} values, got {values}")
        return
    kinds = {int: int, float: (int, float), str: str}.get(arguments[0])
    if kinds and any(not isinstance(value, kinds) or isinstance(value, bool) for value in values):
        raise ValueError(f"{name} is a list of {arguments[0].__name__}, got {values}")
