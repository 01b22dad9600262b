"""Serves the gallery on the loopback interface; nothing can be written through it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from gan_lab.config import changes_from_default, configuration_values
from gan_lab.gallery.contents import Contents
from gan_lab.reporting.comparison_page import ComparedRun, render_comparison
from gan_lab.reporting.pages import render_page
from gan_lab.reporting.run_page import render_report
from gan_lab.utils.formatting import first_line
from gan_lab.utils.shell import format_command
from gan_lab.utils.terminal import STDOUT

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
"""The only address that is listened to."""

NAMES = ("127.0.0.1", "localhost")
"""Names under which a browser may ask; a page from elsewhere that has its own name point here gets nothing."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".json": "application/json; charset=utf-8",
}
"""Types of files by ending; others are plain text."""

TEXT = "text/plain; charset=utf-8"


class Gallery:
    """Answers requests for the pages and files of runs.

    Args:
        contents: what is shown.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._pages: dict[str, Callable[[str], str]] = {"/": self._index, "/compare": self._compare}

    def answer(self, target: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, type and content of the answer to ``GET target``."""
        address = urlsplit(target)
        path = unquote(address.path)
        try:
            if path in self._pages:
                return HTTPStatus.OK, TYPES[".html"], self._pages[path](address.query).encode()
            return self._file(path.lstrip("/"))
        except (ValueError, OSError) as error:
            return HTTPStatus.NOT_FOUND, TEXT, first_line(error).encode()

    def _file(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        if (file := self._contents.find_file(path)) is not None:
            return HTTPStatus.OK, TYPES.get(file.suffix, TEXT), file.read_bytes()
        folder, _, name = path.rpartition("/")
        if name == "report.html" and (directory := self._contents.find_run(folder)) is not None:
            return HTTPStatus.OK, TYPES[".html"], render_report(directory, changes_from_default(directory)).encode()
        return HTTPStatus.NOT_FOUND, TEXT, b"there is no such run, study or file"

    def _index(self, query: str) -> str:
        runs = self._contents.runs()
        return render_page(
            "gallery.html.j2",
            title="Runs",
            running=any(run.status == "running" for run in runs),
            shows_files=True,
            roots=list(self._contents.roots),
            runs=runs,
            studies=self._contents.studies(),
        )

    def _compare(self, query: str) -> str:
        paths = parse_qs(query).get("run", [])
        found = [(path, self._contents.find_run(path)) for path in paths]
        if missing := [path for path, directory in found if directory is None]:
            raise ValueError(f"there is no run {missing[0]}")
        directories = [directory for _, directory in found if directory is not None]
        runs = [ComparedRun(directory, configuration_values(directory)) for directory in directories]
        return render_comparison(runs, Path(), format_command("report", f"runs=[{','.join(paths)}]"))


def make_server(roots: Sequence[Path], port: int) -> ThreadingHTTPServer:
    """A server that listens, but does not answer yet.

    Args:
        roots: folders whose runs are shown.
        port: 0 for any free one.

    Raises:
        ValueError: the port is taken or not allowed.
    """
    gallery = Gallery(Contents(roots))

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "gan_lab", ""

        def do_GET(self) -> None:
            host = self.headers.get("Host", "").partition(":")[0]
            allowed = host in NAMES
            refused = HTTPStatus.FORBIDDEN, TEXT, b"the gallery is for this machine only"
            status, kind, content = gallery.answer(self.path) if allowed else refused
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            log.debug(format, *args)

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise ValueError(f"port={port}: {first_line(error)}; choose another one, or port=0 for any that is free") from None


def serve(roots: Sequence[Path], port: int) -> None:
    """Answer requests until Ctrl-C.

    Args:
        roots: folders whose runs are shown.
        port: 0 for any free one.

    Raises:
        ValueError: the port is taken or not allowed.
    """
    server = make_server(roots, port)
    address = f"http://{HOST}:{server.server_address[1]}/"
    STDOUT.print(f"{address} shows the runs below {' and '.join(map(str, roots))}, to this machine only; Ctrl-C ends it")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        STDOUT.print()
    finally:
        server.server_close()
