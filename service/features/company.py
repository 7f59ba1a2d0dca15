"""The faces in the picture, and whose each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np

from service.domain.arrays import Bytes, Floats, Integers
from service.domain.clip import FaceBox
from service.domain.state import State
from service.features.appearance import CHANGE_LEVELS, describe, sample
from service.features.gallery import Gallery
from service.features.lookout import SAME_FACE
from service.features.mesh import Mesh, box_of
from service.features.people import Newcomer, Person, overlap_of

TAKEOVER_AREA: Final = 1.5
"""With as many faces as are followed, a newcomer this many times larger replaces the smallest."""
MISTAKEN: Final = 0.8
"""A face is someone else's when it is so much more like them, in spreads."""
SOMEONE_ELSE: Final = 2.0
"""A face that changed at once and differs more than this is another person's, in spreads."""
MAX_DOUBTS: Final = 3
"""After so many looks at which a face was not like its person, it is someone else's."""


@dataclass(slots=True, kw_only=True, eq=False)
class Followed:
    """A face in the last picture, and whose it is."""

    person: Person
    mesh: Mesh
    box: FaceBox
    colours: Integers
    doubts: int = 0
    """Looks in a row at which it was not like its person."""

    def save(self) -> State:
        """All that is known of it."""
        return {
            "person": self.person.save(),
            "points": self.mesh.points,
            "score": self.mesh.score,
            "box": asdict(self.box),
            "colours": self.colours,
            "doubts": self.doubts,
        }

    @staticmethod
    def of(state: State) -> Followed:
        """The same again."""
        return Followed(
            person=Person.of(state["person"]),
            mesh=Mesh(points=state["points"], score=state["score"]),
            box=FaceBox(**state["box"]),
            colours=state["colours"],
            doubts=state["doubts"],
        )


class Company:
    """Everyone who is followed, and everyone who was."""

    def __init__(self, *, max_faces: int) -> None:
        self._max_faces = max_faces
        self._gallery = Gallery()
        self.followed: list[Followed] = []
        self.is_crowded = False
        """Whether there were more faces at a time than are followed."""

    def save(self) -> State:
        """Everyone, as they are."""
        followed = [each.save() for each in self.followed]
        gallery, is_crowded = self._gallery.save(), self.is_crowded
        return {"followed": followed, "gallery": gallery, "is_crowded": is_crowded}

    def restore(self, state: State) -> None:
        """Be as a company that was saved."""
        self.followed = [Followed.of(each) for each in state["followed"]]
        self._gallery.restore(state["gallery"])
        self.is_crowded = state["is_crowded"]

    def lose(self, lost: Followed) -> None:
        """Someone is out of sight."""
        self.followed.remove(lost)
        self._gallery.leave(lost.person)

    def welcome(self, picture: Bytes, meshes: Sequence[Mesh], number: int) -> None:
        """Follow new faces, the largest where there are too many."""
        admitted = [mesh for mesh in meshes if self._make_room(box_of(mesh))]
        admitted = admitted[: self._max_faces - len(self.followed)]
        self.is_crowded |= len(admitted) < len(meshes)
        newcomers = [_newcomer(picture, mesh) for mesh in admitted]
        people = self._gallery.name(newcomers, number)
        for mesh, newcomer, person in zip(admitted, newcomers, people, strict=True):
            person.profile.learn(newcomer.description)
            colours = sample(picture, mesh.points)
            self.followed.append(
                Followed(person=person, mesh=mesh, box=newcomer.box, colours=colours)
            )

    def part(self, picture: Bytes, number: int) -> bool:
        """Where two have come to follow one face, it is left to whom it is more like."""
        has_parted = False
        for one, other in combinations([*self.followed], 2):
            both = one in self.followed and other in self.followed
            if both and overlap_of(one.box, other.box) > SAME_FACE:
                costs = {
                    each: each.person.cost(_newcomer(picture, each.mesh), number)
                    for each in (one, other)
                }
                self.lose(max(costs, key=costs.__getitem__))
                has_parted = True
        return has_parted

    def check(self, picture: Bytes, number: int, *, is_cut: bool) -> None:
        """Where a face has changed at once, it may have become another's; after a cut all may."""
        if is_cut:
            self._gallery.change_scene()
        strangers: list[Followed] = []
        for each in self.followed:
            colours = sample(picture, each.mesh.points)
            change = float(np.abs(colours - each.colours).mean())
            each.colours = colours
            each.person.is_placed &= not is_cut
            if is_cut or (change > CHANGE_LEVELS and self._is_apart(each)):
                description = describe(picture, each.mesh.points)
                if _unlike(each, description) > SOMEONE_ELSE:
                    strangers.append(each)
        self._rename(picture, strangers, number)

    def learn(self, picture: Bytes, number: int) -> None:
        """Look at everybody: whoever was mistaken for another is put right."""
        seen = {
            each: describe(picture, each.mesh.points)
            for each in self.followed
            if self._is_apart(each)
        }
        for one, other in combinations(seen, 2):
            kept = _unlike(one, seen[one]) + _unlike(other, seen[other])
            swapped = _unlike(one, seen[other]) + _unlike(other, seen[one])
            if kept - swapped > 2 * MISTAKEN:
                one.person, other.person = other.person, one.person
        strangers: list[Followed] = []
        for each, description in seen.items():
            unlike = _unlike(each, description)
            is_odd = unlike > SOMEONE_ELSE and each.person.profile.is_settled
            each.doubts = each.doubts + 1 if is_odd else 0
            found = self._gallery.recall(description, below=unlike - MISTAKEN)
            if found is not None:
                self._gallery.leave(each.person)
                each.person, each.doubts = found, 0
            elif each.doubts == MAX_DOUBTS:
                strangers.append(each)
            if not each.doubts:
                each.person.profile.learn(description)
        self._rename(picture, strangers, number)

    def _rename(self, picture: Bytes, strangers: Sequence[Followed], number: int) -> None:
        """These are not who they were taken for."""
        faces = [_newcomer(picture, each.mesh) for each in strangers]
        for each in strangers:
            each.person.is_placed = False
            self._gallery.leave(each.person)
        people = self._gallery.name(faces, number)
        for each, face, person in zip(strangers, faces, people, strict=True):
            each.person, each.doubts = person, 0
            person.profile.learn(face.description)

    def _make_room(self, box: FaceBox) -> bool:
        if len(self.followed) < self._max_faces:
            return True
        smallest = min(self.followed, key=lambda each: _area(each.box))
        if _area(box) < TAKEOVER_AREA * _area(smallest.box):
            return False
        self.is_crowded = True
        self.lose(smallest)
        return True

    def _is_apart(self, one: Followed) -> bool:
        """Whether nobody's head or shoulders are before one's own."""
        around = _around(one.box)
        others = (each.box for each in self.followed if each is not one)
        return not any(overlap_of(around, _around(box)) > 0 for box in others)


def _unlike(followed: Followed, description: Floats) -> float:
    return followed.person.profile.difference(description)


def _newcomer(picture: Bytes, mesh: Mesh) -> Newcomer:
    return Newcomer(box=box_of(mesh), description=describe(picture, mesh.points))


def _around(box: FaceBox) -> FaceBox:
    """Head and shoulders."""
    return replace(
        box,
        left=box.left - 0.5 * box.width,
        width=2 * box.width,
        top=box.top - 0.2 * box.height,
        height=2 * box.height,
    )


def _area(box: FaceBox) -> float:
    return box.width * box.height
