"""R3GAN against the authors' networks and presets (brownvc/R3GAN)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from gan_lab.models import r3gan
from gan_lab.models.conditioning import EmbeddedLatents, Projection
from gan_lab.models.published.r3gan import convert, recognizes
from gan_lab.runtime.environment import count_parameters

REFERENCES = Path(__file__).parent / "references"
"""Weights, inputs and outputs of the authors' networks."""

SMALL = {"size": 16, "channels": 3, "width": 8, "channel_base": 64, "group_width": 8}


@pytest.mark.parametrize(
    ("size", "width", "generator", "discriminator"),
    [
        pytest.param(32, 768, 20_732_160, 20_683_776, id="CIFAR-10"),
        pytest.param(64, 768, 22_429_824, 22_381_440, id="FFHQ-64"),
        pytest.param(256, 768, 23_057_952, 23_009_568, id="FFHQ-256"),
        pytest.param(32, 1536, 82_752_000, 82_655_232, id="ImageNet-32"),
    ],
)
def test_r3gan_has_the_presets_parameter_counts(size: int, width: int, generator: int, discriminator: int) -> None:
    shape = {"width": width, "channel_base": 32 * width, "group_width": width // 48}
    with torch.device("meta"):
        assert count_parameters(r3gan.Generator(size, 3, **shape)) == generator
        assert count_parameters(r3gan.Discriminator(size, 3, **shape)) == discriminator


@pytest.mark.parametrize("kind", ["unconditional", "conditional"])
def test_r3gan_computes_what_the_authors_networks_compute(kind: str) -> None:
    reference = torch.load(REFERENCES / "r3gan.pt", weights_only=True)[kind]
    labels = reference["labels"] if kind == "conditional" else None
    conditions = ({}, {}) if labels is None else ({"condition": EmbeddedLatents(3, 5)}, {"condition": Projection(3, False)})
    generator = r3gan.Generator(**SMALL, latent_size=6, **conditions[0])
    discriminator = r3gan.Discriminator(**SMALL, **conditions[1])
    assert recognizes(reference["generator"]) and not recognizes(generator.state_dict())
    generator.load_state_dict(convert(reference["generator"]))
    discriminator.load_state_dict(convert(reference["discriminator"]))
    with torch.no_grad():
        torch.testing.assert_close(generator(reference["latents"], labels), reference["generated"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(discriminator(reference["images"], labels).logits, reference["logits"], rtol=1e-5, atol=1e-5)


def test_r3gan_is_initialized_as_published() -> None:
    torch.manual_seed(0)
    networks = r3gan.Generator(32, 3, width=64), r3gan.Discriminator(32, 3, width=64)
    blocks = [module for network in networks for module in network.modules() if isinstance(module, r3gan.ResidualBlock)]
    assert len(blocks) == 16  # 8 in each network, four stages of two
    for block in blocks:
        for conv in (block[0], block[2]):
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None and (conv.bias == 0).all()
            fan_in = conv.weight[0].numel()
            expected = (2 / 1.04) ** 0.5 * 8**-0.25 / fan_in**0.5
            assert conv.weight.std().item() == pytest.approx(expected, rel=5 / (2 * conv.weight.numel()) ** 0.5)
        assert (block[4].weight == 0).all() and block[4].bias is None
    others = [m for n in networks for m in n.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m.bias is None]
    for layer in [layer for layer in others if layer.weight.any()]:
        expected = layer.weight[0].numel() ** -0.5
        assert layer.weight.std().item() == pytest.approx(expected, rel=5 / (2 * layer.weight.numel()) ** 0.5)
    assert networks[0].layers[0].basis.std().item() == pytest.approx(1.0, rel=0.15)


def test_widths_fall_toward_the_image_and_groups_always_divide_them() -> None:
    assert r3gan.stage_widths(6, 768, 24576) == [768, 768, 768, 768, 384, 192, 96]
    assert r3gan.stage_widths(3, 1, 4) == [1, 1, 1, 1]
    assert r3gan.ResidualBlock(96, 2, 16, 1)[2].groups == 12
    assert r3gan.ResidualBlock(21, 2, 16, 1)[2].groups == 2
    assert r3gan.ResidualBlock(3, 2, 16, 1)[2].groups == 1


def test_labels_alone_make_the_logit_of_a_conditional_discriminator() -> None:
    torch.manual_seed(0)
    conditional = r3gan.Discriminator(**SMALL, condition=Projection(3, unconditional=False))
    images = torch.randn(2, 3, 16, 16)
    assert (conditional(images, torch.zeros(2, 3)).logits == 0).all()
    assert (conditional(images, torch.eye(3)[:2]).logits != 0).all()
    with pytest.raises(ValueError, match="size=0: must be at least 1"):
        EmbeddedLatents(3, size=0)
