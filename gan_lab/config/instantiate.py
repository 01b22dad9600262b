"""How a section becomes an object; the one call of Hydra's ``instantiate``."""

from __future__ import annotations

import inspect
import types
import typing
from typing import Any

from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf

ALLOWED_TARGETS = ("gan_lab.", "torch.optim.", "optuna.pruners.")
"""A ``_target_`` outside these is refused: a configuration chooses among objects, it does not run code."""


def instantiate(node: Any, where: str = "", **more: Any) -> Any:
    """The object a section describes.

    Every section below it is first held against the signature of its ``_target_``.

    Args:
        node: a section with ``_target_``, or a dictionary of such.
        where: its name, for messages.
        more: further arguments of the outermost target.

    Raises:
        ValueError: a target that is not allowed, an unknown or missing argument, a value of the wrong type, or whatever the
            object itself refuses.
    """
    _check_section(node, where, tuple(more))
    try:
        return hydra_instantiate(node, _convert_="all", **more)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError):
            raise ValueError(str(cause)) from cause
        raise


def _check_section(node: Any, where: str, given: tuple[str, ...] = ()) -> None:
    if OmegaConf.is_list(node):
        for n, item in enumerate(node):
            _check_section(item, f"{where}[{n}]")
    if not OmegaConf.is_dict(node):
        return
    if "_target_" in node:
        _check_arguments(node, where, given)
    for key, value in node.items():
        _check_section(value, f"{where}.{key}".lstrip("."))


def _check_arguments(node: DictConfig, where: str, given: tuple[str, ...]) -> None:
    name = node["_target_"]
    if not str(name).startswith(ALLOWED_TARGETS):
        raise ValueError(f"{where}._target_={name}: targets are objects of {' or '.join(t + '*' for t in ALLOWED_TARGETS)}")
    try:
        target = get_object(name)
    except (ImportError, ValueError, HydraException) as error:
        raise ValueError(f"{where}._target_={name}: no such object") from error
    if not f"{getattr(target, '__module__', '')}.".startswith(ALLOWED_TARGETS):  # reached through a module that imports it
        raise ValueError(f"{where}._target_={name}: belongs to {getattr(target, '__module__', 'another module')}")
    parameters, hints = _signature(target)
    own = {str(key): node[key] for key in node if not str(key).startswith("_")}
    takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key, value in own.items():
        if key not in parameters and not takes_more:
            raise ValueError(f"{where}.{key}: {name} takes {', '.join(parameters) or 'no arguments'}")
        if not _fits(value, hints.get(key, Any)):
            raise ValueError(f"{where}.{key}={value}: must be {_spell(hints[key])}")
    needed = [k for k, p in parameters.items() if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [k for k in needed if k not in own and k not in given]
    if missing and not node.get("_partial_", False):
        raise ValueError(f"{where}: {name} needs {', '.join(missing)}")


def _signature(target: Any) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Parameters and type hints of a callable; those behind ``**kwargs`` of a subclass are its parents'."""
    parameters = dict(inspect.signature(target).parameters)
    hints: dict[str, Any] = {}
    for owner in reversed(target.__mro__ if inspect.isclass(target) else [target]):
        function = owner.__dict__.get("__init__") if inspect.isclass(owner) else owner
        if isinstance(function, types.FunctionType):
            hints |= typing.get_type_hints(function)
    return parameters, hints


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain configuration value can be what ``hint`` says; whatever is not a plain type passes."""
    if OmegaConf.is_dict(value) or hint is Any:
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin in (list, tuple):
        if not OmegaConf.is_list(value):
            return False
        items = arguments if origin is tuple and Ellipsis not in arguments else arguments[:1] * len(value)
        return len(value) == len(items) and all(map(_fits, value, items))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool, type(None)):
        return isinstance(value, hint)
    return hint is not None and not isinstance(value, str | int | float | bool | type(None))


def _spell(hint: Any) -> str:
    return hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")
