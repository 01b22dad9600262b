"""Builds the object that a section of the configuration describes; the only call of Hydra's ``instantiate``."""

from __future__ import annotations

import inspect
import types
import typing
from typing import Any

from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf

from gan_lab.config.hydra_versions import allowing_targets

PACKAGES = ("benchmarks", "data", "iteration", "losses", "metrics", "models", "tracking", "training")
"""Packages of gan_lab whose classes a configuration may name: none of them writes anything when it is only constructed."""

ALLOWED_TARGETS = (
    *(f"gan_lab.{package}." for package in PACKAGES),
    "torch.optim.",
    "gan_lab.sweeps.pruners.",
    "optuna.pruners.",
)
"""Prefixes of allowed ``_target_``s, which are classes, so that a configuration can't call what it likes.

The configuration may be that of a run of somebody else.
"""


def instantiate(node: Any, where: str = "", **more: Any) -> Any:
    """Build the object that a section describes.

    The section and those in it are first checked against the signatures of their ``_target_``s.

    Args:
        node: a section with ``_target_``, or a dictionary of such sections.
        where: its dotted name, for messages.
        more: further arguments of the outermost target.

    Raises:
        ValueError: the target is not allowed, an argument is unknown or missing, a value has the wrong type, or the object
            rejects it.
    """
    _check_section(node, where, tuple(more))
    try:
        with allowing_targets(ALLOWED_TARGETS):
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
        raise ValueError(f"{where}._target_={name}: targets are classes of {' or '.join(t + '*' for t in ALLOWED_TARGETS)}")
    try:
        target = get_object(name)
    except (ImportError, ValueError, HydraException) as error:
        raise ValueError(f"{where}._target_={name}: no such object") from error
    if not f"{getattr(target, '__module__', '')}.".startswith(ALLOWED_TARGETS):  # reached through a module that imports it
        raise ValueError(f"{where}._target_={name}: belongs to {getattr(target, '__module__', 'another module')}")
    if not inspect.isclass(target):
        raise ValueError(f"{where}._target_={name}: is no class")
    parameters, hints = _signature(target)
    own = {str(key): node[key] for key in node if not str(key).startswith("_")}
    takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    parameters = {name: p for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    for key, value in own.items():
        if key not in parameters and not takes_more:
            accepted = ", ".join(parameters) or "no arguments"
            hint = f"if the model or the experiment sets {key}, ~{where}.{key} leaves it out"
            raise ValueError(f"{where}.{key}: {name} takes {accepted}; {hint}")
        if not _fits(value, hints.get(key, Any)):
            shown = "null" if value is None else value
            raise ValueError(f"{where}.{key}={shown}: must be {_format_hint(hints[key])}")
    needed = [k for k, p in parameters.items() if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [k for k in needed if k not in own and k not in given]
    if missing and not node.get("_partial_", False):
        raise ValueError(f"{where}: {name} needs {', '.join(missing)}")


def _signature(target: Any) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Parameters and type hints of a callable; ``**kwargs`` of a subclass stands for its parents' parameters."""
    parameters = dict(inspect.signature(target).parameters)
    if inspect.isclass(target):
        for parent in target.__mro__[1:]:
            rest = next((name for name, p in parameters.items() if p.kind is p.VAR_KEYWORD), None)
            if rest is None or parent is object:
                break
            if "__init__" in vars(parent):
                del parameters[rest]
                inherited = list(inspect.signature(vars(parent)["__init__"]).parameters.items())[1:]
                parameters = {name: _optional(parameter) for name, parameter in inherited} | parameters
    hints: dict[str, Any] = {}
    for owner in reversed(target.__mro__ if inspect.isclass(target) else [target]):
        function = owner.__dict__.get("__init__") if inspect.isclass(owner) else owner
        if isinstance(function, types.FunctionType):
            hints |= typing.get_type_hints(function)
    return parameters, hints


def _optional(parameter: inspect.Parameter) -> inspect.Parameter:
    """The parameter with a default, since a subclass may set it itself."""
    return parameter if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) else parameter.replace(default=None)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain configuration value fits a type hint; hints that are not plain types accept everything."""
    if hint is Any:
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin in (list, tuple):
        if not OmegaConf.is_list(value):
            return False
        items = arguments if origin is tuple and Ellipsis not in arguments else arguments[:1] * len(value)
        return len(value) == len(items) and all(map(_fits, value, items))
    if OmegaConf.is_dict(value):
        return hint not in (str, bool, int, float, type(None))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool, type(None)):
        return isinstance(value, hint)
    return hint is not None and not isinstance(value, str | int | float | bool | type(None))


def _format_hint(hint: Any) -> str:
    return hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")
