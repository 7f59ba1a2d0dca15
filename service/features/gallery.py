"""Who has been followed and is out of sight, and which of them a new face is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from service.domain.arrays import Floats
from service.domain.state import State
from service.features.people import RESEMBLES, Newcomer, Person

MAX_REMEMBERED: Final = 64


class Gallery:
    """The people of a clip who are out of sight; the longest gone are forgotten."""

    def __init__(self) -> None:
        self._gone: dict[int, Person] = {}
        self._tracks = 0

    def save(self) -> State:
        """All that is remembered."""
        gone = [person.save() for person in self._gone.values()]
        return {"gone": gone, "tracks": self._tracks}

    def restore(self, state: State) -> None:
        """Be as one that was saved."""
        people = [Person.of(each) for each in state["gone"]]
        self._gone = {person.track: person for person in people}
        self._tracks = state["tracks"]

    def leave(self, person: Person) -> None:
        """Remember someone who is lost."""
        self._gone[person.track] = person
        if len(self._gone) > MAX_REMEMBERED:
            del self._gone[min(self._gone.values(), key=lambda each: each.last_picture).track]

    def change_scene(self) -> None:
        """Where someone was says nothing any more."""
        for person in self._gone.values():
            person.is_placed = False

    def name(self, newcomers: Sequence[Newcomer], picture: int) -> list[Person]:
        """Who the new faces of a picture are: each someone who was gone, or someone new."""
        costs = {
            (row, track): person.cost(newcomer, picture)
            for row, newcomer in enumerate(newcomers)
            for track, person in self._gone.items()
        }
        named: dict[int, Person] = {}
        for row, track in sorted(costs, key=costs.__getitem__):
            if math.isfinite(costs[row, track]) and row not in named and track in self._gone:
                named[row] = self._gone.pop(track)
        return [
            named.get(row) or self._admit(newcomer, picture)
            for row, newcomer in enumerate(newcomers)
        ]

    def recall(self, description: Floats, *, below: float) -> Person | None:
        """Whoever is gone and looks like this, differing by less than so many spreads."""
        likeness = {
            track: person.profile.difference(description) for track, person in self._gone.items()
        }
        closest = min(likeness, key=likeness.__getitem__, default=None)
        if closest is None or likeness[closest] > min(below, RESEMBLES):
            return None
        return self._gone.pop(closest)

    def _admit(self, newcomer: Newcomer, picture: int) -> Person:
        self._tracks += 1
        return Person(track=self._tracks, box=newcomer.box, last_picture=picture)
