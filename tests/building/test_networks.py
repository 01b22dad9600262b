"""Networks are checked before any data is read."""

from __future__ import annotations

import pytest
import torch
from helpers import compose_config, every_nth

from gan_lab.building.networks import build_discriminator, build_generator
from gan_lab.building.tasks import build_task
from gan_lab.config import CONF_DIR

MODELS = sorted(path.stem for path in (CONF_DIR / "model").glob("*.yaml"))


@pytest.mark.parametrize("model", every_nth(MODELS, 3))
def test_a_size_that_no_network_has_is_refused_before_data_is_read(model: str) -> None:
    key = "degradation.patch" if "sr" in model else "dataset.size"
    cfg = compose_config(f"model={model}", "dataset=folder", "dataset.path=/nowhere", f"{key}=100", "perception=random")
    before = torch.random.get_rng_state()
    with pytest.raises(ValueError, match=rf"{key}=100: (this family builds 8|this family builds 16|a U-Net halves)"):
        build_task(cfg)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("model", ["sngan", "sagan", "fastgan_lite", "progan_small", "srgan_unet"])
def test_networks_that_can_be_built_pass_the_check(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = compose_config(f"model={model}", "dataset=folder", "dataset.path=/nowhere")
    built = []
    for build in (build_generator, build_discriminator):
        monkeypatch.setattr(
            f"gan_lab.building.networks.{build.__name__}", lambda cfg, build=build: built.append(build(cfg)) or built[-1]
        )
    build_task(cfg)
    assert len(built) == 2 and all(parameter.is_meta for network in built for parameter in network.parameters())
