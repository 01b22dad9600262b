"""What the gallery shows, and what it does not: files elsewhere, checkpoints, other hosts' pages, writing."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gan_lab.gallery.contents import Contents
from gan_lab.gallery.server import make_server
from gan_lab.storage.run_directory import RunDirectory

ROOTS = [Path("outputs"), Path("multirun")]


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two runs, a study and files that are nobody's business."""
    monkeypatch.chdir(tmp_path)
    for number, path in enumerate(("outputs/old run", "outputs/2026/new", "multirun/study/0")):
        directory = RunDirectory(Path(path))
        directory.samples.mkdir(parents=True)
        (directory.path / "checkpoints").mkdir()
        directory.checkpoint("last").write_bytes(b"weights")
        directory.config.write_text("a: 1\n")
        directory.report.write_text(f"page of {path}")
        directory.final.write_bytes(b"\x89PNG")
        directory.summary.write_text(f'{{"status": "finished", "name": "lr={number}", "images": 10, "seconds": 3}}')
        os.utime(directory.summary, (1000 + number, 1000 + number))
    Path("multirun/study/study.html").write_text("study")
    Path("outputs/notes.txt").write_text("private")
    Path("secret").mkdir()
    Path("secret/config.yaml").write_text("secret")
    Path("secret/report.html").write_text("secret")
    Path("outputs/link").symlink_to(tmp_path / "secret")
    return tmp_path


def test_runs_are_listed_the_newest_first() -> None:
    cards = Contents(ROOTS).runs()
    assert [card.path for card in cards] == ["multirun/study/0", "outputs/2026/new", "outputs/old run"]
    assert cards[2].link == "/outputs/old%20run/report.html" and cards[2].image == "/outputs/old%20run/samples/final.png"
    assert cards[0].facts == ("10 images in 3 s",)
    assert [study.link for study in Contents(ROOTS).studies()] == ["/multirun/study/study.html"]
    assert Contents([Path("missing")]).runs() == []


def test_a_run_that_is_damaged_is_left_out() -> None:
    RunDirectory(Path("outputs/old run")).summary.write_text("{")
    assert len(Contents(ROOTS).runs()) == 2


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("outputs/old run/report.html", True),
        ("outputs/2026/new/samples/final.png", True),
        ("outputs/2026/new/config.yaml", True),
        ("multirun/study/study.html", True),
        ("multirun/study/0/report.html", True),
        ("outputs/2026/new/checkpoints/last.pt", False),
        ("outputs/2026/new/samples", False),
        ("outputs/notes.txt", False),
        ("outputs/link/report.html", False),
        ("outputs/../secret/report.html", False),
        ("outputs//../secret/report.html", False),
        ("secret/report.html", False),
        ("/etc/passwd", False),
        ("outputs/2026/new/report.html\0", False),
        ("", False),
    ],
)
def test_only_pages_and_records_below_the_folders_are_files_of_the_gallery(path: str, shown: bool) -> None:
    assert (Contents(ROOTS).find_file(path) is not None) == shown


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    server = make_server(ROOTS, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield str(server.server_address[0]), int(server.server_address[1])
    server.shutdown()
    server.server_close()
    thread.join()


def ask(address: tuple[str, int], target: str, method: str = "GET", host: str = "localhost") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(*address)
    connection.request(method, target, headers={"Host": f"{host}:{address[1]}"})
    answer = connection.getresponse()
    found = answer.status, answer.getheader("Content-Type", ""), answer.read()
    connection.close()
    return found


def test_only_this_machine_can_read_and_nobody_can_write(address: tuple[str, int]) -> None:
    assert address[0] == "127.0.0.1"
    assert ask(address, "/outputs/old%20run/report.html") == (200, "text/html; charset=utf-8", b"page of outputs/old run")
    assert ask(address, "/outputs/2026/new/config.yaml") == (200, "text/plain; charset=utf-8", b"a: 1\n")
    assert ask(address, "/", host="example.org")[0] == 403, "a page from elsewhere whose name points to this machine"
    for target in (
        "/outputs/../secret/report.html",
        "/outputs/%2e%2e/secret/report.html",
        "/outputs/2026/new/checkpoints/last.pt",
    ):
        status, _, content = ask(address, target)
        assert status == 404 and b"secret" not in content
    assert ask(address, "/compare?run=secret&run=outputs/2026/new")[0] == 404
    assert ask(address, "/", method="HEAD") == (200, "text/html; charset=utf-8", b"")
    for method in ("POST", "PUT", "DELETE"):
        assert ask(address, "/outputs/2026/new/report.html", method=method)[0] == 501


def test_a_taken_or_impossible_port_is_an_error(address: tuple[str, int]) -> None:
    for port in (address[1], 70_000):
        with pytest.raises(ValueError, match=f"port={port}: .*; choose another one"):
            make_server(ROOTS, port)
