"""The faces in the picture, and whose each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from service.domain.arrays import Bytes, Floats
from service.domain.clip import FaceBox
from service.features.appearance import describe
from service.features.gallery import Gallery
from service.features.lookout import SAME_FACE
from service.features.mesh import Mesh, box_of
from service.features.people import Newcomer, Person, overlap_of

TAKEOVER_AREA: Final = 1.5
"""With as many faces as are followed, a newcomer this many times larger replaces the smallest."""
MISTAKEN: Final = 0.8
"""A face is someone else's when it is so much more like them, in spreads."""
SOMEONE_ELSE: Final = 2.0
"""After a cut, a face that differs more is another person's, in spreads."""


@dataclass(slots=True, kw_only=True, eq=False)
class Followed:
    """A face in the last picture, and whose it is."""

    person: Person
    mesh: Mesh
    box: FaceBox


class Company:
    """Everyone who is followed, and everyone who was."""

    def __init__(self, *, most_faces: int) -> None:
        self._most_faces = most_faces
        self._gallery = Gallery()
        self.followed: list[Followed] = []
        self.is_crowded = False
        """Whether there were more faces at a time than are followed."""

    def lose(self, lost: Followed) -> None:
        """Someone is out of sight."""
        self.followed.remove(lost)
        self._gallery.leave(lost.person)

    def welcome(self, picture: Bytes, meshes: Sequence[Mesh], number: int) -> None:
        """Follow new faces, the largest where there are too many."""
        admitted = [mesh for mesh in meshes if self._make_room(box_of(mesh))]
        admitted = admitted[: self._most_faces - len(self.followed)]
        self.is_crowded |= len(admitted) < len(meshes)
        newcomers = [_newcomer(picture, mesh) for mesh in admitted]
        people = self._gallery.name(newcomers, number)
        for mesh, newcomer, person in zip(admitted, newcomers, people, strict=True):
            person.profile.learn(newcomer.description)
            self.followed.append(Followed(person=person, mesh=mesh, box=newcomer.box))

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

    def meet_again(self, picture: Bytes, number: int) -> None:
        """After a cut: a face in the same place may be another's."""
        self._gallery.change_scene()
        strangers: list[tuple[Followed, Newcomer]] = []
        for each in self.followed:
            face = _newcomer(picture, each.mesh)
            each.person.is_placed = False
            if each.person.profile.difference(face.description) > SOMEONE_ELSE:
                strangers.append((each, face))
        for each, _ in strangers:
            self._gallery.leave(each.person)
        people = self._gallery.name([face for _, face in strangers], number)
        for (each, face), person in zip(strangers, people, strict=True):
            each.person = person
            person.profile.learn(face.description)

    def learn(self, picture: Bytes) -> None:
        """Look at everybody: whoever was mistaken for another is put right."""
        seen = {each: describe(picture, each.mesh.points) for each in self.followed}
        for one, other in combinations(self.followed, 2):
            kept = _unlike(one, seen[one]) + _unlike(other, seen[other])
            swapped = _unlike(one, seen[other]) + _unlike(other, seen[one])
            if kept - swapped > 2 * MISTAKEN:
                one.person, other.person = other.person, one.person
        for each, description in seen.items():
            limit = _unlike(each, description) - MISTAKEN
            found = self._gallery.recall(description, below=limit)
            if found is not None:
                self._gallery.leave(each.person)
                each.person = found
            if self._is_apart(each):
                each.person.profile.learn(description)

    def _make_room(self, box: FaceBox) -> bool:
        if len(self.followed) < self._most_faces:
            return True
        smallest = min(self.followed, key=lambda each: _area(each.box))
        if _area(box) < TAKEOVER_AREA * _area(smallest.box):
            return False
        self.is_crowded = True
        self.lose(smallest)
        return True

    def _is_apart(self, one: Followed) -> bool:
        return not any(
            overlap_of(one.box, other.box) > 0 for other in self.followed if other is not one
        )


def _unlike(followed: Followed, description: Floats) -> float:
    return followed.person.profile.difference(description)


def _newcomer(picture: Bytes, mesh: Mesh) -> Newcomer:
    return Newcomer(box=box_of(mesh), description=describe(picture, mesh.points))


def _area(box: FaceBox) -> float:
    return box.width * box.height
