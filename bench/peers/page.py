"""Tables of docs/explanation/peers.md, made from out/peers.json: `python -m bench.peers.page`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console

from bench.page import ROOT, fill_blocks
from bench.tables import TextTable

PAGE: Final = ROOT / "docs" / "explanation" / "peers.md"
REPORT: Final = Path("out") / "peers.json"


def write_peer_page() -> None:
    """Write the tables of the page from the last report."""
    report = json.loads(REPORT.read_text())
    blocks = {name: table.to_markdown() for name, table in build_peer_tables(report).items()}
    PAGE.write_text(fill_blocks(PAGE.read_text(), blocks))
    Console(highlight=False).print(f"Written: {PAGE.relative_to(ROOT)}")


def build_peer_tables(report: Mapping[str, Any]) -> dict[str, TextTable]:
    """Tables by name: loads, targets, and agreement with the service."""
    return {
        "peer_loads": _list_loads(report),
        "peer_targets": _list_targets(report),
        "peer_agreement": _list_agreement(report),
    }


def _list_loads(report: Mapping[str, Any]) -> TextTable:
    figures = {
        "frames/s": ("frames_per_second", "{:.0f}"),
        "p50 s": ("p50_seconds", "{:.1f}"),
        "p99 s": ("p99_seconds", "{:.1f}"),
        "peak MiB": ("peak_mib", "{:.0f}"),
        "MiB a clip": ("mib_per_clip", "{:.0f}"),
        "CPU s a video minute": ("cpu_seconds_per_video_minute", "{:.1f}"),
        "ms of a core a frame": ("cpu_ms_per_frame", "{:.2f}"),
    }
    rows = [
        [load, name, *(form.format(each[key]) for key, form in figures.values())]
        for load, systems in report["loads"].items()
        for name, each in systems.items()
    ]
    return TextTable(headings=["clips", "system", *figures], rows=rows)


def _list_targets(report: Mapping[str, Any]) -> TextTable:
    headings = ["clips", "compared with", "speed", "target met", "lowest p99", "least memory"]
    rows = [
        [
            load,
            each["best"],
            f"{each['speed_ratio']:.2f}",
            *(
                "yes" if each[key] else "no"
                for key in ("holds", "has_lowest_p99", "has_lowest_memory")
            ),
        ]
        for load, each in report["targets"].items()
    ]
    return TextTable(headings=headings, rows=rows)


def _list_agreement(report: Mapping[str, Any]) -> TextTable:
    rows = [
        [name, f"{each['correlation']:.4f}", f"{each['mean_difference']:.4f}", str(each["frames"])]
        for name, each in report["agreement"].items()
    ]
    return TextTable(headings=["system", "correlation", "mean difference", "frames"], rows=rows)


if __name__ == "__main__":
    typer.run(write_peer_page)
