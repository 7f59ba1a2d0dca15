"""The proof step by step: draw, estimate offline, start and ask a service, match."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from proof.clips import Cast, Clip, draw, read_clips
from proof.errors import ActorsTaught
from proof.frames import Estimates, Matched, match
from proof.offline import estimate_offline, open_exported
from proof.record import Record, read_record
from proof.served import estimate_served
from service.embedded.stack import run_stack, stand_apart
from service.provenance import read_provenance
from service.settings import Settings
from training.loop.journal import Journal
from training.synthetic.order import WORLD_VERSION

T = TypeVar("T")


class Steps:
    """One proof; says what it does, and how long it took."""

    def __init__(self, cast: Cast, settings: Settings, folder: Path, console: Console) -> None:
        """Raises: ModelsMissing: nothing is exported."""
        self._cast = cast
        self._settings = settings
        self._folder = folder
        self._provenance = read_provenance(settings)
        self._journal = Journal(console)
        self._seconds: dict[str, float] = {}

    def read_record(self, run: Path | None) -> Record:
        """What is on record of the exported weights. Raises: ActorsTaught: of our actors."""
        folder = run or Path("weights") / self._provenance["preset"]
        record = read_record(folder, self._provenance)
        known = sorted(self._cast.subjects & record.taught)
        if known:
            raise ActorsTaught(f"{folder} has met {', '.join(known)}: choose another seed")
        return record

    def match(self, url: str | None) -> list[Matched]:
        """Draw, estimate twice, and bring the frames together.

        Args: url: of a running service; None: one is started for as long as it takes.
        Raises: ProofError, DatasetError, CircumplexError.
        """
        self._follow("drawing", draw(self._cast, self._folder), 2 * len(self._cast.pieces))
        clips = read_clips(self._cast, self._folder)
        offline = self._estimate_offline(clips)
        with self._service(url) as address:
            files = [clip.file for clip in clips]
            answers = estimate_served(address, files, self._provenance)
            served = self._follow("serving", answers, len(clips))
        truths = [clip.truth for clip in clips]
        return [match(*each) for each in zip(truths, offline, served, strict=True)]

    def facts(self) -> dict[str, Any]:
        """Where the figures come from."""
        cast = self._cast
        return {
            "seed": cast.seed,
            "actors": cast.actors,
            "seconds": cast.seconds,
            "rates": list(cast.rates),
            "rates_of_each_actor": cast.cameras,
            "world": WORLD_VERSION,
            "weights": self._provenance,
            "took_seconds": self._seconds,
        }

    def _estimate_offline(self, clips: Sequence[Clip]) -> list[Estimates]:
        exported = open_exported(self._settings.model_repository, self._provenance)
        recordings = [clip.drawn for clip in clips]
        answers = estimate_offline(exported, recordings, self._folder / "crops")
        return self._follow("estimating offline", answers, len(clips))

    @contextmanager
    def _service(self, url: str | None) -> Generator[str]:
        if url is not None:
            yield url
            return
        apart = stand_apart(self._settings, self._settings.runtime_dir / "eval")
        shutil.rmtree(apart.state_dir, ignore_errors=True)
        with run_stack(apart, on_start=lambda part: self._journal.say(f"Starting {part} ...")) as (
            stack
        ):
            yield f"http://{stack.settings.host}:{stack.settings.http_port}"

    def _follow(self, title: str, steps: Iterable[T], total: int) -> list[T]:
        self._journal.say(f"{title.capitalize()}: {total} files ...")
        started = time.monotonic()
        done = list(self._journal.follow(steps, total=total, title=title))
        self._seconds[title.replace(" ", "_")] = round(time.monotonic() - started, 1)
        return done
