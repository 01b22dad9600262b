"""Runs that several tests read, made once by the real commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import PHOTOGRAPHS, SMALL, UPSCALER, ZYGOTE, as_pillow, photograph, run_module

from gan_lab.storage.run_directory import RunDirectory


def pytest_sessionfinish() -> None:
    ZYGOTE.close()


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings in the tests' own process write no ``report.html``, which would take longer than their few steps."""
    monkeypatch.setattr("gan_lab.building.trainer.write_run_page", lambda *_, **__: None)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run of two epochs, made once by the real command; tests only read it."""
    cwd = tmp_path_factory.mktemp("finished")
    done = run_module("train", *SMALL, "epochs=2", "hydra.run.dir=run", cwd=cwd, pages=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (cwd / "stdout.txt").write_text(done.stdout)
    return RunDirectory(cwd / "run")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the folder ``pictures``."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "pictures").mkdir()
    for number in range(PHOTOGRAPHS):
        as_pillow(photograph(48 + number, 70 - number, number)).save(folder / "pictures" / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def upscaling(photographs: Path) -> RunDirectory:
    """A finished run of super-resolution in two stages; tests only read it."""
    done = run_module("train", *UPSCALER, "hydra.run.dir=run", cwd=photographs, pages=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return RunDirectory(photographs / "run")
