"""Features of a classifier trained on the labels of the dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import compose_config, run_module

from gan_lab.building.metrics import choose_features, load_features
from gan_lab.data.datasets.embedded import EmbeddedFashionMnist
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.metrics.frechet import frechet_distance
from gan_lab.metrics.mean_covariance import MeanCovariance
from gan_lab.metrics.networks import FeatureDomain
from gan_lab.metrics.networks.classifier import SHIPPED, Classifier, DatasetClassifier, StackedClassifier
from gan_lab.metrics.networks.fit import Recipe, accuracy, fit

CPU = torch.device("cpu")
RECIPE = Recipe(width=4, epochs=12, batch_size=16, lr=0.01, weight_decay=0.0, shift=1, mirror=False)


def stripes(count: int, seed: int, attributes: bool = False) -> ImageDataset:
    """Noise with a bright top half for class 1; with attributes: bright top half, bright left half."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, (count, 2))
    pixels = random.integers(0, 60, (count, 16, 16, 1)).astype(np.uint8)
    for image, (first, second) in zip(pixels, labels, strict=True):
        image[:8] += 120 * np.uint8(first)
        image[:, :8] += 70 * np.uint8(second)
    if attributes:
        return ImageDataset.from_arrays(pixels, labels.astype(np.uint8), ["above", "left"])
    return ImageDataset.from_arrays(pixels, labels[:, 0].astype(np.int64), ["dark", "bright"])


def fitted(**changes: object) -> Classifier:
    arguments: dict[str, object] = {"train": stripes(256, 0), "held_out": stripes(64, 1)} | changes
    return fit(
        arguments["train"],  # type: ignore[arg-type]
        arguments["held_out"],  # type: ignore[arg-type]
        "64 other images",
        "stripes",
        ["stripes"],
        RECIPE,
        0,
        CPU,
        lambda done, total: None,
    )


@pytest.fixture(scope="module")
def network() -> Classifier:
    return fitted()


def test_training_is_reproducible_and_leaves_the_global_generator_unchanged(network: Classifier) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    again = fitted()
    assert torch.equal(torch.get_rng_state(), before)
    assert again.fingerprint == network.fingerprint  # determined by the seed
    assert network.metadata.accuracy > 0.95 and "of 64 other images" in network.description
    assert network.metadata.accuracy == accuracy(network, stripes(64, 1), 7)


def test_a_classifier_of_attributes_has_no_logits() -> None:
    network = fitted(train=stripes(256, 0, attributes=True), held_out=stripes(64, 1, attributes=True))
    assert network.metadata.accuracy > 0.9 and network.num_classes == 0
    assert network(stripes(3, 2).images(slice(None))).logits is None


def test_a_classifier_stored_in_half_precision_computes_the_same_features(network: Classifier, tmp_path: Path) -> None:
    network.save(tmp_path / "kept.pt")
    again = Classifier.load(tmp_path / "kept.pt")
    images = stripes(64, 3).images(slice(None))
    assert again.metadata == network.metadata
    torch.testing.assert_close(again(images).features, network(images).features, rtol=0.01, atol=0.01)
    assert again(images).features.shape == (64, 16) and again.score("fd") == "fd_stripes"


def test_images_of_other_sizes_are_resized(network: Classifier) -> None:
    images = stripes(8, 3).images(slice(None))
    large = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(network(large).features, network(images).features, rtol=0.05, atol=0.15)


def test_a_damaged_classifier_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "classifier.pt"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"classifier\.pt is damaged or not a classifier of gan_lab"):
        DatasetClassifier(str(tmp_path), file=str(path)).load(FeatureDomain("x", 1, 16))


def test_training_without_labels_is_an_error() -> None:
    bare = ImageDataset.from_arrays(stripes(9, 0).pixels)
    with pytest.raises(ValueError, match="the dataset has no classes"):
        fitted(train=bare)


# -- classifiers in the package ----------------------------------------------------------------------------------------


def test_packaged_classifiers_are_small_and_have_metadata() -> None:
    files = list(SHIPPED.glob("*.pt"))
    assert {path.stem for path in files} == {"fashion", "mnist"} and sum(path.stat().st_size for path in files) < 2 * 2**20
    fashion, mnist = (Classifier.load(SHIPPED / f"{name}.pt").metadata for name in ("fashion", "mnist"))
    assert fashion.accuracy > 0.92 and fashion.held_out == "10,000 test images" and fashion.images == 60_000
    assert mnist.accuracy > 0.985 and mnist.held_out == "10,000 test images"


@pytest.fixture(scope="module")
def garments() -> torch.Tensor:
    source = EmbeddedFashionMnist(name="fashion_mnist_10k", root=".", size=32, channels=1, resize_mode="pad", limit=4000)
    return source.load().images(slice(None))


def test_the_stored_accuracy_is_correct() -> None:
    """The embedded images are from the test images of the stored accuracy, which was measured in float32."""
    source = EmbeddedFashionMnist(name="fashion_mnist_10k", root=".", size=32, channels=1, resize_mode="pad", limit=3000)
    network = Classifier.load(SHIPPED / "fashion.pt")
    assert accuracy(network, source.load(), 250) == pytest.approx(network.metadata.accuracy, abs=0.01)


def test_distances_of_reals_blur_and_noise_are_in_order(garments: torch.Tensor) -> None:
    network = Classifier.load(SHIPPED / "fashion.pt")

    def statistics(images: torch.Tensor) -> MeanCovariance:
        return MeanCovariance.of(torch.cat([network(part).features for part in images.split(250)]))

    first, second = statistics(garments[:2000]), statistics(garments[2000:])
    blurred = torch.nn.functional.avg_pool2d(garments[:1000].float(), 3, 1, 1).to(torch.uint8)
    noise = torch.randint(0, 256, (500, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(first, second) < 1
    assert 10 < frechet_distance(statistics(blurred), second) < 0.3 * frechet_distance(statistics(noise), second)


def test_stacked_digits_are_classified_channel_by_channel() -> None:
    stacked = DatasetClassifier("nowhere").load(FeatureDomain("stacked_mnist", 3, 32))
    assert isinstance(stacked, StackedClassifier) and stacked.num_classes == 1000 and stacked.num_features == 3 * 128
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features, logits = stacked(images)
    digits = torch.stack([stacked.single(images[:, n : n + 1]).logits.argmax(1) for n in range(3)], 1)  # type: ignore[union-attr]
    assert features.shape == (5, 384) and logits is not None
    assert torch.equal(logits.argmax(1), digits @ torch.tensor([100, 10, 1])) and stacked.classes[123] == "123"


# -- selection of features ---------------------------------------------------------------------------------------------


def test_auto_selects_the_first_available_features(tmp_path: Path) -> None:
    cfg = compose_config(f"paths.weights={tmp_path}")
    assert choose_features(cfg, FeatureDomain("fashion_mnist_10k", 1, 32)) == "dataset_classifier"
    assert choose_features(cfg, FeatureDomain("fashion_mnist", 1, 64)) == "dataset_classifier"
    assert choose_features(cfg, FeatureDomain("fashion_mnist", 3, 32)) != "dataset_classifier"  # it is for gray images
    assert choose_features(cfg, FeatureDomain("pictures-1234", 1, 32)) == "random"
    (tmp_path / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"")
    assert choose_features(cfg, FeatureDomain("fashion_mnist_10k", 1, 32)) == "inception"


def test_unknown_or_unavailable_features_are_an_error() -> None:
    cfg = compose_config()
    with pytest.raises(
        ValueError, match=r"evaluation\.features=inceptoin: must be auto or one of inception, dataset_classifier"
    ):
        load_features(cfg, "inceptoin", FeatureDomain("", 1, 32), {})
    with pytest.raises(
        ValueError, match=r"no classifier was trained on these images in grayscale.*the package has fashion, mnist"
    ):
        load_features(cfg, "dataset_classifier", FeatureDomain("", 1, 32), {})
    cfg = compose_config("features.dataset_classifier.file=mnist")
    assert load_features(cfg, "dataset_classifier", FeatureDomain("", 1, 32), {}).name == "mnist"


@pytest.mark.slow
def test_a_run_uses_the_classifier_trained_by_the_command(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures.npz"
    data = stripes(300, 0)
    np.savez(pictures, images=data.pixels[..., 0], labels=data.labels)
    own = ["dataset=folder", f"dataset.path={pictures}", "dataset.size=16", "dataset.channels=1"]
    own += [f"paths.data={tmp_path}", f"paths.weights={tmp_path}", "device=cpu"]
    done = run_module("evaluate", "fit_features=true", *own, "fit.recipe.width=4", "fit.recipe.epochs=20", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "on 30 held-out images, trained on 270;" in done.stdout and "fd_pictures-" in done.stdout
    trained = run_module("train", *own, "debug=tiny", "epochs=1", "evaluation.num_fakes=40", "hydra.run.dir=run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "fd_pictures-" in (tmp_path / "run" / "summary.json").read_text()
    again = run_module("evaluate", "fit_features=true", *own, cwd=tmp_path)
    assert again.returncode == 1 and "exists, and scores may have been computed with it; fit.overwrite=true" in again.stderr
