"""``--help`` of a command, from ``conf/hydra/help``: what Hydra would print in four seconds, at once."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import compose
from omegaconf import OmegaConf

from gan_lab.config.compose import hydra_compose
from gan_lab.config.schema import CONF_DIR

FLAGS = frozenset({"--help", "-h"})
NOT_OURS = ("hydra", "wandb", "dataset/shared", "sweep/shared")
OVERRIDE = "override hydra/help"


def is_asked_for(arguments: Sequence[str]) -> bool:
    return bool(FLAGS & set(arguments))


def help_of(config: str) -> str:
    """The help of the command whose configuration is ``conf/<config>.yaml``."""
    defaults = OmegaConf.load(CONF_DIR / f"{config}.yaml").defaults
    chosen = next(default[OVERRIDE] for default in defaults if OmegaConf.is_dict(default) and OVERRIDE in default)
    page = OmegaConf.create({"hydra": {"help": OmegaConf.load(CONF_DIR / "hydra" / "help" / f"{chosen}.yaml")}})
    text = str(page.hydra.help.template)
    for placeholder, fill in (("$APP_CONFIG_GROUPS", _groups), ("$CONFIG", lambda: _keys(config))):
        if placeholder in text:
            text = text.replace(placeholder, fill())
    return text


def _groups() -> str:
    """Every group with its options."""
    folders = sorted(path for path in CONF_DIR.rglob("*") if path.is_dir())
    names = {path: path.relative_to(CONF_DIR).as_posix() for path in folders}
    lines = [
        f"{name}: {', '.join(sorted(file.stem for file in path.glob('*.yaml')))}"
        for path, name in names.items()
        if not name.startswith(NOT_OURS)
    ]
    return "\n".join(lines) + "\n"


def _keys(config: str) -> str:
    """Every key with its default."""
    with hydra_compose():
        return OmegaConf.to_yaml(compose(config))
