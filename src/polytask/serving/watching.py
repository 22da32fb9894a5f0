"""Pages that follow trainings while they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import RedirectResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from polytask.core.run_folder import RunFolder
from polytask.reports.watch import Feed, require_run
from polytask.serving.errors import SafeJSON
from polytask.serving.process import Life, bind, run_app

_LOCAL = ("127.0.0.1", "localhost")

_SAFE = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Headers of all answers. The page itself holds its content security policy."""


def add_watch_pages(app: FastAPI, feeds: Mapping[str, Feed], language: str = "en") -> None:
    """Add the page of each run, ``/watch/NAME/``, to an application; ``/watch/`` is the first one."""

    def feed(run: str) -> Feed:
        if run not in feeds:
            raise HTTPException(404)
        return feeds[run]

    def page(run: str) -> Response:
        return Response(feed(run).page(language), headers=_SAFE, media_type="text/html")

    def state(run: str, seen: str = "") -> Response:
        found = feed(run).state(seen)
        return Response(status_code=204) if found is None else SafeJSON(found, headers=_SAFE)

    def first() -> Response:
        return RedirectResponse(f"/watch/{quote(next(iter(feeds)))}/")

    routes: dict[str, Callable[..., Response]] = {
        "/watch/": first,
        "/watch/{run}/": page,
        "/watch/{run}/state": state,
    }
    for path, route in routes.items():
        app.add_api_route(path, route, include_in_schema=False, response_model=None)


def watch_app(run: Path, language: str = "en") -> Any:
    """Return an application of the page of one run alone, for this machine."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # DNS rebinding: a hostile site can point its name at 127.0.0.1, but it cannot change Host
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOCAL])
    add_watch_pages(app, {run.resolve().name: Feed(RunFolder(run))}, language)

    app.add_api_route("/", lambda: RedirectResponse("/watch/"), response_model=None)
    return app


def watch_run(
    run: Path, port: int, language: str = "en", ready: Callable[[str], object] = lambda url: None
) -> None:
    """Serve the page of a training to this machine, until Ctrl-C.

    :param run: The run folder, which may not exist yet.
    :param port: The port; 0: any free port.
    :param ready: Called with the address.
    :raises RunError: If the folder holds something else, or the port is taken.
    """
    require_run(run)
    run_app(watch_app(run, language), bind(_LOCAL[0], port), Life(ready=ready))
