"""Tables of the performance page."""

from bench.page import PAGE, fill_blocks
from bench.tables import TextTable

MARKED = """\
before
<!-- bench: stages -->
old
<!-- end -->
after
<!-- bench: scale -->
<!-- end -->
"""


def test_table_replaces_what_stands_between_its_marks_alone() -> None:
    page = fill_blocks(MARKED, {"stages": "| new |", "unknown": "x"})
    assert page == MARKED.replace("old", "| new |")
    assert fill_blocks(page, {"stages": "| new |"}) == page


def test_markdown_table_has_a_rule_below_its_headings() -> None:
    table = TextTable(headings=("stage", "ms"), rows=[["faces", "1.5"]])
    assert table.to_markdown() == "| stage | ms |\n| --- | ---: |\n| faces | 1.5 |"


def test_page_has_marks_for_tables() -> None:
    filled = fill_blocks(PAGE.read_text(), {"targets": "NEW"})
    assert "<!-- bench: targets -->\nNEW\n<!-- end -->" in filled
