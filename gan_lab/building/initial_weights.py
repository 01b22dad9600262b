"""Loads initial weights from another run or from a published file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from gan_lab.config import flatten_config, format_choice, read_config
from gan_lab.iteration.gan import GAN
from gan_lab.models.published import OBJECTS, find_networks
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory, check_checkpoint_name
from gan_lab.storage.safe_load import load_tensors
from gan_lab.storage.weights_file import load_weights, read_weights

log = logging.getLogger(__name__)

NETWORK_KEYS = ("dataset.size", "dataset.channels", "degradation.scale", "model", "discriminator", "conditioning")
"""Keys and sections that the shapes of the weights depend on."""

PICKLE_HINT = (
    ". A pickle of objects runs code when it is read. In its authors' repository this command makes a file of tensors: "
    "python -c \"import pickle, torch; saved = pickle.load(open('{name}', 'rb')); "
    "torch.save({{key: saved[key].state_dict() for key in ('G', 'D', 'G_ema')}}, '{stem}.pt')\""
)
"""Added to the message about a file that NVIDIA's or R3GAN's code has pickled."""


def load_initial_weights(cfg: DictConfig, gan: GAN, choices: Mapping[str, Any]) -> None:
    """Load the weights of ``cfg.initial_weights.path``, if any: those of a run directory, or of a file of tensors.

    Args:
        cfg: the configuration of the new run.
        gan: its networks.
        choices: the chosen option of each group, for messages.

    Raises:
        ValueError: there is no such run, checkpoint or file, or the weights do not fit the network.
    """
    section = cfg.initial_weights
    if OmegaConf.is_missing(section, "path"):
        raise ValueError(
            "initial_weights=run needs a run directory, initial_weights.path=outputs/..., or a file of weights, "
            "initial_weights.path=weights.pth"
        )
    if section.path is None:
        return
    path = Path(section.path).expanduser()
    of_file = path.is_file()
    networks = _of_file(section, path) if of_file else _of_run(section)
    where = f"initial_weights.path={section.path}"
    for name, state in networks.items():
        if name == "generator" or section.discriminator:
            network = getattr(gan, name)
            try:
                network.load_state_dict(state)
            except (RuntimeError, AttributeError, TypeError) as error:
                found = [] if of_file else differences_of_runs(RunDirectory.find(section.path), cfg, choices)
                raise ValueError(
                    f"{where}: these weights do not fit the network of model=...: "
                    f"{'; '.join(found) or describe_misfit(name, network.state_dict(), state)}"
                ) from error
    if section.discriminator and "discriminator" not in networks:
        raise ValueError(f"{where}: the file holds no discriminator; leave out initial_weights.discriminator, or give its file")
    log.info("initial weights: %s", where)


def _of_run(section: DictConfig) -> Mapping[str, Mapping[str, Any]]:
    check_checkpoint_name("initial_weights.checkpoint", section.checkpoint)
    directory = RunDirectory.find(section.path)
    section.path = str(directory.path.absolute())  # a resume must not resolve ``latest`` again
    path = directory.checkpoint(section.checkpoint)
    if not path.is_file() and directory.weights.is_file():
        return {"generator": load_weights(directory.weights)["generator_ema"]}
    state = checkpoint.load_of_run(directory, section.checkpoint)
    return {"generator": state["generator_ema"], "discriminator": state["discriminator"]}


def _of_file(section: DictConfig, path: Path) -> Mapping[str, Mapping[str, Any]]:
    section.path = str(path.absolute())
    networks = find_networks(_read_file("path", path))
    if not isinstance(section.discriminator, str):
        return networks
    separate = find_networks(_read_file("discriminator", Path(section.discriminator).expanduser()))
    return {**networks, "discriminator": separate.get("discriminator", separate["generator"])}


def _read_file(key: str, path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ValueError(f"initial_weights.{key}={path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            return read_weights(path)
        contents = load_tensors(path, "neither a run directory nor a file of weights", stand_ins=OBJECTS)
    except ValueError as error:
        is_pickle = path.suffix in (".pkl", ".pickle")
        hint = PICKLE_HINT.format(name=path.name, stem=path.stem) if is_pickle else ""
        raise ValueError(f"initial_weights.{key}={error}{hint}") from error
    if not isinstance(contents, dict):
        raise ValueError(f"initial_weights.{key}={path}: the file contains no weights")
    return contents


def differences_of_runs(directory: RunDirectory, cfg: DictConfig, choices: Mapping[str, Any]) -> list[str]:
    """The options and values in which the networks of a run differ from those of ``cfg``, in words; at most four."""
    stored = read_config(directory)
    other = [g for g in ("model", "discriminator", "conditioning") if g in choices and stored.choices.get(g) != choices[g]]
    options = [f"{g}={format_choice(stored.choices.get(g))} there and {format_choice(choices[g])} here" for g in other]
    there, here = (
        {
            key: value
            for group in NETWORK_KEYS
            if group not in other and not (group == "discriminator" and "model" in other)
            for key, value in flatten_config(OmegaConf.select(c, group), group).items()
        }
        for c in (stored, cfg)
    )
    differing: dict[tuple[Any, ...], str] = {}  # of keys that refer to another one, only that one
    for key in here:
        if key in there and here[key] != there[key] and not key.endswith("_target_"):
            differing.setdefault((str(there[key]), str(here[key]), key.rpartition(".")[2]), key)
    return [*options, *(f"{key}={there[key]} there and {here[key]} here" for key in differing.values())][:4]


def describe_misfit(name: str, network: Mapping[str, Tensor], state: Mapping[str, Any]) -> str:
    """In which tensors the weights differ from the network called ``name``: their number, and the first one."""
    differing = [
        (key, list(getattr(state.get(key), "shape", [])), list(network[key].shape) if key in network else None)
        for key in dict.fromkeys([*network, *state])
        if key not in network or key not in state or getattr(state[key], "shape", None) != network[key].shape
    ]
    if not differing:
        return f"the file's {name} has the same tensors, but they can't be loaded"
    key, there, here = differing[0]
    if key not in state:
        what = f"the file has no {key}"
    elif here is None:
        what = f"the {name} has no {key}"
    else:
        what = f"{key} is {there} in the file and {here} in the {name}"
    return f"{len(differing)} of {len(network)} tensors of the {name} differ; {what}"
