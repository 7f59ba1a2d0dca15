"""Removal of secrets from text: API keys, bearer tokens, passwords in URLs."""

from __future__ import annotations

import re
from typing import Final

REDACTED: Final = "***"
_API_KEY: Final = re.compile(r"(cpx_[0-9A-Za-z]{1,12}_)[0-9A-Za-z]+")
_CREDENTIALS: Final = re.compile(r"(?i)\b((?:bearer|basic)(?:\s|%20|\\t)+)[^\s'\"\\,;]{6,}")
_URL_PASSWORD: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]*://[^\s/@:?#]*:)[^\s/?#\"]+(?=@)")


def redact(text: str) -> str:
    """Replace each secret in a text; the id of an API key, which is public, stays."""
    text = _API_KEY.sub(rf"\1{REDACTED}", text)
    text = _CREDENTIALS.sub(rf"\1{REDACTED}", text)
    return _URL_PASSWORD.sub(rf"\1{REDACTED}", text)
