"""What is to be synthesised, and what of it is one piece of work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

SPEC_FILE: Final = "synthesis.json"
WORLD_VERSION: Final = 1
"""Goes up when the same seed looks, sounds or feels different."""
SPLIT_FOLDERS: Final = ("Train_Set", "Validation_Set", "Test_Set")

_SPLIT_PATTERN: Final = "TVXTTXTTVTXTTXT"
"""Of every 15 actors 9 train, 2 validate, 4 are held out: Aff-Wild2's 356, 76, 162 videos."""
_ACTORS_PER_SEED: Final = 100_000


class SpecMismatch(Exception):
    """The folder holds another world."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """A data set or a set of clips. rates: names of `rates.RATES`.

    as_served: whole pictures, coded, decoded, found and aligned as the service does it, rather
        than crops drawn at once.
    """

    seed: int
    seconds: float
    rates: tuple[str, ...]
    clips: bool
    as_served: bool

    def write(self, folder: Path) -> None:
        """Note the order in the folder, so that it is gone on with and never mixed.

        Raises: OrderDiffers.
        """
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / SPEC_FILE
        text = json.dumps({"world": WORLD_VERSION, **asdict(self)}, indent=2) + "\n"
        if file.exists() and file.read_text() != text:
            raise SpecMismatch(f"{file} names another seed, length, rate or kind")
        file.write_text(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSpec:
    """One actor's video at one rate. part: of the split; the actor belongs to one only."""

    actor: int
    name: str
    split_folder: str
    rate: str


def iter_clip_specs(spec: DatasetSpec, actor_count: int) -> Iterator[ClipSpec]:
    """A data set has one rate an actor, in turn; clips have every rate of every actor.

    The turn shifts with every round of the split, so that each part meets every rate.
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
