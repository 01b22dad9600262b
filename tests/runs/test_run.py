"""What a run offers in Python besides sampling."""

from __future__ import annotations

import base64
import inspect
import io
import math
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from helpers import compose_config, untrained_run
from PIL import Image

from gan_lab import Run
from gan_lab.config import instantiate
from gan_lab.exporting.hub_folder import export_folder
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.image_ops import normalize, to_pil


def test_the_discriminator_is_the_trained_one(finished: RunDirectory) -> None:
    run = Run.open(finished.path)
    output = run.discriminator(normalize(run.sample(3)))
    assert output.logits.shape == (3,) and not output.logits.requires_grad and not run.discriminator.training
    state = checkpoint.load(finished.checkpoint("last"))["discriminator"]
    assert all(torch.equal(value, state[name]) for name, value in run.discriminator.state_dict().items())


def test_an_exported_folder_has_no_discriminator(finished: RunDirectory, tmp_path: Path) -> None:
    export_folder(Run.open(finished.path), tmp_path / "gan")
    with pytest.raises(ValueError, match="no checkpoint at"):
        _ = Run.open(tmp_path / "gan").discriminator


def test_a_notebook_shows_grid_and_scores(finished: RunDirectory) -> None:
    run = Run.open(finished.path)
    page = run._repr_html_()
    shown = re.search(r'src="data:image/png;base64,([^"]+)"', page)
    assert shown is not None and base64.b64decode(shown[1]) == finished.final.read_bytes()
    assert run.summary["score"] in page and "finished" in page and f"{run.images_seen:,} images" in page
    assert len(run.losses().axes) == 2


def test_names_stay_text_in_a_notebook(finished: RunDirectory, tmp_path: Path) -> None:
    folder = tmp_path / "<script>alert(1)<"
    shutil.copytree(finished.path, folder)
    assert "<script>" not in Run.open(folder)._repr_html_()


def test_curves_show_themselves_in_a_notebook(finished: RunDirectory) -> None:
    with Image.open(io.BytesIO(Run.open(finished.path).losses()._repr_png_())) as picture:  # type: ignore[attr-defined]
        assert picture.format == "PNG" and picture.width > 400


def test_the_frame_has_the_logged_metrics(finished: RunDirectory) -> None:
    run = Run.open(finished.path)
    frame = run.frame()
    assert len(frame) == len(run.history) and set(frame.columns) == {key for row in run.history for key in row}
    logged = [row["d/accuracy_real"] for row in run.history if "d/accuracy_real" in row]
    assert frame["d/accuracy_real"].dropna().tolist() == logged and frame["d/accuracy_real"].dtype == float
    assert math.isnan(frame["d/loss"][0]), "of the untrained networks there are only scores"


def test_a_frame_without_pandas_says_what_to_install(finished: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ValueError, match=r"needs the package pandas: pip install 'gan_lab\[notebook\]'"):
        Run.open(finished.path).frame()


def test_a_run_is_evaluated_as_in_its_training(finished: RunDirectory) -> None:
    run = Run.open(finished.path)
    before = {name: value.clone() for name, value in run.generator.state_dict().items()}
    scores = run.evaluate()
    final = run.summary["final"]
    assert scores["default"]["fd_fashion"] == pytest.approx(final["fd_fashion"], rel=1e-6)
    standing = run.evaluate(["protocol.default.batch_norm=standing"])
    assert standing["default"]["fd_fashion"] != scores["default"]["fd_fashion"], "other statistics, other images"
    assert all(torch.equal(value, before[name]) for name, value in run.generator.state_dict().items())
    assert not finished.scores.exists(), "only the command records scores"
    for arguments, message in (
        (["model=sngan"], "can't change"),
        (["-m", "seed=1,2"], "python -m gan_lab.evaluate run="),
    ):
        with pytest.raises(ValueError, match=message):
            run.evaluate(arguments)


def test_a_walk_begins_with_the_images_of_the_seed(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    film = tmp_path / "walk.gif"
    frames = run.walk("line", 5, count=2, keyframes=2, seed=3, out=film)
    assert frames.shape == (5, 2, 1, 32, 32)
    torch.testing.assert_close(frames[0], run.sample(2, seed=3), atol=1, rtol=0)
    with Image.open(film) as picture:
        assert picture.n_frames == 5
    with pytest.raises(ValueError, match="walk is written to a file that ends in"):
        run.walk(out=tmp_path / "walk.txt")


def test_the_picture_of_a_projection_may_be_a_file_an_image_or_pixels(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    pixels = run.sample(1, seed=7)[0]
    to_pil(pixels).save(tmp_path / "picture.png")
    found = [run.project(picture, steps=2, candidates=8) for picture in (pixels, to_pil(pixels), tmp_path / "picture.png")]
    assert run.render(found[0].styles, found[0].labels).shape == (1, 1, 32, 32) and found[0].distance <= found[0].start
    assert found[0].distance == found[1].distance == found[2].distance
    with pytest.raises(ValueError, match=r"none\.png: can't be read"):
        run.project(tmp_path / "none.png")


def test_the_defaults_are_those_of_the_command() -> None:
    cfg = compose_config("run=latest", config="sample")
    walk, project = (inspect.signature(method).parameters for method in (Run.walk, Run.project))
    assert {key: walk[key].default for key in ("frames", "keyframes", "fps", "seed")} == {
        key: cfg[key] for key in ("frames", "keyframes", "fps", "seed")
    }
    assert {key: project[key].default for key in cfg.projection} == dict(cfg.projection)
    network = instantiate(cfg.perception, "perception")
    assert network.description == "untrained, width 32, seed 0" and network.name == "random"
