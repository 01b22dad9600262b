"""Paths on the command line: taken literally, as the shell passes them on, whatever characters they have.

Hydra's grammar gives commas, brackets, ``=``, quotes and other characters a meaning, and accepts no letters but those of ASCII.
A path is therefore put in Hydra's quotes before Hydra sees it. ``~`` is the home folder, which shells don't expand after ``=``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

KEYS = frozenset(
    {
        *("run", "fakes", "reals", "out", "input", "project", "latent", "sheet", "study", "baseline", "resume", "fit.file"),
        *("dataset.path", "dataset.root", "paths.data", "paths.weights", "evaluation.reals"),
        *("initial_weights.path", "initial_weights.discriminator"),
        *("hydra.run.dir", "hydra.sweep.dir", "study.storage"),
    }
)
"""Keys whose value is a path, a name that may look like one, or the URL of a file."""

OTHER_KEYS = re.compile(r"(features|evaluation\.pairs|perception)(\.\w+)*\.(folder|weights|file)")
"""Further ones: the files of networks."""

LISTS = frozenset({"compare", "runs"})
"""Keys whose value is a list of paths."""

WORDS = frozenset({"", "null", "true", "false", "???"})
"""Values that are no paths."""

REFERENCE = re.compile(r"\$\{(?!oc\.env:|now:|hydra[.:]|paths\.|study\.|dataset\.|seed\})")
"""``${`` that does not begin one of the references that may occur in a path, such as ``${now:%Y-%m-%d}``."""


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """A command line in which Hydra reads every path as it was typed; other arguments are unchanged.

    A path that is already in Hydra's quotes, or escaped for it, is understood too, unless a file has the name as typed. With
    ``-m``, commas separate several paths, unless a file has the name with the commas.

    Raises:
        ValueError: a path contains ``${``, which would refer to a key, or begins with ``~`` and the name of no user.
    """
    multirun = bool({"-m", "--multirun"} & set(arguments))
    return [_quote_argument(argument, multirun) for argument in arguments]


def quote(text: str) -> str:
    """A text in Hydra's quotes."""
    return QuotedString(text, Quote.single).with_quotes()


def typed_text(value: str) -> str:
    """The text that Hydra reads from the value of an override; the value itself if it reads no text from it."""
    parsed = _parse(f"key={value}")
    text = None if parsed is None or parsed.is_sweep_override() else parsed.value()
    return text if isinstance(text, str) else value


def _quote_argument(argument: str, multirun: bool) -> str:
    name, equals, value = argument.partition("=")
    key = name.lstrip("+")
    if not equals or value in WORDS or name.startswith(("-", "~")):
        return argument
    if key in LISTS and value.startswith("[") and value.endswith("]"):
        return f"{name}=[{','.join(_quote_value(key, item) for item in _split(value[1:-1]))}]"
    if key not in KEYS | LISTS and not OTHER_KEYS.fullmatch(key):
        return argument
    if multirun and "," in value and not key.startswith("hydra.") and not _exists(value):
        is_sweep = (parsed := _parse(argument)) is not None and parsed.is_sweep_override() and "(" in value
        return argument if is_sweep else f"{name}={','.join(_quote_value(key, part) for part in _split(value))}"
    return f"{name}={_quote_value(key, value)}"


def _quote_value(key: str, value: str) -> str:
    path = _literal(value)
    if REFERENCE.search(path):
        raise ValueError(f"{key}={path}: a path can't contain ${{, which refers to a key; rename the folder")
    return value if typed_text(value) == path and _is_text(value) else quote(path)


def _literal(value: str) -> str:
    """The path that a value stands for."""
    text = typed_text(value)
    path = text if not _exists(value) and (value[:1] in ("'", '"') or _exists(text)) else value
    if not path.startswith("~"):
        return path
    if _exists(path):
        return str(Path(path).absolute())
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise ValueError(f"{path}: there is no user of this name, whose home folder it could be") from None


def _split(text: str) -> list[str]:
    """The paths between commas; a comma in quotes, or in the name of a file that exists, separates nothing."""
    parts = re.findall(r"""(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,])+""", text)
    paths = []
    while parts:
        joined = (",".join(parts[:count]).strip() for count in range(len(parts), 0, -1))
        path = next(filter(_exists, joined), parts[0].strip())
        paths.append(path)
        parts = parts[path.count(",") + 1 :] if _exists(path) else parts[1:]
    return paths


def _is_text(value: str) -> bool:
    parsed = _parse(f"key={value}")
    return parsed is not None and not parsed.is_sweep_override() and isinstance(parsed.value(), str)


def _parse(override: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, or a null character
        return False
