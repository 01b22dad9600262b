"""Weights of kwotsin/mimicry, facebookresearch/pytorch_GAN_zoo and BasicSR: networks here compute what the authors' compute."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_lab.models import esrgan, progan, sngan, srgan
from gan_lab.models.published import FAMILIES, OBJECTS, find_networks
from gan_lab.storage.safe_load import load_tensors

REFERENCES = Path(__file__).parent / "references"


def read(family: str) -> dict[str, Any]:
    return torch.load(REFERENCES / f"{family}.pt", weights_only=True)


def loaded(network: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """``network`` with the authors' weights."""
    assert sum(family.recognizes(state) for family in FAMILIES) <= 1
    assert not any(family.recognizes(network.state_dict()) for family in FAMILIES)
    network.load_state_dict(find_networks({"model_state_dict": state})["generator"])
    return network.eval()


def assert_equal(outputs: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(outputs.detach(), expected, rtol=1e-5, atol=1e-5)


def enlarged(images: Tensor, size: int) -> Tensor:
    return nn.functional.interpolate(images, size=size, mode="nearest")


SNGAN = {
    "32": ({"width": 6, "max_width": 6}, {"width": 4, "max_width": 4}),
    "48": ({"width": 2, "max_width": 16}, {"width": 1, "max_width": 16, "halvings": 4, "plain_blocks": 1}),
    "64": ({}, {"width": 1, "max_width": 16, "halvings": 5, "plain_blocks": 0}),
    "own_spectral_norm": ({}, {"width": 4, "max_width": 4}),
}
"""Sizes of the networks; mimicry's layers have a spectral normalization of their own besides PyTorch's."""


@pytest.mark.parametrize("name", SNGAN)
def test_sngan_computes_what_mimicrys_networks_compute(name: str) -> None:
    reference = read("sngan")[name]
    size = int(name) if name.isdigit() else 32
    generator, discriminator = SNGAN[name]
    if generator:
        network = loaded(sngan.Generator(size, 3, latent_size=8, upsample="bilinear", **generator), reference["generator"])
        assert_equal(network(reference["latents"]), reference["generated"])
    critic = loaded(sngan.Discriminator(size, 3, relu_shortcut=True, **discriminator), reference["discriminator"]).train()
    assert_equal(critic(enlarged(reference["images"], size)).logits, reference["logits"])


def test_sngan_refuses_an_unknown_upsampling() -> None:
    with pytest.raises(ValueError, match="upsample=cubic: must be one of nearest, bilinear"):
        sngan.Generator(32, 3, upsample="cubic")


def test_progan_computes_what_the_networks_of_pytorch_gan_zoo_compute() -> None:
    reference = read("progan")
    shape = {"size": 16, "channels": 3, "width": 8, "channel_base": 32}
    generator = loaded(progan.Generator(**shape, latent_size=6), reference["generator"]).double()
    discriminator = loaded(progan.Discriminator(**shape), reference["discriminator"]).double()
    assert_equal(generator(reference["latents"]), reference["generated"])
    assert_equal(discriminator(reference["images"]).logits, reference["logits"])


class BaseConfig:
    """Its name is that of the object in the files of pytorch_GAN_zoo."""


BaseConfig.__module__ = "models.utils.config"


def test_files_of_pytorch_gan_zoo_are_read_without_their_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = BaseConfig()
    config.alpha = 0
    reference = read("progan")
    networks = {"netG": {}, "netD": reference["discriminator"], "avgG": reference["generator"]}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "models.utils.config", type("module", (), {"BaseConfig": BaseConfig}))
        torch.save({"config": config, **networks}, tmp_path / "progan.pth")
    with pytest.raises(ValueError, match="is damaged or no weights"):
        load_tensors(tmp_path / "progan.pth", "no weights")
    found = find_networks(load_tensors(tmp_path / "progan.pth", "no weights", stand_ins=OBJECTS))
    assert found["generator"]["_extra_state"] == {"size": 16, "alpha": 1.0} and "logit.weight" in found["discriminator"]


UPSCALERS = {
    "MSRResNet_3": lambda: srgan.MSRResNet(3, 3, width=4, blocks=1),
    "MSRResNet_4": lambda: srgan.MSRResNet(3, 4, width=4, blocks=1),
    "RRDBNet": lambda: esrgan.RRDBNet(3, 4, width=4, blocks=1, growth=3),
}
"""Images in [0, 1] there are images in [-1, 1] here."""


@pytest.mark.parametrize("name", UPSCALERS)
def test_upscalers_compute_what_basicsrs_networks_compute(name: str) -> None:
    reference = read("basicsr")[name]
    network = UPSCALERS[name]()
    assert {key: values.shape for key, values in network.state_dict().items()} == {
        key: values.shape for key, values in reference["state"].items()
    }
    network = loaded(network, reference["state"])
    assert_equal(network(2 * reference["inputs"] - 1), 2 * reference["outputs"] - 1)


@pytest.mark.parametrize("name", ["VGGStyleDiscriminator", "UNetDiscriminatorSN"])
def test_discriminators_compute_what_basicsrs_networks_compute(name: str) -> None:
    reference = read("basicsr")[name]
    size, width = {"VGGStyleDiscriminator": (128, 1), "UNetDiscriminatorSN": (16, 2)}[name]
    network = loaded(getattr(srgan, name)(size, 3, width, unit_range=True), reference["state"])
    network.train(name == "UNetDiscriminatorSN")  # PyTorch's spectral normalization makes no power iteration in evaluation mode
    assert_equal(network(2 * enlarged(reference["inputs"], size) - 1).logits, reference["outputs"])
