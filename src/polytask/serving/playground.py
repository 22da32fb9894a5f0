"""A page to try a run in a browser. It is made of files of this server alone."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI, Response

from polytask.reports.sections.base import resource

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def add_playground(app: FastAPI) -> None:
    """Add the page and its files to an application."""
    pages = files("polytask.serving").joinpath("pages")
    content = {
        "/": (pages.joinpath("playground.html").read_text("utf-8"), "text/html"),
        "/playground.css": (pages.joinpath("playground.css").read_text("utf-8"), "text/css"),
        "/playground.js": (pages.joinpath("playground.js").read_text("utf-8"), "text/javascript"),
        "/style.css": (resource("style.css"), "text/css"),
    }
    for path, (text, kind) in content.items():
        answer = Response(text, headers=SAFE_HEADERS, media_type=kind)
        app.add_api_route(path, _always(answer), include_in_schema=False, response_model=None)


def _always(answer: Response):  # type: ignore[no-untyped-def]
    async def route() -> Response:
        return answer

    return route
