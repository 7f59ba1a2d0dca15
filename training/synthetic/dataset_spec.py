"""Specification of a synthetic data set, and its division into clips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

SPEC_FILE: Final = "synthesis.json"
WORLD_VERSION: Final = 1
"""Incremented when the same seed gives other images, audio or truth."""
SPLIT_FOLDERS: Final = ("Train_Set", "Validation_Set", "Test_Set")

_SPLIT_PATTERN: Final = "TVXTTXTTVTXTTXT"
"""Split of every 15 actors: 9 train, 2 validate, 4 test, as Aff-Wild2's 356, 76, 162 videos."""
_ACTORS_PER_SEED: Final = 100_000


class SpecMismatch(Exception):
    """The folder has a data set with another specification."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """Specification of a data set or a set of clips.

    rates: names of `frame_rates.RATES`. as_served: crops are cut from encoded and decoded frames by
    the service's detection and alignment, instead of being drawn directly.
    """

    seed: int
    seconds: float
    rates: tuple[str, ...]
    clips: bool
    as_served: bool

    def write(self, folder: Path) -> None:
        """Store the specification in the folder, so that only the same one can resume it.

        Raises: SpecMismatch.
        """
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / SPEC_FILE
        text = json.dumps({"world": WORLD_VERSION, **asdict(self)}, indent=2) + "\n"
        if file.exists() and file.read_text() != text:
            raise SpecMismatch(f"{file} has another seed, length, rate or kind")
        file.write_text(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSpec:
    """One actor's video at one rate; an actor belongs to one split only."""

    actor: int
    name: str
    split_folder: str
    rate: str


def iter_clip_specs(spec: DatasetSpec, actor_count: int) -> Iterator[ClipSpec]:
    """Iterate over the clips: one rate per actor, in turn; with `clips` every rate of every actor.

    The turn shifts with every round of the split pattern, so that each split has every rate.
    """
    for index in range(actor_count):
        actor = spec.seed * _ACTORS_PER_SEED + index
        split_folder = SPLIT_FOLDERS["TVX".index(_SPLIT_PATTERN[index % len(_SPLIT_PATTERN)])]
        if not spec.clips:
            rate = spec.rates[(index + index // len(_SPLIT_PATTERN)) % len(spec.rates)]
            yield ClipSpec(
                actor=actor, name=f"actor{actor:07d}", split_folder=split_folder, rate=rate
            )
            continue
        for rate in spec.rates:
            yield ClipSpec(
                actor=actor, name=f"actor{actor:07d}-{rate}", split_folder="Test_Set", rate=rate
            )
