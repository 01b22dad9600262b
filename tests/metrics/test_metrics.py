"""Metrics compared with closed forms and independent implementations."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.classifier_score import ClassifierScore, ModeCoverage
from gan_lab.metrics.frechet import FrechetDistance, IntraClassFrechetDistance, frechet_distance
from gan_lab.metrics.kernel_distance import KernelDistance
from gan_lab.metrics.mean_covariance import MeanCovariance
from gan_lab.metrics.networks import FeatureDomain
from gan_lab.metrics.networks.random import RandomConvolutions
from gan_lab.metrics.prdc import PrecisionRecallDensityCoverage, nearest
from gan_lab.metrics.protocol import Protocol, differences
from gan_lab.metrics.reference_stats import ReferenceStatsCache
from gan_lab.metrics.suite import MetricSuite, ProtocolEvaluation, flatten_scores

CPU = torch.device("cpu")
GRAY = FeatureDomain("", 1, 16)
NETWORK = RandomConvolutions(1, 4, seed=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def image_set(images: Tensor, labels: list[int] | None = None, classes: tuple[str, ...] = ()) -> ImageDataset:
    return ImageDataset.from_arrays(images.permute(0, 2, 3, 1).numpy(), None if labels is None else np.array(labels), classes)


def noise(count: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, 1, 16, 16), dtype=torch.uint8, generator=generator(seed))


def statistics(features: Tensor, batch: int = 37, ddof: int = 1) -> MeanCovariance:
    result = MeanCovariance(features.shape[1], ddof)
    for part in features.split(batch):
        result.add(part)
    return result


def features(count: int, size: int, seed: int, offset: float = 0.0) -> Tensor:
    random = generator(seed)
    return torch.randn(count, size, generator=random) @ torch.randn(size, size, generator=random) + offset


def sample(values: Tensor, **more: object) -> FeatureStats:
    return FeatureStats(MeanCovariance.of(values), features=values.float(), **more)  # type: ignore[arg-type]


# -- Frechet -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ddof", [0, 1])
def test_mean_and_covariance_match_numpy_even_far_from_zero(ddof: int) -> None:
    data = features(500, 12, seed=0, offset=1e4)
    streamed = statistics(data, ddof=ddof)
    np.testing.assert_allclose(streamed.mean, data.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(streamed.covariance, np.cov(data.double().numpy(), rowvar=False, ddof=ddof), rtol=1e-9)
    again = MeanCovariance.from_state(streamed.state_dict(), ddof)
    assert torch.equal(again.covariance, streamed.covariance) and again.count == 500


@pytest.mark.parametrize("count", [400, 10])  # with 10 samples the covariances are singular
def test_the_frechet_distance_matches_scipys_matrix_square_root(count: int) -> None:
    a, b = features(count, 16, seed=1), features(count, 16, seed=2, offset=0.3)
    ca, cb = (np.cov(x.double().numpy(), rowvar=False) for x in (a, b))
    difference = a.double().mean(0).numpy() - b.double().mean(0).numpy()
    root = np.asarray(scipy.linalg.sqrtm(ca @ cb))
    expected = difference @ difference + np.trace(ca) + np.trace(cb) - 2 * np.trace(root).real
    assert frechet_distance(statistics(a), statistics(b)) == pytest.approx(expected, rel=1e-5)


def test_the_frechet_distance_of_a_set_to_itself_is_0() -> None:
    a = statistics(features(100, 8, seed=3))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


DEVIATIONS = torch.linspace(0.5, 2.0, 8)
"""Standard deviations of the fakes' independent features; those of the reals are 1, and all means are 0."""

TRUE_DISTANCE = float((DEVIATIONS - 1).square().sum())
"""Fréchet distance of the two normal distributions, ``sum (s_a - s_b)^2``."""


def normal_fakes(count: int, seed: int) -> Tensor:
    return torch.randn(count, 8, generator=generator(seed)) * DEVIATIONS


@pytest.fixture(scope="module")
def normal_reals() -> FeatureStats:
    return sample(torch.randn(200_000, 8, generator=generator(99)))


def test_the_extrapolated_distance_is_closer_to_the_true_one(normal_reals: FeatureStats) -> None:
    metric = FrechetDistance(bootstrap=0, points=15, seed=0)
    scores = [metric(sample(normal_fakes(400, seed)), normal_reals, NETWORK) for seed in range(30)]
    finite, limit = (np.mean([s[name] for s in scores]) - TRUE_DISTANCE for name in ("fd_random", "fd_random_infinity"))
    assert finite > 0.02  # a distance from 400 images is too large
    assert abs(limit) < 0.5 * finite


def test_the_confidence_interval_matches_the_variance_between_samples(normal_reals: FeatureStats) -> None:
    metric = FrechetDistance(bootstrap=200, points=0, seed=0)
    scores = [metric(sample(normal_fakes(400, seed)), normal_reals, NETWORK) for seed in range(30)]
    deviation = np.std([s["fd_random"] for s in scores], ddof=1)
    errors = np.mean([s["fd_random_ci95"] for s in scores])
    assert errors == pytest.approx(1.96 * deviation, rel=0.25)


def test_frechet_distance_without_confidence_interval_needs_no_features() -> None:
    assert FrechetDistance(bootstrap=0, points=0, seed=0).needs == frozenset()
    with pytest.raises(ValueError, match="bootstrap=1"):
        FrechetDistance(bootstrap=1, points=0, seed=0)


def test_intra_class_frechet_distance() -> None:
    a, b = features(60, 4, seed=1), features(60, 4, seed=2)
    fakes, reals = torch.cat([a, b]), torch.cat([b, a])  # the same sets with swapped labels
    labels = torch.arange(2).repeat_interleave(60)
    metric = IntraClassFrechetDistance()
    right = metric(sample(fakes, labels=labels), sample(reals, labels=1 - labels, classes=("a", "b")), NETWORK)
    wrong = metric(sample(fakes, labels=labels), sample(reals, labels=labels, classes=("a", "b")), NETWORK)
    assert right["intra_fd_random"] == pytest.approx(0, abs=1e-6)
    assert wrong["intra_fd_random"] == pytest.approx(frechet_distance(statistics(a), statistics(b)))
    assert metric(sample(fakes), sample(reals), NETWORK) == {}


# -- comparison with torch-fidelity on the same features ---------------------------------------------------------------


def test_non_finite_features_are_an_error() -> None:
    broken = features(50, 4, 1)
    broken[0, 0] = float("nan")
    with pytest.raises(ValueError, match="the weights of the feature network are broken"):
        statistics(broken)


@pytest.fixture(scope="module")
def both() -> tuple[Tensor, Tensor]:
    return features(300, 16, seed=4).relu(), features(250, 16, seed=5, offset=0.2).relu()


def test_the_kernel_distance_matches_torch_fidelity(both: tuple[Tensor, Tensor]) -> None:
    reference = pytest.importorskip("torch_fidelity.metric_kid")
    fakes, reals = both
    expected = reference.kid_features_to_metric(*both, kid_subsets=20, kid_subset_size=100, rng_seed=2020, verbose=False)
    found = KernelDistance(subsets=20, subset_size=100, seed=2020)(sample(fakes), sample(reals), NETWORK)
    assert found["kd_random"] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    assert found["kd_random_std"] == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-4)


def test_the_kernel_distances_confidence_interval_matches_the_variance_between_samples() -> None:
    metric = KernelDistance(subsets=50, subset_size=100, seed=0)
    pairs = [
        (torch.randn(400, 8, generator=generator(s)) + 0.3, torch.randn(400, 8, generator=generator(s + 999)))
        for s in range(40)
    ]
    scores = [metric(sample(a), sample(b), NETWORK) for a, b in pairs]
    deviation = np.std([s["kd_random"] for s in scores], ddof=1)
    assert np.mean([s["kd_random_ci95"] for s in scores]) == pytest.approx(1.96 * deviation, rel=0.35)


def test_a_kernel_distance_of_whole_sets_has_no_confidence_interval() -> None:
    a, b = sample(features(80, 4, 1)), sample(features(90, 4, 2))
    assert set(KernelDistance(5, 100, 0)(a, b, NETWORK)) == {"kd_random", "kd_random_std"}


def test_the_classifier_score_matches_torch_fidelity() -> None:
    reference = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 3 * features(203, 10, seed=6)
    expected = reference.isc_features_to_metric(logits, splits=10, shuffle=True, rng_seed=2020)
    found = ClassifierScore(splits=10, seed=2020)(sample(logits, logits=logits), sample(logits), NETWORK)
    assert found["classifier_score_random"] == pytest.approx(expected["inception_score_mean"], rel=1e-6)
    assert found["classifier_score_random_std"] == pytest.approx(expected["inception_score_std"], rel=1e-6)


def test_precision_and_recall_match_torch_fidelity(both: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    reference = pytest.importorskip("torch_fidelity.metric_prc")
    monkeypatch.setattr("gan_lab.metrics.prdc.BLOCK_BYTES", 4 * 250 * 64)  # several blocks, the last one smaller
    expected = reference.prc_features_to_metric(*both, prc_neighborhood=3, verbose=False)
    found = PrecisionRecallDensityCoverage(3, 5, 0.01)(sample(both[0]), sample(both[1]), NETWORK)
    assert found["precision_random"] == pytest.approx(expected["precision"])
    assert found["recall_random"] == pytest.approx(expected["recall"])


def test_density_and_coverage_match_their_equations(both: tuple[Tensor, Tensor]) -> None:
    fakes, reals = (x.double().numpy() for x in both)
    table = np.linalg.norm(reals[:, None] - fakes[None], axis=2)
    own = np.linalg.norm(reals[:, None] - reals[None], axis=2)
    radius = np.sort(own, axis=1)[:, 5]  # the 5th neighbor, after the image itself
    found = PrecisionRecallDensityCoverage(3, 5, 0.01)(sample(both[0]), sample(both[1]), NETWORK)
    assert found["density_random"] == pytest.approx((table <= radius[:, None]).sum() / (5 * len(fakes)))
    assert found["coverage_random"] == pytest.approx((table.min(1) <= radius).mean())


def test_copies_of_training_images_are_counted() -> None:
    everything = features(3000, 8, seed=7)
    reals, fresh = everything[:2000], everything[2000:]
    copied = torch.cat([fresh[:600], reals[:400] + 1e-3])
    metric = PrecisionRecallDensityCoverage(3, 5, copies_quantile=0.02)
    assert metric(sample(fresh), sample(reals), NETWORK)["copies_random"] == pytest.approx(0.02, abs=0.015)
    assert metric(sample(copied), sample(reals), NETWORK)["copies_random"] == pytest.approx(0.4 + 0.6 * 0.02, abs=0.02)
    doubled = torch.cat([reals[:1000], reals[:1000]])  # duplicates have neighbor distance 0
    assert metric(sample(reals[:500]), sample(doubled), NETWORK)["copies_random"] == 1
    assert metric(sample(fresh), sample(doubled), NETWORK)["copies_random"] == 0
    distances, places = nearest(copied[600:], reals, 2)
    assert torch.equal(places[:, 0], torch.arange(400)) and (distances[:, 0] < distances[:, 1]).all()


def test_mode_coverage() -> None:
    network = RandomConvolutions(1, 4, seed=0)
    network.num_classes, network.classes = 4, ("a", "b", "c", "d")
    predicted = torch.tensor([0] * 50 + [1] * 50)
    fakes = sample(torch.zeros(100, 2), logits=torch.eye(4)[predicted] * 9)
    reals = sample(torch.zeros(4000, 2), labels=torch.arange(4).repeat(1000), classes=network.classes)
    scores = ModeCoverage()(fakes, reals, network)
    assert scores == {"modes_random": 2.0, "mode_kl_random": pytest.approx(math.log(2), rel=1e-3)}
    assert ModeCoverage().details(fakes, reals, network)["share of fakes by class, told by random"] == {
        "a": 0.5,
        "b": 0.5,
        "c": 0,
        "d": 0,
    }
    reals.classes = ("a", "b", "d", "c")  # another order of names means other classes
    assert ModeCoverage()(fakes, reals, network) == {}


# -- features ----------------------------------------------------------------------------------------------------------


def test_random_features_are_reproducible_and_leave_the_global_generator_unchanged() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b = RandomConvolutions(1, 4, seed=0), RandomConvolutions(1, 4, seed=0)
    assert torch.equal(a(noise(3)).features, b(noise(3)).features) and a.fingerprint == b.fingerprint
    assert a(noise(3)).features.shape == (3, a.num_features) and a(noise(3)).logits is None
    assert torch.equal(torch.get_rng_state(), before)
    assert a.fingerprint != RandomConvolutions(1, 4, seed=1).fingerprint


def blobs(count: int, seed: int) -> Tensor:
    """Gaussian blobs at random positions."""
    rows = torch.arange(16.0)
    y, x = torch.rand(2, count, 1, 1, 1, generator=generator(seed)) * 10 + 3
    blob = torch.exp(-((rows.view(1, 1, 16, 1) - y) ** 2 + (rows.view(1, 1, 1, 16) - x) ** 2) / 6)
    return (blob * 255).to(torch.uint8)


def test_the_score_in_random_features_orders_reals_blur_and_noise(tmp_path: Path) -> None:
    def score(images: Tensor) -> float:
        suite = suite_of(tmp_path, blobs(600, 1), [protocol(num_fakes=len(images))], network=RandomConvolutions(1, 8, seed=0))
        return suite(replay(images))[0].scores["fd_random"]

    real, fakes = score(blobs(300, 2)), blobs(300, 3)
    blurred = score(torch.nn.functional.avg_pool2d(fakes.float(), 5, 1, 2).to(torch.uint8))
    assert real < 0.1 * blurred < 0.1 * score(noise(300))


# -- the metric suite --------------------------------------------------------------------------------------------------


def protocol(**changes: object) -> Protocol:
    plain: dict[str, object] = {
        "features": "random",
        "num_fakes": 50,
        "num_reals": None,
        "split": None,
        "covariance": "n-1",
        "batch_norm": "running",
        "settings": {},
    }
    return Protocol(**(plain | changes))  # type: ignore[arg-type]


METRICS: dict[str, Metric] = {
    "frechet": FrechetDistance(10, 3, 0),
    "kernel": KernelDistance(5, 20, 0),
    "prdc": PrecisionRecallDensityCoverage(3, 5, 0.01),
}


class CountingNetwork(RandomConvolutions):
    """Counts the images passed to it."""

    num_images = 0

    def forward(self, images: Tensor):  # type: ignore[no-untyped-def]
        self.num_images += len(images)
        return super().forward(images)


def suite_of(
    folder: Path, reals: Tensor, protocols: list[Protocol], network: RandomConvolutions | None = None, batch_size: int = 20
) -> MetricSuite:
    network = network or RandomConvolutions(1, 4, seed=0)
    evaluations = [ProtocolEvaluation(f"p{n}", p, network, METRICS, GRAY, image_set(reals), 0) for n, p in enumerate(protocols)]
    suite = MetricSuite(evaluations, ReferenceStatsCache(folder), batch_size, seed=3)
    suite.prepare(CPU)
    return suite


def replay(images: Tensor):  # type: ignore[no-untyped-def]
    parts = iter(images.split(20))
    return lambda count, random: (next(parts)[:count], None)


def from_latents(count: int, random: torch.Generator) -> tuple[Tensor, None]:
    return torch.randint(0, 256, (count, 1, 16, 16), dtype=torch.uint8, generator=random), None


def test_repeated_evaluations_give_equal_scores(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, noise(90), [protocol(num_reals=60)])
    first, second = suite(from_latents), suite(from_latents)
    assert first[0].scores == second[0].scores
    assert suite.score_name == "fd_random"
    assert first[0].protocol["fakes"] == 50 and first[0].protocol["reals"] == "60 of 90 training images"


def test_protocols_share_generated_images_and_networks(tmp_path: Path) -> None:
    network = CountingNetwork(1, 4, seed=0)
    suite = suite_of(tmp_path, noise(60), [protocol(num_fakes=30), protocol(num_fakes=50, covariance="n")], network)
    drawn: list[int] = []
    network.num_images = 0

    def generate(count: int, random: torch.Generator) -> tuple[Tensor, None]:
        drawn.append(count)
        return from_latents(count, random)

    both = suite(generate)
    assert drawn == [20, 20, 10] and network.num_images == 50
    alone = [suite_of(tmp_path, noise(60), [m.protocol])(from_latents)[0] for m in suite.evaluations]
    assert [r.scores for r in both] == [r.scores for r in alone]
    flat = flatten_scores(both)
    assert flat["fd_random"] == both[0].scores["fd_random"] and flat["p1/fd_random"] == both[1].scores["fd_random"]


def test_the_memory_of_kept_pixels_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("reference_stats", "suite"):
        monkeypatch.setattr(f"gan_lab.metrics.{module}.PIXEL_BYTES", 30 * 256)

    class Pixels(Metric):
        needs = frozenset(["pixels", "labels"])

        def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: object) -> dict[str, float]:
            assert fakes.pixels is not None and reals.pixels is not None and reals.pixel_index is not None
            assert len(fakes.pixels) == 40 and len(fakes) == 50  # whole batches of 20
            assert len(reals.pixels) == 30 and reals.pixel_index[-1] == 59  # from all of the set
            assert reals.pixel_labels is not None and torch.equal(reals.pixel_labels, reals.pixel_index % 7)
            return {"seen": 1.0}

    data = image_set(noise(60), [n % 7 for n in range(60)], tuple("abcdefg"))
    evaluation = ProtocolEvaluation("p", protocol(), NETWORK, {"pixels": Pixels()}, GRAY, data, 0)
    suite = MetricSuite([evaluation], ReferenceStatsCache(tmp_path), 20, seed=3)
    suite.prepare(CPU)
    assert suite(from_latents)[0].scores == {"seen": 1.0} and suite.score_name is None


def test_a_protocol_can_select_metrics(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    only = suite_of(tmp_path, noise(60), [protocol(metrics=["kernel"])])
    assert (
        set(only(from_latents)[0].scores) == {"kd_random", "kd_random_std", "kd_random_ci95"} and only.score_name == "kd_random"
    )
    with pytest.raises(ValueError, match=r"none of its metrics \(modes\); evaluation=full has"):
        suite_of(tmp_path, noise(60), [protocol(metrics=["modes"])])
    suite_of(tmp_path, noise(60), [protocol(metrics=["kernel", "modes"])])
    assert "protocol p0: modes is not measured" in caplog.text


def test_statistics_of_reals_are_cached(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = CountingNetwork(1, 4, seed=0)
    fresh = suite_of(tmp_path, noise(60), [protocol()], network)
    assert network.num_images == 60
    kept = suite_of(tmp_path, noise(60), [protocol()], network)
    assert network.num_images == 60 and kept(from_latents)[0].scores == fresh(from_latents)[0].scores
    network.num_images = 0
    suite_of(tmp_path, noise(60, seed=1), [protocol()], network)
    suite_of(tmp_path, noise(60), [protocol(num_reals=40)], network)
    assert network.num_images == 100  # other images and another subset have statistics of their own
    stored = sorted(tmp_path.glob("*.pt"))
    assert len(stored) == 3
    for path in stored:
        path.write_bytes(path.read_bytes()[:500])
    network.num_images = 0
    again = suite_of(tmp_path, noise(60), [protocol()], network)
    assert network.num_images == 60 and again(from_latents)[0].scores == fresh(from_latents)[0].scores
    assert "the statistics are computed again" in caplog.text


def test_statistics_cached_without_features_are_computed_again_if_a_metric_needs_them(tmp_path: Path) -> None:
    network = CountingNetwork(1, 4, seed=0)
    lean = ProtocolEvaluation("lean", protocol(), network, {"frechet": FrechetDistance(0, 0, 0)}, GRAY, image_set(noise(60)), 0)
    lean.prepare(ReferenceStatsCache(tmp_path), CPU, 20, lambda done, total: None)
    assert lean.reals is not None and lean.reals.features is None
    suite_of(tmp_path, noise(60), [protocol()], network)
    assert network.num_images == 120


def test_a_cache_folder_that_is_not_writable_is_only_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    suite = suite_of(tmp_path / "file", noise(60), [protocol()])
    assert suite(from_latents)[0].scores and "can't be stored" in caplog.text


def test_images_that_can_not_be_read_are_not_reported_as_a_cache_that_can_not_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Unreadable(CountingNetwork):
        def forward(self, images: Tensor):  # type: ignore[no-untyped-def]
            super().forward(images)
            raise OSError("input/output error")

    network = Unreadable(1, 4, seed=0)
    with pytest.raises(OSError, match="input/output error"):
        suite_of(tmp_path, noise(60), [protocol()], network)
    assert "can't be stored" not in caplog.text and network.num_images == 20  # one batch, once


def test_too_few_images_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    suite_of(tmp_path, noise(60), [protocol()])
    assert "fd_random: 50 fakes and 60 reals for 64 features: the score is biased" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_fakes": 1}, "num_fakes=1"),
        ({"covariance": "n-2"}, "covariance=n-2: must be n-1 or n"),
        ({"batch_norm": "none"}, "batch_norm=none: must be running or standing"),
    ],
)
def test_an_invalid_protocol_is_an_error(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        protocol(**changes)


def test_fewer_than_two_reals_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 2 real images"):
        suite_of(tmp_path, noise(1), [protocol()])


def test_protocol_differences_include_metric_settings(tmp_path: Path) -> None:
    data = image_set(noise(60))
    records = [
        ProtocolEvaluation(
            "p", protocol(), NETWORK, {"prdc": PrecisionRecallDensityCoverage(k, 5, 0.01)}, GRAY, data, 0
        ).record(50, 20, 3)
        for k in (3, 4)
    ]
    assert differences(records) == {"metric prdc": [f"nearest_k={n}, density_k=5, quantile=0.01" for n in (3, 4)]}


def test_protocol_differences(tmp_path: Path) -> None:
    a, b = (suite_of(tmp_path, noise(60), [protocol(num_fakes=n)])(from_latents)[0].protocol for n in (40, 50))
    assert differences([a, a]) == {} and differences([a, b]) == {"fakes": [40, 50]}
