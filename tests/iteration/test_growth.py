"""Progressive growing: its schedule, and its effect on data, samples, scores and resumes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import SMALL, assert_same, make_job, run_module, train

from gan_lab.building.trainer import build_trainer
from gan_lab.data.loader import Batch
from gan_lab.iteration.growth import FixedResolution, GrowthState, ProgressiveGrowing
from gan_lab.runs.run import Run
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.image_ops import upsample_nearest

PUBLISHED = {"total_images": 12_000_000, "fade_kimg": 600, "stable_kimg": 600}
SIZES = [4, 8, 16, 32, 64, 128, 256, 512, 1024]


@pytest.mark.parametrize(
    ("kimg", "size", "alpha"),
    [
        (0, 4, 1.0),
        (599, 4, 1.0),
        (600, 8, 0.0),
        (900, 8, 0.5),
        (1199, 8, 599 / 600),
        (1200, 8, 1.0),
        (1799, 8, 1.0),
        (1800, 16, 0.0),
        (9300, 1024, 0.5),
        (9600, 1024, 1.0),
        (20_000, 1024, 1.0),
    ],
)
def test_the_published_schedule(kimg: int, size: int, alpha: float) -> None:
    """Level of detail as ``TrainingSchedule`` of the authors' ``train.py`` has it: stable for 600 kimg, then a fade of 600."""
    stage = ProgressiveGrowing(SIZES, 4, **PUBLISHED).state_at(kimg * 1000)  # type: ignore[arg-type]
    assert stage.resolution == size and stage.alpha == pytest.approx(alpha)


def test_batch_sizes_are_those_of_the_published_preset_for_one_gpu() -> None:
    published = {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4}
    growth = ProgressiveGrowing(SIZES[:-1], 4, **PUBLISHED)  # type: ignore[arg-type]
    found = {stage.resolution: stage.batch_size for stage in (growth.state_at(kimg * 1000) for kimg in range(0, 12_000, 100))}
    assert found == published


def test_larger_batches_are_multiples_of_the_batch_size() -> None:
    growth = ProgressiveGrowing([4, 8, 16], 12, 100_000, max_batch_size=50)
    assert {growth.state_at(n).batch_size for n in range(0, 100_000, 500)} == {12, 24, 48}


def test_learning_rates_rise_at_given_resolutions() -> None:
    growth = ProgressiveGrowing(SIZES, 4, **PUBLISHED, lr_factors=[[512, 2.0], [128, 1.5]])  # type: ignore[arg-type]
    rates = {stage.resolution: stage.lr_factor for stage in (growth.state_at(kimg * 1000) for kimg in range(0, 12_000, 100))}
    assert rates == {4: 1, 8: 1, 16: 1, 32: 1, 64: 1, 128: 1.5, 256: 1.5, 512: 2, 1024: 2}


def test_without_kimg_the_last_layers_have_faded_in_at_a_fraction_of_the_training() -> None:
    growth = ProgressiveGrowing([4, 8, 16, 32], 32, 240_000, grown_at=0.6)
    assert growth.fade_kimg == growth.stable_kimg == pytest.approx(24)
    assert growth.state_at(143_999).alpha < 1.0 and growth.state_at(144_001) == GrowthState(32, 1.0, 32, 1.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"fade_kimg": -1.0, "stable_kimg": 1.0}, "fade_kimg=-1.0: must be a number that is not negative"),
        ({"fade_kimg": 1.0, "stable_kimg": [1.0]}, r"stable_kimg=\[1.0\]: must be .* a list of 2"),
        ({"fade_kimg": [1.0, 0.0], "stable_kimg": [1.0, 0.0]}, "less than one image"),
        ({"fade_kimg": 5.0}, "both fade_kimg and stable_kimg, or neither"),
        ({"grown_at": 0.0}, "grown_at=0.0"),
        ({"max_batch_size": 0}, "max_batch_size=0"),
        ({"lr_factors": [[4]]}, r"must be pairs \[resolution, factor\]"),
        ({"fade_kimg": 0.0001, "stable_kimg": 0.0}, "less than one image"),
        ({"start_resolution": 5}, "start_resolution=5: must be one of 4, 8, 16"),
    ],
)
def test_invalid_growth_is_an_error(more: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProgressiveGrowing([4, 8, 16], 8, 1000, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("fade", "stable"), [(2.048, 1.28), (1.024, 0.128), (4.352, 2.432), (0.6, 0.6), (24.0, 24.0)])
def test_resolutions_never_shrink_and_stages_begin_and_end_exactly(fade: float, stable: float) -> None:
    growth = ProgressiveGrowing([4, 8, 16, 32], 32, 1, fade_kimg=fade, stable_kimg=stable)
    period = round(1000 * fade) + round(1000 * stable)
    sizes = [growth.state_at(n).resolution for n in range(0, 4 * period, 32)]
    assert sizes == sorted(sizes)
    for level, size in ((1, 8), (2, 16), (3, 32)):
        before, after = growth.state_at(level * period - 1), growth.state_at(level * period)
        assert before.resolution == size and before.alpha < 1 and (after.resolution, after.alpha) == (size, 1.0)
        assert growth.state_at(level * period - round(1000 * fade)).alpha == 0


def test_each_resolution_may_have_lengths_of_its_own() -> None:
    growth = ProgressiveGrowing([4, 8, 16], 8, 1, fade_kimg=[0.4, 1.0], stable_kimg=[0.1, 0.2])
    states = [growth.state_at(n) for n in (0, 99, 100, 300, 500, 699, 700, 950, 1700, 9999)]
    found = [(state.resolution, state.alpha) for state in states]
    assert found == [(4, 1), (4, 1), (8, 0), (8, 0.5), (8, 1), (8, 1), (16, 0), (16, 0.25), (16, 1), (16, 1)]
    whole = ProgressiveGrowing([4, 8, 16], 8, 1, fade_kimg=0.4, stable_kimg=0.1)
    listed = ProgressiveGrowing([4, 8, 16], 8, 1, fade_kimg=[0.4, 0.4], stable_kimg=[0.1, 0.1])
    assert all(whole.state_at(n) == listed.state_at(n) for n in range(0, 1200, 10))


def test_lengths_do_not_matter_to_a_run_without_training() -> None:
    growth = ProgressiveGrowing([4, 8, 16], 8, 0, fade_kimg=[0.4, 0.4], stable_kimg=[0.1, 0.1])
    assert growth.state_at(0) == GrowthState(16, 1.0, 8, 1.0) and growth.fade_kimg == [0.4, 0.4]


def test_a_fade_of_length_zero_is_a_jump() -> None:
    growth = ProgressiveGrowing([4, 8], 8, 1000, fade_kimg=0, stable_kimg=0.5)
    assert [growth.state_at(n).resolution for n in (0, 499, 500, 900)] == [4, 4, 8, 8]
    assert all(growth.state_at(n).alpha == 1.0 for n in range(0, 1000, 50))


def test_reals_fade_with_the_networks() -> None:
    """Box down, nearest up, mixed: the authors' ``process_reals``."""
    real = torch.randn(3, 2, 16, 16)
    lowered = real.unflatten(3, (4, 4)).unflatten(2, (4, 4)).mean((3, 5))  # 16 -> 4
    assert torch.allclose(GrowthState(4, 1.0, 3, 1.0).match_resolution(Batch(real, None)).real, lowered, atol=1e-6)
    eight = real.unflatten(3, (8, 2)).unflatten(2, (8, 2)).mean((3, 5))
    expected = 0.3 * eight + 0.7 * lowered.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(GrowthState(8, 0.3, 3, 1.0).match_resolution(Batch(real, None)).real, expected, atol=1e-6)
    assert torch.equal(FixedResolution(16, 3).state_at(0).match_resolution(Batch(real, None)).real, real)


def test_images_of_any_type_are_upsampled() -> None:
    images = torch.arange(8, dtype=torch.uint8).view(1, 2, 2, 2)
    assert torch.equal(upsample_nearest(images, 4).float(), upsample_nearest(images.float(), 4))
    assert upsample_nearest(images, 2) is images


# -- in a training ---------------------------------------------------------------------------------------------------------

TINY = ["model=progan_small", "model.channel_base=16", "epochs=8", "batch_size=8", "model.growth.max_batch_size=16"]


def test_everything_grows_together(tmp_path: Path) -> None:
    trainer = build_trainer(make_job(tmp_path, *TINY))
    trainer.callbacks = trainer.callbacks.subset([], end=sys.maxsize)
    seen: list[tuple[int, int, int, int]] = []
    fresh: dict[int, int] = {}
    for batch in trainer.loader.batches(0, lambda images: trainer.updater.growth.state_at(images).batch_size):
        if trainer.progress.images >= trainer.progress.total_images:
            break
        before = trainer.updater.growth_state.layers
        trainer.step(batch)
        state = trainer.updater.growth_state
        networks = (trainer.updater.gan.generator, trainer.updater.gan.discriminator, trainer.updater.ema.network)
        assert {(n.resolution, n.alpha) for n in networks} == {(state.resolution, state.alpha)}
        steps = {int(s["step"]) for s in trainer.updater.phases[0].optimizer.state.values()}
        if state.layers != before:
            assert steps == {1}, "fresh optimizers with new layers"
            fresh[trainer.progress.images] = state.resolution
        seen.append((state.resolution, len(batch.real), trainer.progress.images, max(steps)))
    assert [size for size, *_ in seen] == sorted(size for size, *_ in seen) and {size for size, *_ in seen} == {4, 8, 16, 32}
    assert {size: count for size, count, *_ in seen} == {4: 16, 8: 16, 16: 16, 32: 8}
    assert len(fresh) == 6, "three sizes come, and are then faded in"
    assert (trainer.updater.growth_state.resolution, trainer.updater.growth_state.alpha) == (32, 1.0)


def test_samples_and_scores_have_the_full_resolution_from_the_start(tmp_path: Path) -> None:
    trainer = build_trainer(make_job(tmp_path, *TINY))
    images = trainer.records.sampler.generate(trainer.records.grid.latents, None)
    assert trainer.updater.growth_state.resolution == 4 and images.shape == (4, 1, 32, 32)
    assert torch.equal(images, upsample_nearest(images[:, :, ::8, ::8], 32))


@pytest.mark.slow
def test_a_run_resumed_in_a_fade_is_bit_identical(tmp_path: Path) -> None:
    common = [*TINY, "checkpoint.every_kimg=0.016", "log.every_kimg=0.016", "console=plain"]
    whole = train(*common, "hydra.run.dir=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert re.search(r"resolution 16  fade-in alpha 0\.\d+", whole.stdout) and "resolution 32  fade-in alpha 1 " in whole.stdout
    (tmp_path / "stop.py").write_text(
        "import sys, signal, os\n"
        "from gan_lab.training import trainer\n"
        "step = trainer.Trainer.step\n"
        "def stopping(self, batch):\n"
        "    step(self, batch)\n"
        "    state = self.updater.growth_state\n"
        "    if state.resolution == 16 and 0.3 < state.alpha < 1: os.kill(os.getpid(), signal.SIGINT)\n"
        "trainer.Trainer.step = stopping\n"
        "import runpy; sys.argv[0] = 'train'\n"
        "runpy.run_module('gan_lab.train', run_name='__main__')\n"
    )
    stopped = subprocess.run(
        [sys.executable, "stop.py", *SMALL, *common, "hydra.run.dir=parts"], cwd=tmp_path, capture_output=True, text=True
    )
    assert stopped.returncode == 130, stopped.stdout + stopped.stderr
    half = Run.open(tmp_path / "parts")
    assert half.sample(2).shape == (2, 1, 16, 16)
    assert half.generator.resolution == 16 and 0.3 < half.generator.alpha < 1  # type: ignore[attr-defined]
    resumed = run_module("train", "resume=parts", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert_same(RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "parts"))


@pytest.mark.slow
def test_a_resume_with_more_epochs_does_not_restart_growing(tmp_path: Path) -> None:
    assert train(*TINY, "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    done = run_module("train", "resume=run", "epochs=10", "console=plain", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = Run.open(tmp_path / "run").history
    assert [row["growth/resolution"] for row in rows if row["epoch"] > 8 and "growth/resolution" in row] == [32, 32]
