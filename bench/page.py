"""Tables and pictures of docs/explanation/performance.md, made from out/bench.json.

    python -m bench.page

A table stands between the lines `<!-- bench: NAME -->` and `<!-- end -->`, which stay. Tables of
parts that the report does not have are left as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console

from bench.pictures import draw_ceilings, draw_frame_costs
from bench.tables import build_tables

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "explanation" / "performance.md"
IMAGES: Final = ROOT / "docs" / "images"
REPORT: Final = Path("out") / "bench.json"


def write_page() -> None:
    """Write the tables of the page, and its pictures, from the last report."""
    report = json.loads(REPORT.read_text())
    blocks = {name: table.to_markdown() for name, table in build_tables(report).items()}
    blocks["machine"] = describe_machine(report)
    PAGE.write_text(fill_blocks(PAGE.read_text(), blocks))
    draw_frame_costs(report, IMAGES / "performance-frame.svg")
    draw_ceilings(report, IMAGES / "performance-ceilings.svg")
    Console(highlight=False).print(f"Written: {PAGE.relative_to(ROOT)} and its pictures")


def fill_blocks(page: str, blocks: Mapping[str, str]) -> str:
    """Replace what stands between the marks of each block; blocks without marks are not used."""

    def replace(match: re.Match[str]) -> str:
        content = blocks.get(match["name"])
        return match[0] if content is None else f"{match['mark']}\n{content}\n<!-- end -->"

    return re.sub(
        r"(?P<mark><!-- bench: (?P<name>\w+) -->)\n.*?<!-- end -->", replace, page, flags=re.DOTALL
    )


def describe_machine(report: Mapping[str, Any]) -> str:
    """Describe the machine of a report in a line."""
    rates = report["processor"]["one_thread"]
    return (
        f"{report['cores']} cores of {report['processor_name']}; on one of them products of "
        f"matrices at\n{rates['fp32']:.0f} (fp32), {rates['bf16']:.0f} (bf16) and "
        f"{rates['int8']:.0f} (int8) 10^9 operations a second, copies of memory at\n"
        f"{rates['copy']:.0f} GB a second. PyTorch {report['torch']}."
    )


if __name__ == "__main__":
    typer.run(write_page)
