"""Walks through the latent space, and films of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import untrained_run
from PIL import Image
from torch import Tensor

from gan_lab import Run
from gan_lab.runs.video import write_video
from gan_lab.runs.walks import WALKS, WalkOptions, walk

FAMILIES = {
    "latents": ["model=dcgan", "conditioning=concatenation"],
    "styles": ["model=stylegan2_small", "conditioning=projection"],
}


@pytest.fixture(scope="module", params=FAMILIES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An untrained conditional generator."""
    return untrained_run(tmp_path_factory.mktemp("run"), "dataset.size=16", *FAMILIES[request.param])


def close(one: Tensor, other: Tensor) -> bool:
    """Equal but for rounding in batches of other sizes."""
    return bool((one.int() - other.int()).abs().max() <= 1)


def test_a_line_passes_the_images_of_its_seed(run: Run) -> None:
    options = WalkOptions(count=2, keyframes=3, seed=4, classes=["bag"])
    frames = list(walk(run, "line", 5, options, batch_size=3))
    images = run.sample(6, seed=4, classes=["bag"])
    assert len(frames) == 5 and close(frames[0], images[:2]) and close(frames[2], images[2:4]) and close(frames[4], images[4:])


@pytest.mark.parametrize("kind", WALKS)
def test_walks_are_smooth_and_closed_ones_return(run: Run, kind: str) -> None:
    frames = torch.stack(list(walk(run, kind, 64, WalkOptions(count=2, keyframes=2)))).float()
    steps = (frames.roll(-1, 0) - frames).abs().mean((1, 2, 3, 4))
    assert (frames.std(0) > 0).any()
    steps = steps[:-1] if kind == "line" else steps
    assert steps.max() < 6 * steps.mean(), "no frame jumps"


def test_every_point_of_a_random_walk_is_normally_distributed(run: Run) -> None:
    path = WALKS["random"](run, WalkOptions(count=4000, keyframes=3))
    path = path.__class__(path.amplitudes[:, :, :2], lambda latents, labels: latents, None)  # type: ignore[union-attr,call-arg]
    start, _ = path.at(0.0)
    for time in (0.0, 0.13, 0.5):
        latents, _ = path.at(time)
        torch.testing.assert_close(latents.T.cov(), torch.eye(2), atol=0.1, rtol=0)
        assert latents.mean(0).abs().max() < 0.08
    torch.testing.assert_close(path.at(1.0)[0], start, atol=1e-5, rtol=0)


def test_a_walk_through_classes_passes_each_with_the_same_latents(run: Run) -> None:
    frames = list(walk(run, "classes", 4, WalkOptions(count=1, classes=["bag", "coat"], seed=3)))
    assert close(frames[0], run.sample(1, seed=3, classes=["bag"])) and not torch.equal(frames[0], frames[2])
    path = WALKS["classes"](run, WalkOptions(seed=3))
    assert path.at(0.25)[1].argmax() in (2, 3), "by default every class, here ten"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("zigzag", WalkOptions(), "walk=zigzag: must be one of line, loop, random, classes"),
        ("line", WalkOptions(keyframes=1), "keyframes=1 at least 2"),
        ("loop", WalkOptions(classes=["bag", "coat"]), "only walk=classes passes several"),
        ("classes", WalkOptions(classes=["bag"]), "passes two classes or more"),
        ("classes", WalkOptions(classes=["bag", "hat"]), "hat"),
    ],
)
def test_wrong_walks_are_refused(run: Run, kind: str, options: WalkOptions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        walk(run, kind, 4, options)


@pytest.mark.parametrize("ending", [".webp", ".gif", ".mp4"])
def test_films_have_every_frame(ending: str, tmp_path: Path) -> None:
    shades = [20, 90, 160, 230]
    path = tmp_path / f"film{ending}"
    if ending == ".mp4":
        program = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    write_video((Image.new("RGB", (17, 9), (shade, 0, 0)) for shade in shades), path, fps=20)
    if ending == ".mp4":
        command = [program, "-loglevel", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        decoded = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        films = list(np.frombuffer(decoded, np.uint8).reshape(-1, 10, 18, 3))  # even sides
        assert len(films) == 4
    else:
        with Image.open(path) as image:
            assert image.n_frames == 4 and image.size == (17, 9)
            films = []
            for number in range(4):
                image.seek(number)
                films.append(np.asarray(image.convert("RGB")))
    assert [abs(int(film[4, 4, 0]) - shade) < 12 for film, shade in zip(films, shades, strict=True)] == [True] * 4
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_film_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def frames() -> object:
        yield Image.new("L", (8, 8))
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_video(frames(), tmp_path / "film.gif", fps=20)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"ends in \.webp, \.mp4, \.gif"):
        write_video(iter([]), tmp_path / "film.avi", fps=20)
    assert not list(tmp_path.iterdir())
