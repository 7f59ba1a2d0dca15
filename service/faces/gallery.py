"""Who has been followed and is out of sight, and which of them a new face is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from service.domain.array_types import Float32Array
from service.domain.snapshot_codec import State
from service.faces.identity import MATCH_DISTANCE, Identity, UnmatchedFace

MAX_GALLERY_SIZE: Final = 64


class Gallery:
    """The people of a clip who are out of sight; the longest gone are forgotten."""

    def __init__(self) -> None:
        self._identities: dict[int, Identity] = {}
        self._track_count = 0

    def save(self) -> State:
        """All that is remembered."""
        identities = [person.save() for person in self._identities.values()]
        return {"gone": identities, "tracks": self._track_count}

    def restore(self, state: State) -> None:
        """Be as one that was saved."""
        people = [Identity.from_state(each) for each in state["gone"]]
        self._identities = {person.track: person for person in people}
        self._track_count = state["tracks"]

    def add(self, identity: Identity) -> None:
        """Remember someone who is lost."""
        self._identities[identity.track] = identity
        if len(self._identities) > MAX_GALLERY_SIZE:
            del self._identities[
                min(self._identities.values(), key=lambda each: each.last_picture).track
            ]

    def forget_positions(self) -> None:
        """Where someone was says nothing any more."""
        for person in self._identities.values():
            person.is_position_valid = False

    def match(self, faces: Sequence[UnmatchedFace], picture: int) -> list[Identity]:
        """Who the new faces of a picture are: each someone who was gone, or someone new."""
        costs = {
            (row, track): person.matching_cost(face, picture)
            for row, face in enumerate(faces)
            for track, person in self._identities.items()
        }
        named: dict[int, Identity] = {}
        for row, track in sorted(costs, key=costs.__getitem__):
            if math.isfinite(costs[row, track]) and row not in named and track in self._identities:
                named[row] = self._identities.pop(track)
        return [
            named.get(row) or self._create_identity(newcomer, picture)
            for row, newcomer in enumerate(faces)
        ]

    def reidentify(self, description: Float32Array, *, below: float) -> Identity | None:
        """Whoever is gone and looks like this, differing by less than so many spreads."""
        likeness = {
            track: person.appearance.distance(description)
            for track, person in self._identities.items()
        }
        closest = min(likeness, key=likeness.__getitem__, default=None)
        if closest is None or likeness[closest] > min(below, MATCH_DISTANCE):
            return None
        return self._identities.pop(closest)

    def _create_identity(self, face: UnmatchedFace, picture: int) -> Identity:
        self._track_count += 1
        return Identity(track=self._track_count, box=face.box, last_picture=picture)
