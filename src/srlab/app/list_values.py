"""One value where a list is meant is a list of one, for whatever a configuration builds."""

import inspect
import types
from collections.abc import Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

__all__ = ["single_values_as_lists"]


def single_values_as_lists(cfg: DictConfig) -> None:
    """Change a configuration in place: ``data.sets=Set5`` becomes ``[Set5]``.

    What is a list is known from the annotations of the class or function in a node's ``_target_``.

    Args:
        cfg: composed; nodes below it are changed, too.

    Raises:
        ValueError: a list has another number of values, or values of another kind, than its annotation says.
    """
    _change_below(cfg, "")


def _change_below(node: DictConfig, prefix: str) -> None:
    hints = _hints(node)
    for key in list(node):
        if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, str(key)):
            continue
        value, name = node[key], f"{prefix}{key}"
        hint = hints.get(str(key))
        if isinstance(value, DictConfig):
            _change_below(value, f"{name}.")
        elif isinstance(value, str | int | float) and hint is not None:
            with open_dict(node):
                node[key] = [value]
        if hint is not None and isinstance(node[key], ListConfig):
            _check(list(node[key]), hint, name)


def _hints(node: DictConfig) -> dict[str, Any]:
    """Of the arguments of a node's target that are lists: the annotation of the list."""
    target = node.get("_target_")
    if target is None:
        return {}
    try:
        build = get_object(target)
        parameters = inspect.signature(build).parameters.values()
    except (HydraException, TypeError, ValueError):
        return {}  # instantiating it says what is wrong
    function = build.__init__ if inspect.isclass(build) else build
    names = getattr(function, "__globals__", {})
    found = {each.name: _list_hint(_evaluated(each.annotation, names)) for each in parameters}
    return {name: hint for name, hint in found.items() if hint is not None}


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    """An annotation that is written as a string; as it is where that needs what only type checkers import."""
    holder = types.SimpleNamespace(__annotations__={"value": annotation})
    try:
        return get_type_hints(holder, names)["value"]
    except (NameError, TypeError):
        return annotation


def _list_hint(hint: Any) -> Any:
    """The annotation of a list in ``hint``, where one value alone would not do; else None."""
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
