"""What is to be synthesised, and what of it is one piece of work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

ORDER_FILE: Final = "synthesis.json"
WORLD_VERSION: Final = 1
"""Goes up when the same seed looks, sounds or feels different."""
PARTS: Final = ("Train_Set", "Validation_Set", "Test_Set")

_SPLIT: Final = "TVXTTXTTVTXTTXT"
"""Of every 15 actors 9 train, 2 validate, 4 are held out: Aff-Wild2's 356, 76, 162 videos."""
_ACTORS_PER_SEED: Final = 100_000


class OrderDiffers(Exception):
    """The folder holds another world."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
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
        file = folder / ORDER_FILE
        text = json.dumps({"world": WORLD_VERSION, **asdict(self)}, indent=2) + "\n"
        if file.exists() and file.read_text() != text:
            raise OrderDiffers(f"{file} names another seed, length, rate or kind")
        file.write_text(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One actor's video at one rate. part: of the split; the actor belongs to one only."""

    actor: int
    name: str
    part: str
    rate: str


def pieces_of(order: Order, actors: int) -> Iterator[Piece]:
    """A data set has one rate an actor, in turn; clips have every rate of every actor.

    The turn shifts with every round of the split, so that each part meets every rate.
    """
    for index in range(actors):
        actor = order.seed * _ACTORS_PER_SEED + index
        part = PARTS["TVX".index(_SPLIT[index % len(_SPLIT)])]
        if not order.clips:
            rate = order.rates[(index + index // len(_SPLIT)) % len(order.rates)]
            yield Piece(actor=actor, name=f"actor{actor:07d}", part=part, rate=rate)
            continue
        for rate in order.rates:
            yield Piece(actor=actor, name=f"actor{actor:07d}-{rate}", part="Test_Set", rate=rate)
