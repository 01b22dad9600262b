"""What a run offers in Python besides sampling."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path

import pytest
import torch

from gan_lab import Run
from gan_lab.exporting.hub_folder import export_folder
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.image_ops import normalize


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
