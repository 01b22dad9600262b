"""Super-resolution: networks, loss terms, pretraining, scores compared with bicubic interpolation, and invalid options."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from helpers import UPSCALER, compose_config, every_nth, make_job, photograph, run_module
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor, nn

from gan_lab import Run
from gan_lab.building.full_reference import build_full_reference_metrics
from gan_lab.building.tasks.super_resolution import DegradedImages
from gan_lab.building.trainer import build_trainer
from gan_lab.config.resolve import resolve_and_validate
from gan_lab.data.degradation import Bicubic, Degradation, upscale_bicubic
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.packed_file import VariableSizePixels
from gan_lab.iteration.pretraining import Pretraining
from gan_lab.losses.content import CharbonnierLoss, PerceptualLoss, PixelL1Loss, PixelL2Loss
from gan_lab.metrics import perceptual_networks
from gan_lab.metrics.full_reference import PSNR, SSIM
from gan_lab.metrics.full_reference_suite import FullReferenceSuite
from gan_lab.metrics.lpips import PerceptualNetworkDistance as PerceptualScore
from gan_lab.models import esrgan, srgan
from gan_lab.models.upscaler import Upscaler
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.runtime.environment import count_parameters
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.trainer import Trainer

CPU = torch.device("cpu")

# -- networks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: srgan.MSRResNet(3, 4), 1_517_571),
        (lambda: srgan.SRResNet(3, 4), 1_549_462),
        (lambda: esrgan.RRDBNet(3, 4), 16_697_987),
        (lambda: srgan.VGGStyleDiscriminator(128, 3), 14_499_401),
        (lambda: srgan.UNetDiscriminatorSN(128, 3), 4_376_897),
    ],
    ids=["msrresnet", "srresnet", "rrdb", "vgg", "unet"],
)
def test_networks_have_the_published_number_of_parameters(network: Any, count: int) -> None:
    assert count_parameters(network()) == count


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("family", [srgan.MSRResNet, srgan.SRResNet, esrgan.RRDBNet])
def test_images_of_any_size_are_upscaled(family: Any, channels: int, scale: int) -> None:
    network: Upscaler = family(channels, scale, 4, 1)
    assert network(torch.randn(2, channels, 5, 9)).shape == (2, channels, 5 * scale, 9 * scale)


def test_an_untrained_msrresnet_is_close_to_bilinear_interpolation() -> None:
    torch.manual_seed(0)
    low = torch.rand(1, 3, 8, 10) * 2 - 1
    bilinear = nn.functional.interpolate(low, scale_factor=4, mode="bilinear")
    assert (srgan.MSRResNet(3, 4)(low) - bilinear).abs().max() < 0.05


def test_a_unet_has_a_logit_per_pixel_and_a_vgg_one_per_image() -> None:
    images = torch.randn(2, 3, 32, 32)
    output = srgan.UNetDiscriminatorSN(32, 3, 4)(images)
    assert output.logits.shape == (2, 32, 32) and output.select(slice(1, None)).logits.shape == (1, 32, 32)
    assert srgan.VGGStyleDiscriminator(32, 3, 4)(images).logits.shape == (2,)


# -- loss terms ---------------------------------------------------------------------------------------------------------------


def test_pixel_losses_are_computed_in_0_to_1() -> None:
    real = torch.zeros(2, 3, 4, 4)
    fake = real + torch.tensor([0.2, -0.4]).view(2, 1, 1, 1)  # 0.1 and 0.2 of values in [0, 1]
    assert PixelL1Loss().distance(fake, real).item() == pytest.approx(0.15)
    assert PixelL2Loss().distance(fake, real).item() == pytest.approx((0.01 + 0.04) / 2)
    expected = np.mean([np.sqrt(e**2 + 0.1**2) for e in (0.1, 0.2)])
    assert CharbonnierLoss(0.1).distance(fake, real).item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="eps=0 must be positive"):
        CharbonnierLoss(0)


class Halves(nn.Module):
    """Feature maps with known differences."""

    jitter = 0

    def feature_pairs(self, fake: Tensor, real: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(fake, real), (fake / 2, real / 2)]


def test_a_perceptual_loss_sums_the_mean_differences_of_the_layers() -> None:
    fake, real = torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, 3, 4, 4)
    assert PerceptualLoss(Halves()).distance(fake, real).item() == pytest.approx(0.5 + 0.25)


def networks() -> list[Any]:
    lite = pytest.importorskip("efficientnet_lite_pytorch") and [
        perceptual_networks.ImageNetPerceptual("lite0", 7),
        perceptual_networks.ImageNetPerceptual("lite1"),
    ]
    return [perceptual_networks.RandomPerceptual(4, 0), *lite]


def test_perceptual_networks_pass_gradients_and_are_not_changed() -> None:
    for network in networks():
        before = {name: value.clone() for name, value in network.state_dict().items()}
        fake = (torch.rand(2, 3, 64, 48) * 2 - 1).requires_grad_()
        real = (torch.rand(2, 3, 64, 48) * 2 - 1).requires_grad_()
        term = PerceptualLoss(network)
        term.distance(fake, real).backward()
        assert fake.grad is not None and fake.grad.isfinite().all() and fake.grad.abs().sum() > 0 and real.grad is None
        assert term.distance(real.detach(), real.detach()).item() == 0, "both images get the same random shift"
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert not network.training and network(fake[:, :1])[0].shape[0] == 2, "gray images are accepted"
        score = PerceptualScore(network)
        pair = photograph(64, 48)[None], photograph(64, 48, 1)[None]
        name = f"perceptual_{network.name}"
        assert score(pair[0], pair[0]) == {name: 0} and 0 < score(*pair)[name] < 4 * 4
        with pytest.raises(ValueError, match="needs images of at least"):
            network(torch.zeros(1, 3, 64, 4))


def test_vgg19_equals_torchvision_before_the_relu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "torchvision.models.vgg.cfgs", {"E": [4, 4, "M", 8, 8, "M", *[8] * 4, "M", *[8] * 4, "M", *[8] * 4, "M"]}
    )
    torch.manual_seed(0)
    theirs = torchvision.models.vgg19(weights=None, init_weights=False)
    torch.save(
        {**theirs.features.state_dict(prefix="features."), "classifier.0.bias": torch.zeros(1)}, tmp_path / "weights.pth"
    )
    checksum = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()[:8]
    (tmp_path / "weights.pth").rename(tmp_path / f"vgg19-{checksum}.pth")
    monkeypatch.setattr(perceptual_networks.VGG19, "FILE", f"vgg19-{checksum}.pth")
    images = torch.rand(2, 3, 40, 33)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = theirs.features[:35]((images - mean) / deviation)
    (found,) = perceptual_networks.VGG19(str(tmp_path), ["conv5_4"])(images * 2 - 1)
    torch.testing.assert_close(found, expected)
    assert found.min() < 0, "features are taken before the ReLU"
    first, second = perceptual_networks.VGG19(str(tmp_path), ["conv1_2", "conv3_1"])(images * 2 - 1)
    torch.testing.assert_close(first, theirs.features[:3]((images - mean) / deviation))
    assert second.shape == (2, 8, 10, 8)
    with pytest.raises(ValueError, match=r"no layer conv1_3; it has conv1_1, conv1_2, conv2_1"):
        perceptual_networks.VGG19(str(tmp_path), ["conv1_3"])


def test_missing_weights_are_an_error_with_alternatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **more: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(
        ValueError, match=r"perception=vgg19 needs .*vgg19-dcbb9e9d\.pth.*perception=imagenet .*perception=random"
    ):
        build_trainer(upscaler(tmp_path, "perception=vgg19", f"paths.weights={tmp_path}"))


# -- scores --------------------------------------------------------------------------------------------------------------


def example_images(*sizes: tuple[int, int]) -> DegradedImages:
    flat = np.concatenate([photograph(*size, n).permute(1, 2, 0).numpy().reshape(-1) for n, size in enumerate(sizes)])
    data = ImageDataset.from_arrays(VariableSizePixels(flat, np.array(sizes), 3))
    names = [f"picture {n}" for n in range(len(sizes))]
    return DegradedImages(data, Degradation({"bicubic": Bicubic(4, "mirrored")}, 4), names, "made pictures")


def test_scores_are_means_over_images_next_to_those_of_bicubic() -> None:
    made = example_images((50, 62), (50, 62))
    suite = FullReferenceSuite(
        made, made.names, {"psnr": PSNR(4), "ssim": SSIM(4)}, None, {"reals": "2 pictures", "degradation": "bicubic"}
    )
    suite.prepare(CPU)
    (result,) = suite(lambda low: upscale_bicubic(low, 4), details=True)
    scores = result.scores
    assert all(scores[name] == scores[f"bicubic/{name}"] for name in ("psnr", "psnr_y", "rmse_y", "ssim", "ssim_y"))
    high = [photograph(50, 62, n)[:, :48, :60] for n in range(2)]
    expected = [
        PSNR(4)(upscale_bicubic(Bicubic(4, "mirrored")(h, torch.Generator()), 4)[None], h[None])["psnr_y"] for h in high
    ]
    assert scores["psnr_y"] == pytest.approx(np.mean(expected)) and suite.score_name == "rmse_y"
    assert result.details["picture 1"]["psnr_y"] == pytest.approx(expected[1])
    (perfect,) = suite(lambda low: high[0] if torch.equal(low, made[0].low_resolution) else high[1])
    assert perfect.scores["ssim"] == pytest.approx(1) and perfect.scores["bicubic/ssim"] == scores["ssim"]
    with pytest.raises(ValueError, match=r"evaluation\.score=psnr: must be one of rmse_y, of which lower values are better"):
        FullReferenceSuite(made, made.names, {"psnr": PSNR(4)}, "psnr", {})


def test_a_metric_is_measured_on_the_images_that_are_large_enough(caplog: pytest.LogCaptureFixture) -> None:
    made = example_images((50, 62), (50, 62))
    wide = example_images((50, 62), (50, 62), (16, 80))
    sections = {
        name: {"_target_": f"gan_lab.metrics.full_reference.{name.upper()}", "border": None} for name in ("psnr", "ssim")
    }
    cfg = OmegaConf.create({"evaluation": {"pairs": sections}})
    metrics = build_full_reference_metrics(cfg, 4, [48, 48, 16], lambda number: f"photos/{number}.png")
    assert "ssim is measured on 2 of 3 images: it needs at least 19 pixels a side, and photos/2.png has 16" in caplog.text
    results = []
    for examples in (made, wide):
        suite = FullReferenceSuite(examples, examples.names, metrics, None, {"reals": "", "degradation": ""})
        suite.prepare(CPU)
        results += suite(lambda low: upscale_bicubic(low, 4), details=True)
    two, three = results
    assert three.scores["ssim"] == two.scores["ssim"] and three.scores["psnr"] != two.scores["psnr"]
    assert "ssim" not in three.details["picture 2"] and "psnr" in three.details["picture 2"]
    assert list(build_full_reference_metrics(cfg, 4, [10, 16], str)) == ["psnr"] and "ssim is left out" in caplog.text


class OneOfTwo(SingleProcess):
    """One of two processes, which receives ``other`` from the other one."""

    world_size = 2

    def __init__(self, rank: int, other: Any) -> None:
        self.rank, self._other = rank, other

    def all_gather_object(self, thing: Any) -> list[Any]:
        self.sent = thing
        return [thing, self._other] if self.is_main_process else [self._other, thing]


def test_each_process_measures_a_part_of_the_images_and_the_main_process_returns_the_means() -> None:
    made = example_images((40, 40), (40, 40), (40, 40))
    suites = [FullReferenceSuite(made, made.names, {"psnr": PSNR(4)}, None, {"reals": "", "degradation": ""}) for _ in range(2)]
    suites[0].prepare(CPU)
    second = OneOfTwo(1, {})
    assert suites[1](lambda low: upscale_bicubic(low, 4), processes=second) == [] and list(second.sent) == [1]
    first = OneOfTwo(0, second.sent)
    (result,) = suites[0](lambda low: upscale_bicubic(low, 4), processes=first)
    assert list(first.sent) == [0, 2] and result.scores["psnr"] == result.scores["bicubic/psnr"]


# -- pretraining ----------------------------------------------------------------------------------------------------------


def upscaler(path: Path, *overrides: str) -> Any:
    for number in range(12):
        (path / "pictures").mkdir(exist_ok=True, parents=True)
        array = photograph(48 + number, 70 - number, number).permute(1, 2, 0).numpy()
        Image.fromarray(np.ascontiguousarray(array)).save(path / "pictures" / f"{number}.png")
    given = [f"dataset.path={path / 'pictures'}" if o.startswith("dataset.path") else o for o in UPSCALER]
    return make_job(path / "run", *given, f"paths.data={path}", *overrides)


def rows_of(directory: RunDirectory, name: str) -> list[float]:
    return [row["images"] for row in directory.history() if row.get(name) is not None]


def test_pretraining_on_pixels_precedes_adversarial_training(upscaling: RunDirectory) -> None:
    assert upscaling.read_summary()["status"] == "finished" and upscaling.read_summary()["images"] == 80
    assert rows_of(upscaling, "pretraining/loss") == [8, 16, 24, 32, 40] == rows_of(upscaling, "pretraining/learning_rate")
    assert rows_of(upscaling, "d/loss") == [48, 56, 64, 72, 80] == rows_of(upscaling, "g/learning_rate")
    first, last = (checkpoint.load(upscaling.checkpoint(which)) for which in ("pretrained", "last"))
    assert first["images"] == 40 and first["phases"]["d"]["steps"] == 0 and last["phases"]["pretraining"]["steps"] == 10
    assert any(not torch.equal(first["generator"][name], value) for name, value in last["generator"].items())
    assert all(t["step"] == 10 for t in last["phases"]["g"]["optimizer"]["state"].values())
    final = upscaling.read_summary()["final"]
    assert final["psnr_y"] > 10 and final["bicubic/psnr_y"] > 10 and upscaling.read_summary()["score"] == "rmse_y"
    (record,) = final["protocols"].values()
    assert record["degradation"] == "bicubic edges mirrored" and record["scale"] == 4 and record["metric psnr"] == "border=4"
    assert "2 pictures of folder kept back from training" in record["reals"]


def test_pages_and_grids_include_bicubic_and_the_originals(upscaling: RunDirectory) -> None:
    with Image.open(upscaling.final) as grid, Image.open(upscaling.reals) as reals:
        assert grid.width == 4 * (reals.height // 2 + 1) + 2 * 3 - 2 * 2 or grid.width > 3 * reals.height // 2
    page = upscaling.report.read_text()
    assert "<td>bicubic</td>" in page and "PSNR of held-out images" in page and "Center crops of held-out images" in page
    assert "Pretraining without a discriminator" in page
    (rows,) = [line for line in (upscaling.path / "train.log").read_text().splitlines() if "score: rmse_y" in line]
    assert "psnr_y" in rows and "(bicubic " in rows


def test_schedules_restart_with_each_stage() -> None:
    stages = Pretraining((), 100)
    assert [stages.progress(n, 300) for n in (0, 50, 100, 200)] == [0, 0.5, 0, 0.5]
    assert [stages.is_active(n) for n in (0, 99, 100)] == [True, True, False]
    assert [stages.ends_between(*span) for span in ((80, 96), (96, 112), (112, 128))] == [False, True, False]
    assert Pretraining().progress(30, 120) == 0.25 and not Pretraining().ends_between(0, 16)


@pytest.mark.slow
@pytest.mark.parametrize("stopped_at", [6, *(pytest.param(n, marks=pytest.mark.slow) for n in (10, 13))])
def test_a_resumed_run_is_bit_identical_in_either_stage(stopped_at: int, upscaling: RunDirectory, photographs: Path) -> None:
    cwd, name = photographs, f"stopped-{stopped_at}"
    stopped = [
        *(o for o in UPSCALER if o != "epochs=2"),
        f"hydra.run.dir={name}",
        f"kimg={stopped_at * 4 / 1000}",
        "pretraining.kimg=0.04",
    ]
    assert run_module("train", *stopped, cwd=cwd).returncode == 0
    done = run_module("train", f"resume={name}", "kimg=0.08", cwd=cwd)
    assert done.returncode == 0, done.stderr
    one, other = (checkpoint.load(directory.checkpoint("last")) for directory in (upscaling, RunDirectory(cwd / name)))
    for key in ("generator", "discriminator", "generator_ema"):
        torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)


def build(path: Path, *overrides: str) -> Trainer:
    trainer = build_trainer(upscaler(path, *overrides))
    return trainer


def test_a_run_can_consist_of_pretraining_alone(tmp_path: Path) -> None:
    trainer = build(tmp_path, "pretraining.fraction=1", "epochs=0.5")
    before = {name: value.clone() for name, value in trainer.updater.gan.discriminator.state_dict().items()}
    assert trainer.train()["status"] == "finished" and trainer.updater.pretraining.end == trainer.progress.total_images == 20
    torch.testing.assert_close(trainer.updater.gan.discriminator.state_dict(), before, rtol=0, atol=0)
    assert trainer.records.directory.checkpoint("pretrained").exists() and not rows_of(trainer.records.directory, "d/loss")


def test_training_can_start_from_the_generator_of_another_run(upscaling: RunDirectory, tmp_path: Path) -> None:
    own = checkpoint.load(upscaling.checkpoint("pretrained"))
    trainer = build(
        tmp_path, "initial_weights=run", f"initial_weights.path={upscaling.path}", "initial_weights.checkpoint=pretrained"
    )
    for network in (trainer.updater.gan.generator, trainer.updater.ema.network):
        torch.testing.assert_close(dict(network.state_dict()), dict(own["generator_ema"]), rtol=0, atol=0)
    both = build(
        tmp_path / "b", "initial_weights=run", f"initial_weights.path={upscaling.path}", "initial_weights.discriminator=true"
    )
    last = checkpoint.load(upscaling.checkpoint("last"))
    torch.testing.assert_close(dict(both.updater.gan.discriminator.state_dict()), dict(last["discriminator"]), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"do not fit the network of model=\.\.\.: model\.blocks=1 there and 2 here$"):
        build(tmp_path / "c", "initial_weights=run", f"initial_weights.path={upscaling.path}", "model.blocks=2")
    with pytest.raises(ValueError, match=r"initial_weights\.checkpoint=first: must be last, last-1"):
        build(
            tmp_path / "d", "initial_weights=run", f"initial_weights.path={upscaling.path}", "initial_weights.checkpoint=first"
        )


def test_training_can_start_from_published_weights(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = srgan.MSRResNet(3, 4, 8, 1).state_dict()  # has BasicSR's names
    torch.save({"params_ema": theirs}, tmp_path / "net_g.pth")
    trainer = build(tmp_path, "initial_weights=run", f"initial_weights.path={tmp_path / 'net_g.pth'}")
    torch.testing.assert_close(dict(trainer.updater.ema.network.state_dict()), dict(theirs), rtol=0, atol=0)
    (tmp_path / "net_g.pth").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="is damaged or neither a run directory nor a file of weights"):
        build(tmp_path, "initial_weights=run", f"initial_weights.path={tmp_path / 'net_g.pth'}")


# -- data ----------------------------------------------------------------------------------------------------------------


def test_evaluation_images_are_not_trained_on(tmp_path: Path) -> None:
    task = build(tmp_path).loader.data
    assert len(task) == 10 and len(task.excluded_index) == 2
    limited = build(tmp_path / "b", "dataset.limit=7", "evaluation.num_reals=3")
    assert len(limited.loader.data) == 7
    given = build(tmp_path / "c", f"evaluation.reals={tmp_path / 'pictures'}")
    assert len(given.loader.data) == 12 and "12 pictures of" in given.evaluator.suite.record()["reals"]
    with pytest.raises(ValueError, match="4 images are too few to hold some out"):
        build(tmp_path / "d", f"dataset.path={few(tmp_path)}")


def test_one_thin_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a" / "pictures").mkdir(parents=True)
    Image.new("RGB", (40, 3)).save(tmp_path / "a" / "pictures" / "thin.png")
    with pytest.raises(ValueError, match=r"degradation\.scale=4: .*pictures/thin\.png has only 40 x 3 pixels; .* remove it"):
        build(tmp_path / "a")
    with pytest.raises(ValueError, match=r"degradation\.scale=4: thin in reals=.*pictures has only 40 x 3 pixels"):
        build(tmp_path / "b", f"evaluation.reals={tmp_path / 'a' / 'pictures'}")


def few(path: Path) -> Path:
    folder = path / "few"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (40, 40)).save(folder / f"{number}.png")
    return folder


def test_super_resolution_of_small_gray_images_and_of_squares(tmp_path: Path) -> None:
    """Gray garments of 28x28, for which a network of photographs is too large, and squares cropped out of photographs."""
    job = make_job(tmp_path / "a", "model=srgan", "model.blocks=1", "degradation.patch=16", "perception=random", "epochs=0.05")
    trainer = build_trainer(job)
    assert trainer.train()["status"] == "finished" and "psnr_y" in trainer.evaluator.latest
    assert not any(name.startswith("perceptual") for name in trainer.evaluator.latest)
    cropped = build(tmp_path / "b", "dataset.resize_mode=crop", "dataset.size=40")
    assert cropped.loader.data.shape == (3, 40, 40) and next(cropped.loader.batches()).real.shape == (4, 3, 32, 32)


# -- commands ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_can_be_evaluated_on_given_images(upscaling: RunDirectory, photographs: Path, tmp_path: Path) -> None:
    arguments = [
        f"run={upscaling.path}",
        f"reals={photographs / 'pictures'}",
        "checkpoints=[last,pretrained]",
        "out=scores.json",
    ]
    done = run_module("evaluate", "device=cpu", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "last (80 images)" in done.stdout and "pretrained (40 images)" in done.stdout and "bicubic " in done.stdout
    last, first = json.loads((tmp_path / "scores.json").read_text())
    scores, details = last["results"]["pairs"]["scores"], last["results"]["pairs"]["details"]
    assert set(details) == {str(n) for n in range(12)} and first["images"] == 40
    run = Run.open(upscaling.path)
    made = [photograph(48 + n, 70 - n, n) for n in range(12)]
    degradation = Degradation({"bicubic": Bicubic(4, "mirrored")}, 4)
    expected = []
    for picture in map(degradation.crop_to_multiple, made):
        fake = run.upscale(degradation(picture, torch.Generator()))
        expected.append(PSNR(4)(fake[None], picture[None])["psnr_y"])
    assert scores["psnr_y"] == pytest.approx(np.mean(expected), abs=1e-4)
    other = run_module(
        "evaluate", "device=cpu", f"run={upscaling.path}", "degradation=[bicubic,jpeg]", "checkpoints=last", cwd=tmp_path
    )
    assert other.returncode == 0 and "jpeg quality 40 to 95" in other.stdout, other.stderr


@pytest.mark.slow
def test_reals_are_an_error_for_a_run_with_latents(finished: RunDirectory, photographs: Path) -> None:
    done = run_module("evaluate", "device=cpu", f"run={finished.path}", "reals=pictures", "out=x.json", cwd=photographs)
    assert done.returncode == 1 and "reals=... needs fakes=..., or a super-resolution run" in done.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    every_nth(
        [
            (
                ["model=dcgan", "degradation=bicubic", "evaluation=pairs"],
                "this generator samples from latents and takes no images",
            ),
            (
                ["model=srgan", "degradation=none", "evaluation=fast", "dataset.resize_mode=pad"],
                "this generator upscales low-resolution images",
            ),
            (["loss=[hinge,pixel]"], "loss: pixel compares each generated image with its target image"),
            (["evaluation=pairs"], "it needs super-resolution, such as degradation=bicubic"),
            (["dataset.resize_mode=whole"], "images of any size work only with super-resolution"),
            (["pretraining=pixels"], "one that samples from latents has no target image"),
            (["initial_weights=run"], r"needs a run directory, initial_weights\.path=outputs"),
            (["model=srgan", "evaluation=fast"], "not by Fréchet distances; use evaluation=pairs"),
            (["model=srgan", "degradation.patch=16", "conditioning=projection"], "takes an image and no labels"),
            (["model=srgan", "degradation.scale=5"], "scale=5: must be one of 2, 3, 4, 8"),
            (["model=srgan", "degradation=jpeg"], "exactly one of bicubic and blur_downsample"),
            (["model=srgan"], "patch=128: the largest image has only 28x28 pixels"),
            (
                ["model=srgan", "degradation.patch=16", "pretraining=pixels", "pretraining.fraction=2"],
                "fraction=2: must be a fraction of the training",
            ),
            (["model=srgan_unet", "degradation.patch=20"], "degradation.patch=20: a U-Net .* must be a multiple of 8"),
        ],
        2,
    ),
)
def test_incompatible_options_are_an_error(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        build_trainer(make_job(tmp_path, "perception=random", *overrides))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("experiment", every_nth(["srgan_x4", "srgan_small_x4", "esrgan_x4"], 3))
def test_a_shortened_experiment_has_both_stages(experiment: str) -> None:
    cfg = compose_config(f"experiment={experiment}", "debug=tiny", "dataset=folder", "dataset.path=somewhere")
    assert cfg.pretraining.kimg is None and 0 < cfg.pretraining.fraction < 1


def test_a_fraction_of_the_command_line_has_priority_over_kimg_of_a_file() -> None:
    cfg = compose_config("pretraining=pixels", "pretraining.kimg=40", "pretraining.fraction=0.25")
    assert resolve_and_validate(cfg.copy(), ["pretraining.kimg=40"]).pretraining.kimg == 40
    assert resolve_and_validate(cfg.copy(), ["pretraining.fraction=0.25"]).pretraining.kimg is None
    cfg.resume = "run"
    assert resolve_and_validate(cfg.copy(), ["pretraining.fraction=0.25"]).pretraining.kimg == 40, "a run keeps its length"
    with pytest.raises(ValueError, match="give one of them"):
        resolve_and_validate(cfg, ["pretraining.fraction=0.25", "pretraining.kimg=40"])


@pytest.mark.parametrize("experiment", every_nth(["srgan_x4", "esrgan_x4"], 2))
def test_experiments_have_the_published_settings(experiment: str) -> None:
    cfg = compose_config(f"experiment={experiment}", "dataset=folder", "dataset.path=somewhere")
    terms = cfg.loss.generator
    game = terms.get("bce") or terms.relativistic_average
    assert (terms.pixel.weight, terms.perceptual.weight, game.weight) == (0.01, 1.0, 0.005)
    assert terms.perceptual.network == cfg.perception and list(cfg.perception.layers) == ["conv5_4"]
    assert (cfg.batch_size, cfg.degradation.patch, cfg.degradation.scale) == (16, 128, 4)
    for optimizer, rate in ((cfg.optimizer.generator, 1e-4), (cfg.pretraining.optimizer, 2e-4)):
        assert optimizer.lr == rate and list(optimizer.betas) == [0.9, 0.99]
    assert cfg.pretraining.fraction * cfg.kimg == pytest.approx(16_000, rel=1e-3) and cfg.kimg == 22_400


def test_the_optimizer_of_a_finished_stage_keeps_its_rate_in_a_resume(tmp_path: Path) -> None:
    first, resumed = (build(tmp_path / name, "schedule=linear") for name in ("first", "resumed"))
    phase = next(phase for phase in first.updater.all_phases if phase.name == "pretraining")
    phase.set_lr_factor(0.25)
    resumed.updater.load_state_dict(first.updater.state_dict())
    other = next(phase for phase in resumed.updater.all_phases if phase.name == "pretraining")
    assert other.optimizer.param_groups[0]["lr"] == phase.optimizer.param_groups[0]["lr"] == 0.25 * phase.base_rate
