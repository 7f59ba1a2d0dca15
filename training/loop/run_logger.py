"""Progress output of a run: a progress bar, a line per epoch, metrics.jsonl, learning curves."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.data.files import replace_file, replace_text

T = TypeVar("T")


class RunLogger:
    """Prints to the console; without a console it prints nothing."""

    def __init__(self, console: Console | None) -> None:
        self._console = console or Console(quiet=True)

    def log(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, highlight=False)

    def track_progress(self, steps: Iterable[T], *, total: int, title: str) -> Iterator[T]:
        """Iterate over the steps; shows a progress bar on a terminal."""
        if not self._console.is_terminal:
            yield from steps
            return
        with self._progress_bar() as bar:
            task = bar.add_task(title, total=total)
            for step in steps:
                yield step
                bar.advance(task)

    @contextmanager
    def _progress_bar(self) -> Generator[Progress]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            yield bar


def format_epoch(part: str, record: dict[str, Any]) -> str:
    """Format an epoch's record as one line."""
    return (
        f"{part} epoch {record['epoch']}: loss {record['loss']:.3f}, "
        f"CCC V {record['valence']:.3f} A {record['arousal']:.3f}, "
        f"rate {record['learning_rate']:.1e}, {record['seconds']:.0f} s"
        + (" *" if record["is_best"] else "")
    )


def write_metrics(file: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write JSON lines, one per epoch."""
    replace_text(file, "".join(f"{json.dumps(record)}\n" for record in history))


def plot_curves(file: Path, histories: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    """Plot the loss and the validation CCCs of each part over the epochs."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = min(4, len(histories))
    rows = math.ceil(len(histories) / columns)
    with mpl.rc_context({"font.size": 8}):  # pyright: ignore[reportUnknownMemberType]  # partially typed
        figure = Figure(figsize=(3.6 * columns, 2.6 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for place, axis in enumerate(axes.flat):
            axis.set_visible(place < len(histories))
        for axis, (part, history) in zip(axes.flat, histories.items(), strict=False):
            epochs = [record["epoch"] for record in history]
            for name in ("valence", "arousal", "loss"):
                axis.plot(epochs, [record[name] for record in history], label=name)
            axis.set(title=part, xlabel="epoch", ylim=(-0.2, 2.0))
            axis.legend(loc="upper right")
        replace_file(file, lambda part: figure.savefig(part, dpi=110))  # pyright: ignore[reportUnknownMemberType]  # untyped **kwargs
