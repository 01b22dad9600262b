"""Published protocols, from folders of images to scores, compared with the packages they are named after.

All use the same random weights, so everything but the weights is compared.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from helpers import compose_config, run_module
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from gan_lab.config import CONF_DIR, instantiate
from gan_lab.data.datasets.embedded import EmbeddedFashionMnist
from gan_lab.utils.image_ops import to_pil

torch_fidelity = pytest.importorskip("torch_fidelity")

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10" / "train.zip"
"""Photographs next to this checkout; if there are none, embedded gray images are used."""


@pytest.mark.parametrize("name", sorted(file.stem for file in (CONF_DIR / "protocol").glob("*.yaml")))
def test_every_protocol_refers_to_existing_metrics_and_features(name: str) -> None:
    cfg = compose_config(f"protocol=[{name}]", "evaluation=full")
    protocol = instantiate(cfg.protocol[name], "protocol")
    assert set(protocol.metrics or []) <= set(cfg.evaluation.metrics)
    if protocol.features != "auto":
        instantiate(OmegaConf.merge(cfg.features[protocol.features], protocol.settings), "features")


def write_pictures(folder: Path, first: int, count: int) -> Path:
    folder.mkdir()
    if CIFAR.is_file():
        with zipfile.ZipFile(CIFAR) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[:: 50_000 // 500][
                first : first + count
            ]
            for n, name in enumerate(names):
                Image.open(io.BytesIO(archive.read(name))).save(folder / f"{n:03d}.png")
    else:
        source = EmbeddedFashionMnist(name="fashion_mnist_10k", root=".", size=32, channels=1, resize_mode="pad")
        for n, image in enumerate(source.load().images(slice(first, first + count))):
            to_pil(image).convert("RGB").save(folder / f"{n:03d}.png")
    return folder


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """He-normal convolutions, and a last layer whose logits differ as much as those of a trained network."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Bare(FeatureExtractorInceptionV3):
        def load_state_dict(self, *arguments: Any, **more: Any) -> Any:
            return None

    random = torch.Generator().manual_seed(0)
    empty = tmp_path_factory.mktemp("weights") / "empty.pth"
    torch.save({}, empty)
    network = Bare("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(empty))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.normal_(0.0, (2.0 / module.weight[0].numel()) ** 0.5, generator=random)
        elif isinstance(module, nn.Linear):
            module.weight.normal_(0.0, 1.0, generator=random)
    path = empty.with_name("inception.pth")
    torch.save(network.state_dict(), path)
    return path


def ours(fakes: Path, reals: Path, weights: Path, protocols: str, cwd: Path) -> dict[str, dict[str, float]]:
    own = [f"features.inception.weights={weights}", "evaluation=full", "evaluation.metrics.kernel.subset_size=6"]
    own += [
        "evaluation.metrics.classifier_score.splits=2",
        "evaluation.metrics.sliced=null",
        "evaluation.metrics.diversity=null",
    ]
    own += ["evaluation.metrics.frechet.points=0", "evaluation.metrics.frechet.bootstrap=0", "device=cpu"]
    done = run_module("evaluate", f"fakes={fakes}", f"reals={reals}", f"protocol={protocols}", "out=scores.json", *own, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    (entry,) = json.loads((cwd / "scores.json").read_text())
    return {
        protocol: {name.replace(_suffix(weights), ""): value for name, value in result["scores"].items()}
        for protocol, result in entry["results"].items()
    }


def _suffix(weights: Path) -> str:
    """Suffix of scores with these weights, which are not the published ones."""
    return f"_inception_{hashlib.sha256(weights.read_bytes()).hexdigest()[:8]}"


def theirs(fakes: Path, reals: Path, weights: Path) -> dict[str, float]:
    return torch_fidelity.calculate_metrics(
        input1=str(fakes),
        input2=str(reals),
        cuda=False,
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
        isc_splits=2,
        kid_subset_size=6,
        verbose=False,
        cache=False,
        save_cpu_ram=True,
        batch_size=16,
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", [8, 100])
def test_fid_kid_is_precision_and_recall_match_torch_fidelity(count: int, inception_weights: Path, tmp_path: Path) -> None:
    fakes, reals = write_pictures(tmp_path / "fakes", 0, count), write_pictures(tmp_path / "reals", count, count + 4)
    found = ours(fakes, reals, inception_weights, "[torch_fidelity]", tmp_path)["torch_fidelity"]
    expected = theirs(fakes, reals, inception_weights)
    assert expected["inception_score_mean"] > 1.01  # the predictions differ between images
    for name, other in {
        "fd": "frechet_inception_distance",
        "kd": "kernel_inception_distance_mean",
        "kd_std": "kernel_inception_distance_std",
        "classifier_score": "inception_score_mean",
        "classifier_score_std": "inception_score_std",
        "precision": "precision",
        "recall": "recall",
    }.items():
        assert found[name] == pytest.approx(expected[other], rel=1e-3), name


@pytest.fixture
def square_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """``scipy.linalg.sqrtm`` with the argument ``disp`` that both packages pass and newer SciPy versions do not accept."""

    original = scipy.linalg.sqrtm

    def sqrtm(matrix: np.ndarray, disp: bool = True) -> Any:
        root = np.asarray(original(matrix))
        return root if disp else (root, 0.0)

    for package in ("cleanfid.fid", "pytorch_fid.fid_score"):
        module = pytest.importorskip(package)
        monkeypatch.setattr(module.linalg, "sqrtm", sqrtm, raising=False)


@pytest.mark.slow  # four minutes on one thread
@pytest.mark.filterwarnings("ignore")  # from the packages
def test_protocols_match_pytorch_fid_and_clean_fid(
    inception_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, square_root: None
) -> None:
    fakes, reals = write_pictures(tmp_path / "fakes", 0, 60), write_pictures(tmp_path / "reals", 60, 60)
    found = ours(fakes, reals, inception_weights, "[pytorch_fid,clean,torch_fidelity]", tmp_path)
    state = torch.load(inception_weights, weights_only=True)

    from pytorch_fid import fid_score, inception

    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *arguments, **more: state)
    assert found["pytorch_fid"]["fd"] == pytest.approx(
        fid_score.calculate_fid_given_paths([str(fakes), str(reals)], 10, "cpu", 2048, num_workers=0), rel=1e-2
    )

    from cleanfid import fid
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(inception_weights)
    )
    body = nn.Sequential(*list(network.children())[:-1], nn.Flatten())
    clean = fid.compare_folders(
        str(fakes), str(reals), lambda x: body((x - 128) / 128), "clean", device=torch.device("cpu"), verbose=False
    )
    assert found["clean"]["fd"] == pytest.approx(clean, rel=1e-2)
    distances = [found[name]["fd"] for name in ("pytorch_fid", "clean", "torch_fidelity")]
    ratios = [a / b for a, b in zip(distances, distances[1:] + distances[:1], strict=True)]
    assert min(abs(ratio - 1) for ratio in ratios) > 1e-3  # the protocols differ
