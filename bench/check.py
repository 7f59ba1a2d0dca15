"""Command `make bench-check`: fails where a stage or the service has become dearer.

    python -m bench.check             compare with bench/baseline.json
    python -m bench.check --update    measure and write it

What is compared are ratios of CPU time within one run (see `bench.ratios`). A loss has to be seen
in every one of several measurements: load on the machine alone does not fail a check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from bench.ratios import RatioBench
from service.settings import YARDSTICK, Settings

BASELINE: Final = Path(__file__).with_name("baseline.json")
MAX_LOSS: Final = 0.25
"""Share of its baseline by which a ratio may fall."""
ATTEMPTS: Final = 3

Ratios = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioComparison:
    """A ratio, the best of all measurements, beside its baseline; None: it has no baseline."""

    name: str
    ratio: float
    baseline: float | None

    @property
    def is_lost(self) -> bool:
        """True if the ratio has fallen too far."""
        return self.baseline is not None and self.ratio < (1 - MAX_LOSS) * self.baseline


def check(
    update: Annotated[bool, typer.Option("--update", help="Write the baseline.")] = False,
) -> None:
    """Compare the ratios of this run with the baseline; exit status 1: one has fallen."""
    console = Console(highlight=False)
    with (
        TemporaryDirectory(prefix="circumplex-check-") as folder,
        console.status("Drawing a clip and starting a stack ..."),
        RatioBench(Path(folder, "clip.mp4"), Settings().serving_only(YARDSTICK)) as bench,
    ):
        if update:
            text = json.dumps(bench.measure(), indent=2)
            BASELINE.write_text(text + "\n")
            console.print(f"{BASELINE}: {text}")
            return
        comparisons = compare_repeatedly(bench.measure, json.loads(BASELINE.read_text()))
    _show(comparisons, console)
    if any(each.is_lost for each in comparisons):
        raise typer.Exit(1)


def compare_repeatedly(
    measure: Callable[[], Ratios], baseline: Ratios, attempts: int = ATTEMPTS
) -> list[RatioComparison]:
    """Measure until nothing is lost, or for so many times; the best of each ratio counts."""
    best: dict[str, float] = {}
    comparisons: list[RatioComparison] = []
    for _ in range(attempts):
        for name, ratio in measure().items():
            best[name] = max(ratio, best.get(name, 0.0))
        comparisons = [
            RatioComparison(name=name, ratio=ratio, baseline=baseline.get(name))
            for name, ratio in best.items()
        ]
        if not any(each.is_lost for each in comparisons):
            break
    return comparisons


def _show(comparisons: list[RatioComparison], console: Console) -> None:
    table = Table("ratio of CPU time", "baseline", "now", "now / baseline", "")
    for each in comparisons:
        known = each.baseline is not None
        table.add_row(
            each.name,
            f"{each.baseline:.3f}" if known else "none",
            f"{each.ratio:.3f}",
            f"{each.ratio / each.baseline:.2f}" if each.baseline else "",
            "FALLEN" if each.is_lost else "",
        )
    console.print(table)
    console.print(
        f"At least {1 - MAX_LOSS:g} of the baseline ({BASELINE.name}); after an intended change: "
        "python -m bench.check --update"
    )


if __name__ == "__main__":
    typer.run(check)
