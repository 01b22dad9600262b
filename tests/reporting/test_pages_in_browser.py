"""Pages in a real browser: what moves, what is shown, and that nothing is requested or executed that should not be."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import picture, untrained_run

from gan_lab.config import changes_from_default, configuration_values
from gan_lab.gallery.server import make_server
from gan_lab.reporting.comparison_page import ComparedRun, write_comparison
from gan_lab.reporting.run_page import write_report
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.explorer import write_explorer

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

HOSTILE = "</script><script>alert('run')</script><b>"
CLASSES = ("\"'&amp;", "<img src=x onerror=alert(1)>", "plain")
LONG = 100_000
"""Rows of the run with many; D's loss in row n is n, G's is NaN in every third."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address or file; at the end of the test no page may have had an error, a dialog, or a request to elsewhere."""
    problems: list[str] = []
    contexts = []

    def watch(request: Any) -> None:
        if not request.url.startswith(("data:", "file:", "http://127.0.0.1:")):
            problems.append(request.url)

    def open_(address: str | Path, width: int = 1300, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("request", watch)
        page.goto(address.as_uri() if isinstance(address, Path) else address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


def write_records(directory: RunDirectory, rows: int, grids: int, name: str = HOSTILE) -> None:
    """Metrics, sample grids and a summary, as a training would leave them."""
    with directory.metrics.open("w") as handle:
        for n in range(rows):
            row = {
                "images": 32 * n,
                "epoch": n / 100,
                "seconds": 0.6 * n,
                "d/loss": float(n),
                "g/loss": None if n % 3 == 0 else 2.0,
            }
            handle.write(
                json.dumps(row | ({"fd_fashion": 1e3 / (n + 1), "fd_fashion_ci95": 0.5} if n % 50 == 0 else {})) + "\n"
            )
    directory.samples.mkdir()
    for n in range(grids):
        picture(directory.sample_grid(64 * n), 40, 40)
    shutil.copy(directory.sample_grid(64 * (grids - 1)), directory.final)
    final = {
        "fd_fashion": 12.345,
        "fd_fashion_ci95": 0.25,
        "images": 32 * rows,
        "protocols": {"default": {"features": HOSTILE}},
    }
    times = {"seconds": 60.0, "other_seconds": {"evaluation": 30.0, "checkpoints": 10.0}}
    summary = {"status": "finished", "name": name, "images": 32 * rows, "epochs": 2.0, "score": "fd_fashion", **times}
    directory.summary.write_text(json.dumps(summary | {"final": final, "best": final, "alarms": []}))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A conditional run with an explorer, whose classes, name and protocol are hostile."""
    folder = tmp_path_factory.mktemp("pages")
    images = folder / "images"
    for number in range(9):
        picture(images / f"{number}.png", 32, 32)
    labels = [[f"{n}.png", CLASSES[n % 3]] for n in range(9)]
    (images / "dataset.json").write_text(json.dumps({"labels": labels}))
    data = ["dataset=folder", f"dataset.path={images}", "dataset.size=32", "dataset.channels=1", "batch_size=8"]
    opened = untrained_run(folder / "run", *data, "conditioning=concatenation")
    directory = opened.directory
    write_records(directory, 300, 60)
    write_explorer(directory, opened.generator, opened.latents, opened.labels, opened.device, 0)
    write_report(directory, changes_from_default(directory))
    return directory


def test_the_slider_goes_through_the_training(run: RunDirectory, open_page: Callable[..., Any]) -> None:
    page = open_page(run.report)
    current, slider = page.locator(".frames figure.current"), page.locator("[data-slider] input[type=range]")
    assert current.count() == 1 and current.get_attribute("data-images") == str(64 * 59), "the newest first"
    last = current.locator("img").get_attribute("src")
    slider.fill("0")
    assert current.get_attribute("data-images") == "0" and current.locator("img").get_attribute("src") != last
    assert page.locator("[data-slider] output").inner_text() == "untrained"
    slider.press("ArrowRight")
    second = int(current.get_attribute("data-images"))
    assert second > 0 and page.locator("[data-slider] output").inner_text() == f"{second:,} images"
    page.reload()
    assert current.get_attribute("data-images") == str(second), "what was chosen outlives the reload of a running run's page"
    page.locator("[data-play]").click()
    playwright.expect(current).not_to_have_attribute("data-images", str(second))


def test_the_explorer_shows_the_image_under_the_pointer(run: RunDirectory, open_page: Callable[..., Any]) -> None:
    page = open_page(run.report)
    explorer, sprite = page.locator("[data-explorer]"), page.locator(".sprite")
    place, command = explorer.locator(".place"), explorer.locator(".view code")
    box = explorer.locator(".map").bounding_box()

    def point(x: float, y: float) -> str:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        return str(sprite.evaluate("node => node.style.backgroundPosition"))

    explorer.locator(".map").scroll_into_view_if_needed()
    box = explorer.locator(".map").bounding_box()
    corner = point(0.01, 0.01)
    assert place.inner_text() == f"{CLASSES[0]}, seed 0"
    assert command.inner_text().startswith(f"python -m gan_lab.sample run={run.path} seeds=0 ")
    assert point(0.99, 0.99) != corner and place.inner_text() == f"{CLASSES[0]}, seed 8"
    point(0.25, 0.01)
    assert place.inner_text() == f"{CLASSES[0]}, between the seeds 0, 1" and " plane=0-8 at=" in command.inner_text()
    explorer.locator(".map").press("ArrowLeft")
    assert (
        "at=0.1875,0 " in command.inner_text()
        or "at=0.125,0 " in command.inner_text()
        or "at=0.1667,0 " in command.inner_text()
    )
    before = sprite.evaluate("node => node.style.backgroundPosition")
    explorer.get_by_role("button", name="plain").click()
    assert place.inner_text().startswith("plain, ") and "plain" in command.inner_text()
    assert sprite.evaluate("node => node.style.backgroundPosition") != before


def test_charts_show_values_under_the_pointer_on_every_clock(run: RunDirectory, open_page: Callable[..., Any]) -> None:
    page = open_page(run.report)
    losses = page.locator(".chart").first
    for clock, label in (("images", "4,800 images"), ("epoch", "epoch 1.5"), ("seconds", "1 min 30 s")):
        page.locator(f"label[for=clock-{clock}]").click()
        plot = losses.locator(f".drawing.{clock} .plot")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 150 / 299, box["y"] + 20)
        assert losses.locator(".legend output").first.inner_text() == "150", "row n has the loss n"
        assert plot.locator(".cursor-label").inner_text() == label
        assert losses.locator(".drawing:visible").count() == 1
    score = page.locator(".chart", has_text="fd_fashion").first
    score.focus()
    page.keyboard.press("ArrowLeft")
    assert score.locator(".legend output").inner_text() == f"{1e3 / 201:.4g} ± 0.5", "the last but one of six scores"


@pytest.mark.slow
def test_hostile_names_stay_text(run: RunDirectory, open_page: Callable[..., Any]) -> None:
    page = open_page(run.report)
    assert page.locator("h1").inner_text().startswith(HOSTILE)
    assert page.locator("script").count() == 1 and page.locator("b").count() == 0 and page.locator("img[onerror]").count() == 0
    assert [button.inner_text() for button in page.locator(".planes button").all()] == list(CLASSES)


@pytest.mark.slow
def test_a_picture_opens_large_and_commands_are_copied(run: RunDirectory, open_page: Callable[..., Any]) -> None:
    page = open_page(run.report)
    page.locator(".frames figure.current img").click()
    assert page.locator("dialog[open] img").is_visible() and "images" in page.locator("dialog figcaption").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    row = page.locator(".command", has_text="go on")
    assert row.locator("code").inner_text() == f"python -m gan_lab.train resume={run.path} epochs=4"
    row.locator("button").click()
    playwright.expect(row.locator("button")).not_to_have_text("copy")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_a_page_fits_a_phone(run: RunDirectory, open_page: Callable[..., Any], scheme: str) -> None:
    page = open_page(run.report, width=420, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (color == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.slow
def test_a_page_is_readable_without_scripts(run: RunDirectory, open_page: Callable[..., Any]) -> None:
    page = open_page(run.report, java_script_enabled=False)
    assert page.locator(".frames figure img").first.is_visible() and page.locator(".map img").is_visible()
    assert page.locator(".chart .drawing:visible svg path").count() > 3
    page.locator("label[for=clock-seconds]").click()
    assert page.get_by_text("training time (min)").first.is_visible()


def test_a_page_of_many_rows_is_small(run: RunDirectory, tmp_path: Path, open_page: Callable[..., Any]) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    shutil.copy(run.config, directory.config)
    write_records(directory, LONG, 200)
    write_report(directory, [])
    assert directory.report.stat().st_size < 10_000_000
    page = open_page(directory.report)
    plot = page.locator(".chart").first.locator(".drawing.images .plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    shown = float(page.locator(".chart").first.locator(".legend output").first.inner_text().replace(",", ""))
    assert shown == pytest.approx(LONG / 2, rel=0.01)


def test_runs_are_compared_at_the_same_clock(run: RunDirectory, tmp_path: Path, open_page: Callable[..., Any]) -> None:
    other = RunDirectory(tmp_path / "other")
    other.path.mkdir()
    other.config.write_text(run.config.read_text().replace("batch_size: 8", "batch_size: 16"))
    write_records(other, 100, 20, name="other")
    write_comparison([ComparedRun(d, configuration_values(d)) for d in (run, other)], tmp_path / "pages" / "comparison.html")
    page = open_page(tmp_path / "pages" / "comparison.html")
    current = page.locator(".frames figure.current")
    assert [frame.get_attribute("data-images") for frame in current.all()] == [str(64 * 59), str(64 * 19)]
    page.locator("[data-slider] input[type=range]").fill("0")
    assert [frame.get_attribute("data-images") for frame in current.all()] == ["0", "0"]
    cells = page.locator("tr", has_text="batch_size").locator("td")
    assert [cell.inner_text() for cell in cells.all()] == ["batch_size", "8", "16"]
    assert page.locator(".chart", has_text="fd_fashion").locator(".legend li").count() == 2, "the protocols agree"
    page.locator("th a").first.click()
    assert page.locator("h1").inner_text().startswith(HOSTILE), "it links to the page of a run"


def test_the_gallery_filters_and_compares(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_page: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        directory = RunDirectory(Path("outputs") / name)
        directory.path.mkdir(parents=True)
        shutil.copy(run.config, directory.config)
        write_records(directory, 10, 2, name=f"lr={name}{HOSTILE}")
    server = make_server([Path("outputs"), Path("multirun")], 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        page = open_page(f"http://127.0.0.1:{server.server_address[1]}/")
        page.locator("[data-filter]").fill("lr=b")
        assert [card.locator("strong").inner_text() for card in page.locator(".card:visible").all()] == ["outputs/b"]
        assert page.locator(".card:visible img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 40
        page.locator("[data-filter]").fill("")
        for box in page.locator("input[type=checkbox]").all():
            box.check()
        page.get_by_role("button", name="compare the chosen runs").click()
        assert page.locator("h1").inner_text() == "2 runs compared" and page.locator(".film").count() == 2
        page.go_back()
        page.locator(".card a").first.click()
        assert page.locator("h1").inner_text().startswith("lr="), "the page is made when it is asked for"
        assert not (tmp_path / "outputs" / "a" / "report.html").exists(), "and not written"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
