"""The notebook of the package runs from top to bottom."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest
from matplotlib.figure import Figure
from nbclient import NotebookClient
from pandas import DataFrame
from PIL import Image

import gan_lab
from gan_lab import Run

NOTEBOOK = Path(gan_lab.__file__).with_name("tour.ipynb")


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_valid_and_stored_without_outputs(notebook: Any) -> None:
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_the_cells_of_the_notebook_run_in_their_order(
    notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which has imported everything: a kernel would take longer to start than the cells to run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAN_LAB_TOUR", "quick")
    variables: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        code = ast.parse(cell.source)
        last = code.body.pop() if isinstance(code.body[-1], ast.Expr) else None
        exec(compile(code, cell.id, "exec"), variables)
        if last is not None:
            shown[cell.id] = eval(compile(ast.Expression(last.value), cell.id, "eval"), variables)
    assert isinstance(shown["run-code"], Run) and isinstance(shown["metrics-code"], Figure)
    assert isinstance(shown["compare"], DataFrame) and list(shown["compare"].columns) == ["hinge", "bce"]
    assert isinstance(shown["images-code"], Image.Image) and shown["images-code"].width > shown["images-code"].height
    printed = capsys.readouterr().out
    for expected in ("64 images, 1x32x32, classes: t-shirt", "D loss", "the same images: True", "did you mean epochs?"):
        assert expected in printed, expected
    assert len(list(tmp_path.glob("outputs/*/*/summary.json"))) == 3, "the run and both of the experiment"


@pytest.mark.slow
def test_the_whole_notebook_runs_in_a_kernel_and_shows_what_it_says(notebook: Any, tmp_path: Path) -> None:
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    (table,) = [o for o in shown["train-code"] if o.output_type == "display_data"]
    assert "D loss" in table.data["text/html"] and "100%" in table.data["text/html"], "the live table's last state"
    for name, kind in {
        "data-code": "image/png",
        "run-code": "text/html",
        "metrics-code": "image/png",
        "walk-code": "image/gif",
    }.items():
        assert kind in shown[name][-1].data, name
    assert not [o for outputs in shown.values() for o in outputs if "\x1b" in o.get("text", "")], "no bars for a terminal"
    lines = shown["scores-code"][-1].data["text/plain"].splitlines()
    untrained, final = (float(line.split()[-1]) for line in (lines[1], lines[-1]))
    assert final < untrained / 5, "the generator has learned"
