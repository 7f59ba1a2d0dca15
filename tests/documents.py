"""Markdown documents of the project, their code blocks, links and anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
DOCUMENTS: Final = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
"""Documents that are written by hand or by `make docs`."""
LINKED_DOCUMENTS: Final = (
    *DOCUMENTS,
    *sorted((ROOT / "weights").glob("*/README.md")),
    *sorted((ROOT / "clients").glob("*/README.md")),
)

_FENCE: Final = re.compile(r"^(?P<indent> *)```(?P<info>.*)$")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeBlock:
    """One fenced block; `mark` is what follows the language in its first line."""

    document: Path
    line: int
    language: str
    mark: str
    text: str

    @property
    def place(self) -> str:
        """File and line of the block, for messages."""
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def find_code_blocks(document: Path) -> Iterator[CodeBlock]:
    """Yield the fenced blocks of a document, in order, without their indentation."""
    opened: re.Match[str] | None = None
    start, lines = 0, list[str]()
    for number, line in enumerate(document.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence:
                opened, start, lines = fence, number, []
            continue
        if fence is None:
            lines.append(line.removeprefix(opened["indent"]))
            continue
        language, _, mark = opened["info"].strip().partition(" ")
        yield CodeBlock(
            document=document, line=start, language=language, mark=mark, text="\n".join(lines)
        )
        opened = None


def read_prose(document: Path) -> list[str]:
    """The lines of a document; those of code blocks are empty."""
    is_code, lines = False, list[str]()
    for line in document.read_text().splitlines():
        is_fence = _FENCE.match(line) is not None
        lines.append("" if is_code or is_fence else line)
        is_code ^= is_fence
    return lines


def find_links(document: Path) -> Iterator[str]:
    """Yield the target of every link outside code."""
    for line in read_prose(document):
        yield from _LINK.findall(re.sub(r"`[^`]*`", "", line))


def find_anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    anchors = set[str]()
    for line in read_prose(document):
        heading = _HEADING.match(line)
        if heading is None:
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        copies = sum(1 for each in anchors if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", each))
        anchors.add(f"{slug}-{copies}" if slug in anchors else slug)
    return anchors
