"""Published weights: loaded from the layouts in which they are published, sampled and scored without training, or refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SMALL, make_job, run_module

from gan_lab.building.trainer import build_trainer
from gan_lab.models.published import find_networks
from gan_lab.runs.run import Run

REFERENCES = Path(__file__).parents[1] / "models" / "references"
R3GAN = [
    *(override for override in SMALL if "model.width" not in override and "epochs" not in override),
    *("model=r3gan", "dataset.size=16", "dataset.channels=3", "model.width=8", "model.channel_base=64", "model.group_width=8"),
    *("model.latents.size=6", "initial_weights=run"),
]
"""The network of the reference weights."""


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return torch.load(REFERENCES / "r3gan.pt", weights_only=True)["unconditional"]


def test_published_weights_are_scored_and_sampled_without_training(reference: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"G": {}, "D": reference["discriminator"], "G_ema": reference["generator"]}, tmp_path / "R3GAN.pt")
    weights = ["initial_weights.path=R3GAN.pt", "initial_weights.discriminator=true"]
    done = run_module("train", *R3GAN, *weights, "epochs=0", "hydra.run.dir=run", "console=plain", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = Run.open(tmp_path / "run")
    torch.testing.assert_close(run.generator(reference["latents"]), reference["generated"], rtol=1e-5, atol=1e-5)
    assert run.images_seen == 0 and run.summary["status"] == "finished"
    assert run.summary["score"] in run.summary["final"], "the initial weights are scored"
    assert len([row for row in run.history if run.summary["score"] in row]) == 1


@pytest.mark.slow
def test_training_goes_on_from_published_weights(reference: dict[str, Any], tmp_path: Path) -> None:
    torch.save(reference["generator"], tmp_path / "g.pt")
    torch.save(reference["discriminator"], tmp_path / "d.pt")
    paths = [f"initial_weights.path={tmp_path / 'g.pt'}", f"initial_weights.discriminator={tmp_path / 'd.pt'}"]
    trainer = build_trainer(make_job(tmp_path / "run", *R3GAN, *paths, "epochs=1"))
    with torch.no_grad():
        logits = trainer.updater.gan.discriminator(reference["images"]).logits
        torch.testing.assert_close(logits, reference["logits"], rtol=1e-5, atol=1e-5)
    assert trainer.train()["status"] == "finished"
    before = find_networks(reference["generator"])["generator"]
    after = trainer.updater.gan.generator.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in ("layers.0.basis", "layers.1.0.weight"))


def test_growing_networks_start_at_the_full_size(tmp_path: Path) -> None:
    arguments = [*SMALL, "model=progan_small", "model.width=4", "dataset.size=16"]
    first = build_trainer(make_job(tmp_path / "a", *arguments))
    first.updater.gan.generator.set_resolution(16, 1.0)
    torch.save(first.updater.gan.generator.state_dict(), tmp_path / "g.pt")
    weights = ["initial_weights=run", f"initial_weights.path={tmp_path / 'g.pt'}"]
    trainer = build_trainer(make_job(tmp_path / "b", *arguments, *weights, "epochs=0"))
    assert trainer.train()["status"] == "finished"
    latents = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    images = trainer.updater.ema.network(latents), first.updater.gan.generator(latents)
    assert images[0].shape[-1] == 16 and torch.equal(*images)


def code_that_would_run() -> None:
    raise AssertionError("a pickle's code has been run")


class Malicious:
    """Its pickle calls a function when it is read."""

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return code_that_would_run, ()


def test_what_is_no_file_of_tensors_is_refused(reference: dict[str, Any], tmp_path: Path) -> None:
    def load(*overrides: str) -> None:
        build_trainer(make_job(tmp_path / "run", *R3GAN, *overrides))

    (tmp_path / "network.pkl").write_bytes(pickle.dumps({"G_ema": Malicious()}))
    with pytest.raises(ValueError, match=r"network\.pkl is damaged or neither .* runs code when it is read.*'network\.pt'"):
        load(f"initial_weights.path={tmp_path / 'network.pkl'}")
    torch.save(reference["generator"], tmp_path / "g.pt")
    with pytest.raises(ValueError, match="the file holds no discriminator"):
        load(f"initial_weights.path={tmp_path / 'g.pt'}", "initial_weights.discriminator=true")
    with pytest.raises(ValueError, match=r"initial_weights\.discriminator=d\.pt: there is no such file"):
        load(f"initial_weights.path={tmp_path / 'g.pt'}", "initial_weights.discriminator=d.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="the file contains no weights"):
        load(f"initial_weights.path={tmp_path / 'list.pt'}")
    with pytest.raises(ValueError, match=r"of the generator differ; .* is \[.*\] in the file and \[.*\] in the generator"):
        load(f"initial_weights.path={tmp_path / 'g.pt'}", "model.width=16")
