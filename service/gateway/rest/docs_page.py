"""The page /docs: the OpenAPI document and the served models, without scripts and other hosts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from service.domain.estimator import EstimatorManifest
from service.errors import CircumplexError
from service.gateway.rest.dependencies import GatewayDep
from service.gateway.rest.security_headers import CONTENT_SECURITY_POLICY

STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#222;background:#fff}code{background:#eee;padding:0 .2rem}"
    "table{border-collapse:collapse;width:100%}td,th{border-top:1px solid #ccc;padding:.3rem .5rem;"
    "text-align:left;vertical-align:top}summary{cursor:pointer}details{margin:.5rem 0}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
DOCUMENT_PATH: Final = "/openapi.json"

router = APIRouter()


@router.get("/docs", include_in_schema=False)
async def get_docs(request: Request, gateway: GatewayDep) -> HTMLResponse:
    """Return the operations of the OpenAPI document as a page, and below them the models."""
    models = await asyncio.to_thread(gateway.estimators.read_served)
    page = "".join(_render_page(request.app.openapi(), models))
    return HTMLResponse(page, headers={CONTENT_SECURITY_POLICY: PAGE_POLICY})


def _render_page(
    document: dict[str, Any], models: Mapping[str, EstimatorManifest | CircumplexError]
) -> Iterator[str]:
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f"<style>{STYLE}</style></head><body><h1>{title}</h1>"
    yield _render_text(info["description"])
    yield f'<p>The contract in full: <a href="{DOCUMENT_PATH}">{DOCUMENT_PATH}</a>.</p>'
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _render_operation(f"{method.upper()} {path}", operation)
    yield from _render_models(models)
    yield "</body></html>\n"


def _render_models(models: Mapping[str, EstimatorManifest | CircumplexError]) -> Iterator[str]:
    yield "<footer><h2>Models of this service</h2><table><tr><th>model</th><th>learnt from</th>"
    yield "<th>uses</th><th>caveats</th></tr>"
    for name, model in models.items():
        if isinstance(model, CircumplexError):
            yield _render_row((name, "", "", f"not available: {model.code}"))
        else:
            modalities = " and ".join(model.modalities)
            caveats = "; ".join(model.caveats)
            yield _render_row((str(model.id), model.domain or "not known", modalities, caveats))
    yield "</table></footer>"


def _render_operation(name: str, operation: dict[str, Any]) -> Iterator[str]:
    summary = escape(operation.get("summary", ""))
    yield f"<details><summary><code>{escape(name)}</code> {summary}</summary>"
    yield _render_text(operation.get("description", ""))
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>parameter</th><th>in</th><th>meaning</th></tr>"
        for each in parameters:
            cells = (each["name"], each["in"], each.get("description", ""))
            yield _render_row(cells)
        yield "</table>"
    yield "<table><tr><th>status</th><th>meaning</th><th>content</th></tr>"
    for status, response in operation["responses"].items():
        yield _render_row((status, response["description"], ", ".join(response.get("content", ()))))
    yield "</table></details>"


def _render_row(cells: tuple[str, ...]) -> str:
    return f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in cells)}</tr>"


def _render_text(text: str) -> str:
    paragraphs = (each.strip() for each in text.split("\n\n"))
    return "".join(f"<p>{escape(each)}</p>" for each in paragraphs if each)
