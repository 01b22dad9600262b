"""Metrics of pixels, compared with independent implementations."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from gan_lab.metrics import diversity, full_reference, sliced_wasserstein
from gan_lab.metrics.base import FeatureStats
from gan_lab.metrics.diversity import MultiScaleSimilarity
from gan_lab.metrics.full_reference import PSNR, SSIM
from gan_lab.metrics.lpips import LPIPS, VARIANTS, LPIPSNetwork
from gan_lab.metrics.mean_covariance import MeanCovariance
from gan_lab.metrics.networks import weights
from gan_lab.metrics.networks.random import RandomConvolutions
from gan_lab.metrics.sliced_wasserstein import SlicedWasserstein, laplacian_pyramid, level_sizes
from gan_lab.metrics.ssim import ms_ssim, scales, ssim
from gan_lab.storage import downloads

NETWORK = RandomConvolutions(1, 2, seed=0)  # not used by these metrics
SETTINGS = {"images": 100, "patches": 16, "patch": 7, "repeats": 2, "directions": 20, "seed": 0}


def noise(count: int, channels: int, height: int, width: int | None = None, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, height, width or height), dtype=torch.uint8, generator=generator)


def smooth(count: int, channels: int, height: int, width: int | None = None, seed: int = 0, sigma: float = 2) -> Tensor:
    """Blurred noise scaled to the whole range, more similar to photographs."""
    images = noise(count, channels, height, width, seed).double().numpy()
    blurred = torch.from_numpy(scipy.ndimage.gaussian_filter(images, (0, 0, sigma, sigma)))
    low, high = (edge(blurred, (2, 3), keepdim=True) for edge in (torch.amin, torch.amax))
    return ((blurred - low) / (high - low) * 255).round().to(torch.uint8)


def disturbed(images: Tensor, strength: float, seed: int = 9) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (images + strength * torch.randn(images.shape, generator=generator)).round().clamp(0, 255).to(torch.uint8)


def sample(pixels: Tensor, labels: Tensor | None = None, classes: tuple[str, ...] = ()) -> FeatureStats:
    return FeatureStats(MeanCovariance(1), pixels=pixels, labels=labels, classes=classes)


def luma(images: Tensor) -> np.ndarray:
    """Luma ``[N, H, W]`` of BT.601, from its defining constants Kr and Kb."""
    red, green, blue = images.double().numpy().transpose(1, 0, 2, 3) / 255
    kr, kb = 0.299, 0.114
    return 16 + 219 * (kr * red + (1 - kr - kb) * green + kb * blue)


# Structural similarity


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 40, 57), (1, 28, 28), (1, 11, 11)])
def test_ssim_matches_scikit_image(channels: int, height: int, width: int) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a = smooth(3, channels, height, width)
    b = disturbed(a, 20)
    expected = [
        metrics.structural_similarity(
            x.numpy(), y.numpy(), channel_axis=0, data_range=255, gaussian_weights=True, use_sample_covariance=False
        )
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(ssim(a.double(), b.double()), expected, atol=1e-9)
    np.testing.assert_allclose(ssim(a.float(), b.float()), expected, atol=1e-4)
    np.testing.assert_allclose(ssim(a.float(), a.float()), 1, atol=1e-6)


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 176, 208), (1, 192, 192)])
def test_ms_ssim_matches_pytorch_msssim(channels: int, height: int, width: int) -> None:
    reference = pytest.importorskip("pytorch_msssim")
    a = smooth(2, channels, height, width).float()
    values = []
    for strength in (5, 40, 160):
        b = disturbed(a, strength).float()
        np.testing.assert_allclose(ms_ssim(a, b), reference.ms_ssim(a, b, size_average=False), atol=1e-4)
        values.append(ms_ssim(a, b))
    assert bool((values[0] > values[1]).all() and (values[1] > values[2]).all())
    assert scales(height, width) == 5


def test_small_images_have_fewer_scales() -> None:
    reference = pytest.importorskip("pytorch_msssim.ssim")
    assert [scales(n, 500) for n in (10, 11, 20, 21, 32, 64, 128, 160, 161, 1000)] == [0, 1, 1, 2, 2, 3, 4, 4, 5, 5]
    a = smooth(2, 1, 16).float()
    b = disturbed(a, 30).float()
    np.testing.assert_allclose(ms_ssim(a, b), ssim(a, b), atol=1e-6)  # one scale
    a = smooth(2, 3, 32).float()
    b = disturbed(a, 30).float()
    window = reference.SSIM(channel=3).win
    contrast = reference._ssim(a, b, 255, window)[1]
    similarity = reference._ssim(*(avg_pool2d(side, 2) for side in (a, b)), 255, window)[0]
    exponents = np.array([0.0448, 0.2856]) / (0.0448 + 0.2856)
    np.testing.assert_allclose(ms_ssim(a, b), (contrast ** exponents[0] * similarity ** exponents[1]).mean(1), atol=1e-5)


def test_ms_ssim_averages_an_odd_edge_with_itself() -> None:
    """Two scales; the reference pads the images to even sizes before downscaling."""
    a = smooth(2, 1, 33, 21).float()
    b = disturbed(a, 30).float()
    reference = pytest.importorskip("pytorch_msssim.ssim")
    window = reference.SSIM(channel=1).win
    halves = [avg_pool2d(pad(side, (0, 1, 0, 1), mode="replicate"), 2) for side in (a, b)]
    contrast, similarity = reference._ssim(a, b, 255, window)[1], reference._ssim(*halves, 255, window)[0]
    exponents = np.array([0.0448, 0.2856]) / (0.0448 + 0.2856)
    np.testing.assert_allclose(ms_ssim(a, b), (contrast ** exponents[0] * similarity ** exponents[1]).mean(1), atol=1e-5)
    np.testing.assert_allclose(ms_ssim(a, a), 1, atol=1e-6)


def test_ssim_of_different_shapes_or_too_small_images_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\[2, 1, 16, 16\].*\[3, 1, 16, 16\]"):
        ssim(torch.zeros(2, 1, 16, 16), torch.zeros(3, 1, 16, 16))
    with pytest.raises(ValueError, match=r"at least 11x11 pixels, not \[32, 10\]"):
        ms_ssim(torch.zeros(1, 1, 32, 10), torch.zeros(1, 1, 32, 10))


# Diversity


def test_diversity_of_identical_images_is_1_and_of_noise_about_0() -> None:
    metric = MultiScaleSimilarity(pairs=50, seed=0)
    identical = smooth(1, 1, 32).expand(40, -1, -1, -1)
    reals = sample(smooth(60, 1, 32, seed=1))
    scores = metric(sample(identical), reals, NETWORK)
    assert scores["ms_ssim"] == pytest.approx(1, abs=1e-5)
    assert 0 < scores["ms_ssim_reals"] < 0.5
    assert metric(sample(noise(60, 1, 64)), reals, NETWORK)["ms_ssim"] < 0.05
    assert metric.details(sample(identical), reals, NETWORK) == {"ms_ssim": {"scales": 2, "pairs": 50, "pairs_reals": 50}}


def test_pairs_are_different_images_of_the_same_class() -> None:
    prototypes = smooth(3, 1, 32)  # all images of a class are equal
    labels = torch.arange(30) % 3
    fakes, reals = (sample(prototypes[labels], labels, ("a", "b", "c", "d")) for _ in range(2))
    metric = MultiScaleSimilarity(pairs=10, seed=0)
    assert metric(fakes, reals, NETWORK)["ms_ssim"] == pytest.approx(1, abs=1e-5)
    details = metric.details(fakes, reals, NETWORK)
    assert list(details["ms_ssim by class"]) == list(details["ms_ssim_reals by class"]) == ["a", "b", "c"]  # d has no images
    assert details["ms_ssim"]["pairs"] == 12  # four in each of three classes
    among_all = metric(sample(prototypes[labels]), reals, NETWORK)  # unlabeled fakes: pairs of all images
    assert among_all["ms_ssim"] < 0.9 and among_all["ms_ssim_reals"] < 0.9

    members = torch.tensor([3, 5, 8])
    drawn = diversity.random_pairs(members, 3000, torch.Generator().manual_seed(0))
    assert bool((drawn[:, 0] != drawn[:, 1]).all())
    _, counts = drawn.unique(dim=0, return_counts=True)
    assert len(counts) == 6 and counts.min() > 400  # all ordered pairs, equally often


def test_diversity_of_the_reals_is_cached_and_omitted_without_pairs() -> None:
    metric = MultiScaleSimilarity(pairs=5, seed=0)
    reals = sample(smooth(20, 1, 16))
    first = metric(sample(smooth(20, 1, 16, seed=1)), reals, NETWORK)
    reals.pixels = torch.zeros_like(reals.pixels)  # type: ignore[arg-type]
    assert metric(sample(smooth(20, 1, 16, seed=1)), reals, NETWORK) == first
    assert metric(sample(smooth(1, 1, 16)), reals, NETWORK) == {}
    assert metric(sample(smooth(20, 1, 8)), sample(smooth(20, 1, 8)), NETWORK) == {}
    assert metric.details(sample(smooth(20, 1, 8)), sample(smooth(20, 1, 8)), NETWORK) == {}
    with pytest.raises(ValueError, match="pairs=0"):
        MultiScaleSimilarity(pairs=0, seed=0)


# Sliced Wasserstein distance


def pyramid_by_scipy(images: np.ndarray, levels: int) -> list[np.ndarray]:
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, None] / 256
    bands = []
    for _ in range(levels - 1):
        smaller = scipy.ndimage.convolve(images, kernel, mode="mirror")[:, :, ::2, ::2]
        spread = np.zeros_like(images)
        spread[:, :, ::2, ::2] = smaller
        bands.append(images - scipy.ndimage.convolve(spread, 4 * kernel, mode="mirror"))
        images = smaller
    return [*bands, images]


def test_the_laplacian_pyramid_matches_scipy_and_is_invertible() -> None:
    images = noise(3, 2, 64, 32).double()
    bands = laplacian_pyramid(images, 3)
    assert [band.shape[2:] for band in bands] == [(64, 32), (32, 16), (16, 8)]
    for band, expected in zip(bands, pyramid_by_scipy(images.numpy(), 3), strict=True):
        np.testing.assert_allclose(band, expected, atol=1e-10)
    whole = bands[-1]
    for band in bands[-2::-1]:
        whole = band + sliced_wasserstein.pyramid_up(whole)
    np.testing.assert_allclose(whole, images, atol=1e-10)
    sizes = {16: [16], 28: [28], 48: [48, 24], 64: [64, 32, 16], 100: [100, 50, 25], 12: [12], 8: [8]}
    assert {size: level_sizes(size, size) for size in sizes} == sizes


@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 32), (1, 28)])
def test_the_sliced_wasserstein_distance_matches_scipy(channels: int, size: int) -> None:
    fakes, reals = noise(6, channels, size, seed=1), smooth(6, channels, size, seed=2)
    scores = SlicedWasserstein(**SETTINGS)(sample(fakes), sample(reals), NETWORK)
    levels = {32: 2, 28: 1}[size]
    expected = {}
    for level in range(levels):
        extent = size // 2**level
        random = torch.Generator().manual_seed(level)
        rows, columns = (torch.randint(extent - 6, (6, 16), generator=random).numpy() for _ in range(2))
        directions = torch.randn(40, 49 * channels, generator=random, dtype=torch.float64).numpy()
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        sides = []
        for images in (fakes, reals):
            band = pyramid_by_scipy(images.double().numpy(), levels)[level]
            places = [(n, y, x) for n in range(6) for y, x in zip(rows[n], columns[n], strict=True)]
            patches = np.stack([band[n, :, y : y + 7, x : x + 7] for n, y, x in places])
            patches = patches - patches.mean((0, 2, 3), keepdims=True)
            patches = patches / patches.std((0, 2, 3), keepdims=True)
            sides.append(patches.reshape(len(patches), -1) @ directions.T)
        distances = [scipy.stats.wasserstein_distance(x, y) for x, y in zip(sides[0].T, sides[1].T, strict=True)]
        expected[f"swd_{extent}"] = 1000 * np.mean(distances)
    expected["swd"] = np.mean(list(expected.values()))
    assert scores == pytest.approx(expected, rel=1e-4)


def test_the_sliced_wasserstein_distance_grows_with_blur_and_noise_in_any_order() -> None:
    metric = SlicedWasserstein(**SETTINGS | {"images": 400, "patches": 64})
    reals = smooth(400, 1, 32, sigma=1)

    def score(fakes: Tensor) -> dict[str, float]:
        return metric(sample(fakes), sample(reals), NETWORK)

    def blurred(sigma: float) -> Tensor:
        return torch.from_numpy(scipy.ndimage.gaussian_filter(reals.float().numpy(), (0, 0, sigma, sigma))).round().byte()

    assert score(reals.clone()) == {"swd_32": 0, "swd_16": 0, "swd": 0}
    floor = score(smooth(400, 1, 32, sigma=1, seed=1))["swd_32"]  # distance of two samples of the same distribution
    for worse in ([blurred(0.7), blurred(1.5)], [disturbed(reals, 20), disturbed(reals, 60)]):
        less, more = (score(images)["swd_32"] for images in worse)
        assert 2 * floor < less and 1.2 * less < more
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    assert score(reals[order])["swd_32"] < 1.2 * floor  # not 0, because each image has other patch positions
    noisy = disturbed(reals, 60)
    assert score(noisy[order])["swd_32"] == pytest.approx(score(noisy)["swd_32"], rel=0.05)


def test_patch_order_and_block_size_do_not_change_the_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(500, 49, generator=generator), torch.randn(500, 49, generator=generator)
    directions = sliced_wasserstein.random_directions(49, 40, generator)
    order = torch.randperm(500, generator=generator)
    assert sliced_wasserstein.sliced_wasserstein(a[order], b, directions) == pytest.approx(
        sliced_wasserstein.sliced_wasserstein(a, b, directions), rel=1e-6
    )
    fakes, reals = sample(noise(9, 1, 32)), sample(smooth(9, 1, 32))
    whole = SlicedWasserstein(**SETTINGS)(fakes, reals, NETWORK)
    monkeypatch.setattr(sliced_wasserstein, "BLOCK_VALUES", 3000)
    monkeypatch.setattr(sliced_wasserstein, "BLOCK_DIRECTIONS", 7)
    assert SlicedWasserstein(**SETTINGS)(fakes, reals, NETWORK) == pytest.approx(whole, rel=1e-6)


def test_sliced_wasserstein_edge_cases() -> None:
    metric = SlicedWasserstein(**SETTINGS)
    blank = torch.full((7, 3, 16, 16), 255, dtype=torch.uint8)
    score = metric(sample(blank), sample(noise(200, 3, 16)), NETWORK)["swd"]
    assert 100 < score < 2000
    assert metric(sample(noise(9, 1, 6)), sample(noise(9, 1, 6)), NETWORK) == {}
    with pytest.raises(ValueError, match=r"fakes of \[3, 16, 16\].*reals of \[1, 16, 16\]"):
        metric(sample(blank), sample(noise(9, 1, 16)), NETWORK)
    with pytest.raises(ValueError, match="repeats=0"):
        SlicedWasserstein(**SETTINGS | {"repeats": 0})


# Full-reference metrics


@pytest.mark.parametrize(("channels", "border"), [(3, 4), (3, 0), (1, 2)])
def test_psnr_and_ssim_match_scikit_image_on_rgb_and_luma(channels: int, border: int) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    reals = smooth(3, channels, 40, 52)
    fakes = disturbed(reals, 12)
    inside = (..., slice(border, 40 - border), slice(border, 52 - border))
    color = [side.numpy()[inside] for side in (fakes, reals)]
    gray = [(luma(side) if channels == 3 else side[:, 0].double().numpy())[inside] for side in (fakes, reals)]
    settings = {"data_range": 255, "gaussian_weights": True, "use_sample_covariance": False}
    expected = {
        "psnr": np.mean([metrics.peak_signal_noise_ratio(y, x, data_range=255) for x, y in zip(*color, strict=True)]),
        "psnr_y": np.mean([metrics.peak_signal_noise_ratio(y, x, data_range=255) for x, y in zip(*gray, strict=True)]),
        "ssim": np.mean([metrics.structural_similarity(x, y, channel_axis=0, **settings) for x, y in zip(*color, strict=True)]),
        "ssim_y": np.mean([metrics.structural_similarity(x, y, **settings) for x, y in zip(*gray, strict=True)]),
        "rmse_y": np.mean([np.sqrt(metrics.mean_squared_error(x, y)) for x, y in zip(*gray, strict=True)]),
    }
    assert PSNR(border)(fakes, reals) | SSIM(border)(fakes, reals) == pytest.approx(expected, abs=1e-6)


def test_luma_ranges_from_16_to_235() -> None:
    extremes = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    np.testing.assert_allclose(full_reference.luma(extremes).flatten(), [16, 235], atol=1e-9)
    assert torch.equal(full_reference.luma(extremes[:, :1]).flatten(), torch.tensor([0.0, 255.0]).double())


def test_identical_images_have_the_largest_finite_psnr() -> None:
    images = noise(2, 1, 32)
    assert PSNR(0)(images, images)["psnr"] == pytest.approx(78.2, abs=0.05)
    nearly = images.clone()
    nearly[:, 0, 0, 0] ^= 1  # one level in one value: the smallest error that PSNR distinguishes
    nearly[:, 0, 0, 1] ^= 1
    assert PSNR(0)(nearly, images)["psnr"] == pytest.approx(78.2 - 10 * np.log10(2), abs=0.05)
    assert SSIM(0)(images, images) == pytest.approx({"ssim": 1, "ssim_y": 1})


def test_full_reference_metrics_of_invalid_images_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 fakes of 1x16x16 and 3 reals of 1x16x16"):
        PSNR(0)(noise(2, 1, 16), noise(3, 1, 16))
    with pytest.raises(ValueError, match="2 fakes of 3x16x16 and 2 reals of 3x16x20"):
        SSIM(0)(noise(2, 3, 16), noise(2, 3, 16, 20))
    with pytest.raises(ValueError, match="border=8 leaves nothing of images of 16x20"):
        PSNR(8)(noise(1, 1, 16, 20), noise(1, 1, 16, 20))
    with pytest.raises(ValueError, match="border=-1"):
        SSIM(-1)
    with pytest.raises(ValueError, match="0 fakes"):
        PSNR(0)(noise(0, 1, 16), noise(0, 1, 16))


@pytest.mark.parametrize(("network", "size"), [("alex", 64), ("vgg", 32)])
def test_lpips_matches_the_authors_package(network: str, size: int) -> None:
    """With an untrained backbone, because no package contains the ImageNet weights; the channel weights are the authors'."""
    package = pytest.importorskip("lpips")
    heads = Path(package.__file__).parent / "weights" / "v0.1" / f"{network}.pth"
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")  # about deprecated arguments that the package passes to torchvision
        torch.manual_seed(0)
        reference = package.LPIPS(net=network, pnet_rand=True, verbose=False)
    state = reference.net.state_dict()
    backbone = {f"features.{name.partition('.')[2]}": tensor for name, tensor in state.items()}
    before = torch.get_rng_state()
    ours = LPIPSNetwork(VARIANTS[network], backbone, weights.load_state(heads))
    assert torch.equal(torch.get_rng_state(), before)
    a = smooth(2, 3, size)
    b = disturbed(a, 40)
    expected = reference(*(side.float() / 127.5 - 1 for side in (a, b))).detach().flatten()
    assert expected.min() > 1e-3
    np.testing.assert_allclose(ours(a, b), expected, rtol=1e-4)
    np.testing.assert_allclose(ours(a, a), 0, atol=1e-9)
    assert ours(a[:, :1], b[:, :1]) == pytest.approx(ours(*(side[:, :1].repeat(1, 3, 1, 1) for side in (a, b))))


def test_lpips_needs_its_published_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alexnet, lin = tmp_path / "alexnet-owt-7be5be79.pth", tmp_path / "alex.pth"
    with pytest.raises(
        ValueError, match=r"in .* Download \S+/alexnet-owt-7be5be79.pth as .* and \S+/v0.1/alex.pth as lpips-alex.pth"
    ):
        LPIPS(tmp_path, "alex", "cpu")
    with pytest.raises(ValueError, match="network='squeeze': must be alex or vgg"):
        LPIPS(tmp_path, "squeeze", "cpu")
    random = torch.Generator().manual_seed(0)
    channels = (64, 192, 384, 256, 256)
    heads = {f"lin{n}.model.1.weight": torch.rand(1, width, 1, 1, generator=random) for n, width in enumerate(channels)}
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    backbone = {"classifier.6.bias": torch.zeros(1000)}
    for n, shape in shapes.items():
        backbone |= {f"features.{n}.weight": torch.randn(shape, generator=random), f"features.{n}.bias": torch.zeros(shape[0])}
    torch.save(backbone, alexnet)
    torch.save(heads, lin)
    with pytest.raises(
        ValueError, match=r"alexnet-owt-7be5be79.pth .the SHA-256 checksum of the present file does not begin with 7be5be79"
    ):
        LPIPS(str(tmp_path), "alex", "cpu")

    sums = {alexnet: "7be5be791159", lin: "df73285e35b2"}
    monkeypatch.setattr(downloads, "file_digest", lambda path, algorithm: sums[path])
    metric = LPIPS(tmp_path, "alex", "cpu")
    a = smooth(5, 3, 32)
    b = disturbed(a, 40)
    scores = metric(a, b)
    assert list(scores) == ["lpips"] and scores["lpips"] > 0
    monkeypatch.setattr(full_reference, "BLOCK_VALUES", 2 * a[0].numel())
    assert metric(a, b) == pytest.approx(scores, rel=1e-5)
    with pytest.raises(ValueError, match="at least 31x31 pixels, not 30x64"):
        metric(noise(1, 3, 30, 64), noise(1, 3, 30, 64))
