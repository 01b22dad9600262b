"""Published weights: the authors' names of a network's tensors, one family per module, and the layouts of their files.

A module has two functions: ``recognizes(state)`` says whether a state dict has the authors' names, and ``convert(state)``
returns it with the names and values of this project's networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import Tensor

from gan_lab.models.published import basicsr, fastgan, progan, r3gan, sngan, stylegan2

GENERATORS = ("G_ema", "generator_ema", "params_ema", "params", "G", "generator", "avgG", "netG", "model_state_dict")
"""Keys under which files hold the generator, the average first: NVIDIA's and R3GAN's, ours, BasicSR's, others'."""

DISCRIMINATORS = ("D", "discriminator", "netD")

OBJECTS = (progan.CONFIGURATION,)
"""Classes of objects that files contain besides the state dicts."""

FAMILIES: tuple[ModuleType, ...] = (basicsr, fastgan, progan, r3gan, sngan, stylegan2)


def find_networks(contents: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The state dicts in a file, by ``generator`` and ``discriminator``, with this project's names.

    Args:
        contents: a state dict, which counts as the generator's, or a dictionary that holds state dicts under the usual names.

    Raises:
        ValueError: as of :func:`own_names`.
    """
    found = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}
    networks = {
        network: next((contents[key] for key in keys if isinstance(contents.get(key), Mapping)), None)
        for network, keys in found.items()
    }
    present = {network: state for network, state in networks.items() if state is not None} or {"generator": contents}
    return {network: own_names(state) for network, state in present.items()}


def own_names(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state dict with this project's names; one whose names no family recognizes is returned as it is.

    Raises:
        ValueError: some of its names are those of a family, but it is not a state dict of one of the family's networks.
    """
    names_are_text = all(isinstance(name, str) for name in state)
    family = next((family for family in FAMILIES if names_are_text and family.recognizes(state)), None)
    if family is None:
        return state
    try:
        converted: dict[str, Tensor] = family.convert(state)
    except ValueError:
        raise
    except Exception as error:  # whatever tensors, and other values, a file has under these names
        name = family.__name__.rpartition(".")[2]
        raise ValueError(f"the file has tensors of a published {name} network, but not all of them ({error!r})") from error
    return converted
