"""What is installed is what is in the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


PACKAGES = ("gan_lab", "hydra_plugins")


def test_every_package_of_the_tree_is_named_for_the_wheel() -> None:
    named = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(p.parent.relative_to(ROOT).parts) for top in PACKAGES for p in (ROOT / top).rglob("__init__.py")}
    assert named == found | {"gan_lab.conf", "gan_lab.data.embedded"}


@pytest.mark.slow
def test_the_wheel_trains_far_from_the_checkout(tmp_path: Path) -> None:
    """Builds the wheel, unpacks it elsewhere and runs it from there: configuration, data and templates travel with it."""
    source = tmp_path / "source"  # a copy, so that the checkout gets no build folder that a later build would take files from
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv*", "build", "outputs", "multirun", "*.egg-info"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    options = {f"gan_lab/conf/{p.relative_to(ROOT / 'conf').as_posix()}" for p in (ROOT / "conf").rglob("*.yaml")}
    assert options <= names
    assert {"gan_lab/data/embedded/LICENSE-fashion-mnist", "gan_lab/tour.ipynb"} <= names
    assert {f"gan_lab/docs/{page.name}" for page in (ROOT / "gan_lab" / "docs").glob("*.md")} <= names
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import gan_lab.train as t\n"
        "from gan_lab.config import CONF_DIR; assert CONF_DIR.parent.name == 'gan_lab', CONF_DIR\n"
        "t.main()"
    )
    arguments = ["debug=tiny", "dataset.limit=64", "console=plain", "hydra.run.dir=run"]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site"), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "report.html").exists()
