"""From a stored or transmitted code back to its error."""

from __future__ import annotations

from service.errors.base import CircumplexError
from service.errors.services import InternalError


def error_from_code(code: str, detail: str | None = None) -> CircumplexError:
    """The error that `code` stands for; InternalError if unknown."""
    return _errors_by_code(CircumplexError).get(code, InternalError)(detail)


def _errors_by_code(root: type[CircumplexError]) -> dict[str, type[CircumplexError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _errors_by_code(child)
    return found
