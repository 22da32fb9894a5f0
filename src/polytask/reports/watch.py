"""A live page of a running training, served to this machine only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from polytask.core.errors import RunError
from polytask.core.files import read_json
from polytask.core.run_folder import RunFolder
from polytask.reports import formats
from polytask.reports.curves import Curves
from polytask.reports.page import shell
from polytask.reports.report_data import Material, Trained
from polytask.reports.sections.base import Section, fill_template, resource
from polytask.reports.sections.curves import learning_curves, losses
from polytask.reports.sections.interference import interference
from polytask.reports.sections.throughput import pace
from polytask.reports.sections.weights import weights
from polytask.reports.wording import Text, phrase

_HOST = "127.0.0.1"
_SECTIONS = (losses, learning_curves, weights, interference, pace)
_SAFE = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Feed:
    """Follows ``metrics.jsonl`` while it grows. May be asked by several threads.

    :param run: The run; neither it nor the file need be there yet.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._curves, self._offset, self._file, self._records = Curves(), 0, 0, 0

    def state(self, seen: str = "") -> dict[str, Any] | None:
        """Return the current state of the page; None if its version equals ``seen``."""
        with self._lock:
            self._read()
            finished = self._is_finished()
            version = f"{self._file}-{self._records}-{int(finished)}"
            return None if version == seen else self._draw(version, finished=finished)

    def _read(self) -> None:
        """Take in the lines that were added; a line that is half written waits for its end."""
        with suppress(FileNotFoundError), self.run.metrics.open("rb") as file:
            about = self.run.metrics.stat()
            if about.st_ino != self._file or about.st_size < self._offset:
                self._forget()  # a resumed training has replaced the file
                self._file = about.st_ino
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._records += 1
                self._curves.add(json.loads(line))

    def _is_finished(self) -> bool:
        with suppress(FileNotFoundError):
            return bool(read_json(self.run.facts).get("finished"))
        return False

    def _draw(self, version: str, *, finished: bool) -> dict[str, Any]:
        state = "finished" if finished else "running" if self._curves.step else "waiting"
        sections = self._sections()
        return {
            "version": version,
            "state": state,
            "cards": fill_template("cards.html", cards=_cards(self._curves)),
            "nav": fill_template("nav.html", sections=sections),
            "main": fill_template(
                "live.html", sections=sections, state=state, share=self._curves.share
            ),
        }

    def _sections(self) -> list[Section]:
        trained = Trained("", 0, self.run, self._curves)
        name = trained.recipe.get("name") or self.run.path.name
        material = Material(self.run.path, name, "", None, [trained], None)
        return [made for section in _SECTIONS if (made := section(material)) is not None]

    def page(self, language: str) -> str:
        """The page before the first state; it asks for the rest by itself."""
        name = Trained("", 0, self.run).recipe.get("name") or self.run.path.name
        script = resource("live.js")
        return shell(name=name, kind="live", language=language, cards=[], sections=[], live=script)


def serve(
    run: Path, port: int, language: str = "en", ready: Callable[[str], None] = lambda url: None
) -> None:
    """Show a training until Ctrl-C, on this machine alone.

    :param run: The run folder, which may not be there yet.
    :param port: 0 for any that is free.
    :param ready: Called with the address.
    :raises RunError: If the folder is something else, or the port is taken.
    """
    server = open_server(run, port, language)
    ready(f"http://{_HOST}:{server.server_port}/")
    with server, suppress(KeyboardInterrupt):
        server.serve_forever(poll_interval=0.2)


def open_server(run: Path, port: int, language: str = "en") -> ThreadingHTTPServer:
    """The server of ``serve``, listening and not yet answering."""
    if run.exists():
        _check(run)
    feed = Feed(RunFolder(run))

    class Handler(_Handler):
        """Answers for one run."""

        @override
        def answer(self, path: str, query: dict[str, list[str]]) -> tuple[str, str] | None:
            if path == "/":
                return "text/html; charset=utf-8", feed.page(language)
            state = feed.state(query.get("seen", [""])[0])
            return None if state is None else ("application/json", json.dumps(state))

    try:
        server = ThreadingHTTPServer((_HOST, port), Handler)
    except OSError as error:
        raise RunError(
            f"port {port}: {error.strerror}. Choose another one with --port; 0 takes any that is free."
        ) from error
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    """HTTP around ``answer``."""

    server: ThreadingHTTPServer

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[str, str] | None:
        """The type and the text of what lies at an address; None if nothing is new."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Answer the page or its state; refuse other sites that have this machine's address."""
        place = urlsplit(self.path)
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{_HOST}:{port}", f"localhost:{port}"):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif place.path not in ("/", "/state"):
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send(self.answer(place.path, parse_qs(place.query)))

    def _send(self, found: tuple[str, str] | None) -> None:
        self.send_response(HTTPStatus.OK if found else HTTPStatus.NO_CONTENT)
        for name, value in _SAFE.items():
            self.send_header(name, value)
        if found is not None:
            content = found[1].encode()
            self.send_header("Content-Type", found[0])
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if found is not None:
            self.wfile.write(content)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line per second is of no use to anybody."""


def _check(run: Path) -> None:
    """Refuse a folder that holds something that will never become a run."""
    if not run.is_dir():
        raise RunError(f"{run}: is a file. Name the folder of a run.")
    if (run / "comparison.json").is_file() or (run / "results").is_dir():
        raise RunError(
            f"{run}: a comparison, not a run. Watch one of the runs in the folders below it."
        )


def _cards(curves: Curves) -> list[tuple[Text, Text]]:
    pace = curves.tokens_per_second
    return [
        (phrase("card.share"), f"{curves.share:.0%}"),
        (phrase("card.step"), str(curves.step)),
        (phrase("card.epochs"), f"{curves.epoch:.2f}"),
        (phrase("card.pace"), formats.amount(pace)),
        (phrase("card.tokens"), formats.amount(curves.tokens)),
        (phrase("card.seconds"), formats.seconds(curves.seconds)),
    ]
