"""Scores against independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from gan_lab.data.images import ImageSet
from gan_lab.metrics.features import RandomConvolutions
from gan_lab.metrics.frechet import Statistics, frechet_distance
from gan_lab.metrics.suite import FrechetEvaluation

CPU = torch.device("cpu")


def image_set(images: torch.Tensor) -> ImageSet:
    return ImageSet.whole(images.permute(0, 2, 3, 1).numpy())


def statistics(features: torch.Tensor, batch: int = 37) -> Statistics:
    result = Statistics(features.shape[1])
    for part in features.split(batch):
        result.add(part)
    return result


def features(count: int, size: int, seed: int, offset: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator) @ torch.randn(size, size, generator=generator) + offset


def test_streaming_statistics_are_numpys_even_far_from_zero() -> None:
    data = features(500, 12, seed=0, offset=1e4)
    streamed = statistics(data)
    np.testing.assert_allclose(streamed.mean, data.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(streamed.covariance, np.cov(data.double().numpy(), rowvar=False), rtol=1e-9)


@pytest.mark.parametrize("count", [400, 10])  # with 10 samples the covariances are singular
def test_the_distance_is_the_one_with_scipys_matrix_square_root(count: int) -> None:
    a, b = features(count, 16, seed=1), features(count, 16, seed=2, offset=0.3)
    ca, cb = (np.cov(x.double().numpy(), rowvar=False) for x in (a, b))
    difference = a.double().mean(0).numpy() - b.double().mean(0).numpy()
    root = np.asarray(scipy.linalg.sqrtm(ca @ cb))
    expected = difference @ difference + np.trace(ca) + np.trace(cb) - 2 * np.trace(root).real
    assert frechet_distance(statistics(a), statistics(b)) == pytest.approx(expected, rel=1e-5)


def test_a_set_is_at_distance_zero_from_itself() -> None:
    a = statistics(features(100, 8, seed=3))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_random_features_are_the_same_everywhere_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b = RandomConvolutions(1, 4, seed=0), RandomConvolutions(1, 4, seed=0)
    images = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(a(images), b(images))
    assert a(images).shape == (3, a.num_features)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(a(images), RandomConvolutions(1, 4, seed=1)(images))


def test_the_score_orders_noise_blur_and_the_real_thing() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(16.0)

    def reals(count: int) -> torch.Tensor:
        """Soft blobs at random places."""
        y, x = (torch.rand(count, 1, 1, 1, generator=generator) * 10 + 3 for _ in range(2))
        blob = torch.exp(-((rows.view(1, 1, 16, 1) - y) ** 2 + (rows.view(1, 1, 1, 16) - x) ** 2) / 6)
        return (blob * 255).to(torch.uint8)

    evaluation = FrechetEvaluation(RandomConvolutions(1, 8, seed=0), num_fakes=300, num_reals=10**6, batch_size=100, seed=0)
    evaluation.prepare(image_set(reals(600)), CPU)

    def score(make: object) -> float:
        return evaluation(lambda count, random: make(count))["fd_random"]  # type: ignore[operator]

    real = score(reals)
    blurred = score(lambda n: torch.nn.functional.avg_pool2d(reals(n).float(), 5, 1, 2).to(torch.uint8))
    noise = score(lambda n: torch.randint(0, 256, (n, 1, 16, 16), dtype=torch.uint8, generator=generator))
    assert real < 0.1 * blurred < 0.1 * noise


def test_the_same_generator_gets_the_same_score_and_its_protocol_is_told() -> None:
    evaluation = FrechetEvaluation(RandomConvolutions(1, 4, seed=0), num_fakes=50, num_reals=60, batch_size=20, seed=3)
    evaluation.prepare(image_set(torch.randint(0, 256, (90, 1, 16, 16), dtype=torch.uint8)), CPU)
    drawn: list[int] = []

    def generate(count: int, random: torch.Generator) -> torch.Tensor:
        drawn.append(count)
        return torch.randint(0, 256, (count, 1, 16, 16), dtype=torch.uint8, generator=random)

    assert evaluation(generate) == evaluation(generate)
    assert drawn == [20, 20, 10] * 2
    assert evaluation.protocol()["fakes"].startswith("50,") and evaluation.protocol()["reals"] == "60 training images"
    with pytest.raises(ValueError, match="num_fakes=1"):
        FrechetEvaluation(RandomConvolutions(1, 4, seed=0), num_fakes=1, num_reals=9, batch_size=1, seed=0)
