"""Generated reference pages are up to date with the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.reference import render_pages

PAGES = render_pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_reference_page_is_up_to_date(page: Path) -> None:
    assert page.read_text() == PAGES[page], "outdated: run `make docs`"
