"""The faces in the picture, and whose each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.domain.clip import FaceBox
from service.domain.snapshot_codec import State
from service.faces.appearance import COLOUR_CHANGE_THRESHOLD, describe_appearance, sample_colours
from service.faces.face_search import SAME_FACE_OVERLAP
from service.faces.gallery import Gallery
from service.faces.identity import Identity, UnmatchedFace, compute_overlap
from service.faces.mesh import Mesh, compute_bounding_box

TAKEOVER_AREA_RATIO: Final = 1.5
"""With as many faces as are followed, a newcomer this many times larger replaces the smallest."""
REASSIGNMENT_MARGIN: Final = 0.8
"""A face is someone else's when it is so much more like them, in spreads."""
IDENTITY_CHANGE_DISTANCE: Final = 2.0
"""A face that changed at once and differs more than this is another person's, in spreads."""
MAX_MISMATCHES: Final = 3
"""After so many looks at which a face was not like its person, it is someone else's."""


@dataclass(slots=True, kw_only=True, eq=False)
class ActiveTrack:
    """A face in the last picture, and whose it is."""

    identity: Identity
    mesh: Mesh
    box: FaceBox
    colours: Int64Array
    mismatches: int = 0
    """Looks in a row at which it was not like its person."""

    def save(self) -> State:
        """All that is known of it."""
        return {
            "person": self.identity.save(),
            "points": self.mesh.points,
            "score": self.mesh.score,
            "box": asdict(self.box),
            "colours": self.colours,
            "doubts": self.mismatches,
        }

    @staticmethod
    def from_state(state: State) -> ActiveTrack:
        """The same again."""
        return ActiveTrack(
            identity=Identity.from_state(state["person"]),
            mesh=Mesh(points=state["points"], score=state["score"]),
            box=FaceBox(**state["box"]),
            colours=state["colours"],
            mismatches=state["doubts"],
        )


class ActiveTracks:
    """Everyone who is followed, and everyone who was."""

    def __init__(self, *, max_faces: int) -> None:
        self._max_faces = max_faces
        self._gallery = Gallery()
        self.tracks: list[ActiveTrack] = []
        self.is_crowded = False
        """Whether there were more faces at a time than are followed."""

    def save(self) -> State:
        """Everyone, as they are."""
        followed = [each.save() for each in self.tracks]
        gallery, is_crowded = self._gallery.save(), self.is_crowded
        return {"followed": followed, "gallery": gallery, "is_crowded": is_crowded}

    def restore(self, state: State) -> None:
        """Be as a company that was saved."""
        self.tracks = [ActiveTrack.from_state(each) for each in state["followed"]]
        self._gallery.restore(state["gallery"])
        self.is_crowded = state["is_crowded"]

    def end(self, track: ActiveTrack) -> None:
        """Someone is out of sight."""
        self.tracks.remove(track)
        self._gallery.add(track.identity)

    def start(self, picture: UInt8Array, meshes: Sequence[Mesh], number: int) -> None:
        """Follow new faces, the largest where there are too many."""
        admitted = [mesh for mesh in meshes if self._make_room(compute_bounding_box(mesh))]
        admitted = admitted[: self._max_faces - len(self.tracks)]
        self.is_crowded |= len(admitted) < len(meshes)
        faces = [_describe_face(picture, mesh) for mesh in admitted]
        people = self._gallery.match(faces, number)
        for mesh, face, person in zip(admitted, faces, people, strict=True):
            person.appearance.update(face.description)
            colours = sample_colours(picture, mesh.points)
            self.tracks.append(
                ActiveTrack(identity=person, mesh=mesh, box=face.box, colours=colours)
            )

    def resolve_overlaps(self, picture: UInt8Array, number: int) -> bool:
        """Where two have come to follow one face, it is left to whom it is more like."""
        has_parted = False
        for one, other in combinations([*self.tracks], 2):
            both = one in self.tracks and other in self.tracks
            if both and compute_overlap(one.box, other.box) > SAME_FACE_OVERLAP:
                costs = {
                    each: each.identity.matching_cost(_describe_face(picture, each.mesh), number)
                    for each in (one, other)
                }
                self.end(max(costs, key=costs.__getitem__))
                has_parted = True
        return has_parted

    def check_identity_changes(self, picture: UInt8Array, number: int, *, is_cut: bool) -> None:
        """Where a face has changed at once, it may have become another's; after a cut all may."""
        if is_cut:
            self._gallery.forget_positions()
        mismatched: list[ActiveTrack] = []
        for each in self.tracks:
            colours = sample_colours(picture, each.mesh.points)
            change = float(np.abs(colours - each.colours).mean())
            each.colours = colours
            each.identity.is_position_valid &= not is_cut
            if is_cut or (change > COLOUR_CHANGE_THRESHOLD and self._is_unoccluded(each)):
                description = describe_appearance(picture, each.mesh.points)
                if _appearance_distance(each, description) > IDENTITY_CHANGE_DISTANCE:
                    mismatched.append(each)
        self._reidentify(picture, mismatched, number)

    def update_appearances(self, picture: UInt8Array, number: int) -> None:
        """Look at everybody: whoever was mistaken for another is put right."""
        descriptions = {
            each: describe_appearance(picture, each.mesh.points)
            for each in self.tracks
            if self._is_unoccluded(each)
        }
        for one, other in combinations(descriptions, 2):
            unswapped = _appearance_distance(one, descriptions[one]) + _appearance_distance(
                other, descriptions[other]
            )
            swapped = _appearance_distance(one, descriptions[other]) + _appearance_distance(
                other, descriptions[one]
            )
            if unswapped - swapped > 2 * REASSIGNMENT_MARGIN:
                one.identity, other.identity = other.identity, one.identity
        mismatched: list[ActiveTrack] = []
        for each, description in descriptions.items():
            unlike = _appearance_distance(each, description)
            is_odd = unlike > IDENTITY_CHANGE_DISTANCE and each.identity.appearance.is_reliable
            each.mismatches = each.mismatches + 1 if is_odd else 0
            found = self._gallery.reidentify(description, below=unlike - REASSIGNMENT_MARGIN)
            if found is not None:
                self._gallery.add(each.identity)
                each.identity, each.mismatches = found, 0
            elif each.mismatches == MAX_MISMATCHES:
                mismatched.append(each)
            if not each.mismatches:
                each.identity.appearance.update(description)
        self._reidentify(picture, mismatched, number)

    def _reidentify(
        self, picture: UInt8Array, strangers: Sequence[ActiveTrack], number: int
    ) -> None:
        """These are not who they were taken for."""
        faces = [_describe_face(picture, each.mesh) for each in strangers]
        for each in strangers:
            each.identity.is_position_valid = False
            self._gallery.add(each.identity)
        people = self._gallery.match(faces, number)
        for each, face, person in zip(strangers, faces, people, strict=True):
            each.identity, each.mismatches = person, 0
            person.appearance.update(face.description)

    def _make_room(self, box: FaceBox) -> bool:
        if len(self.tracks) < self._max_faces:
            return True
        smallest = min(self.tracks, key=lambda each: _area(each.box))
        if _area(box) < TAKEOVER_AREA_RATIO * _area(smallest.box):
            return False
        self.is_crowded = True
        self.end(smallest)
        return True

    def _is_unoccluded(self, track: ActiveTrack) -> bool:
        """Whether nobody's head or shoulders are before one's own."""
        around = _head_and_shoulders_box(track.box)
        others = (each.box for each in self.tracks if each is not track)
        return not any(compute_overlap(around, _head_and_shoulders_box(box)) > 0 for box in others)


def _appearance_distance(track: ActiveTrack, description: Float32Array) -> float:
    return track.identity.appearance.distance(description)


def _describe_face(picture: UInt8Array, mesh: Mesh) -> UnmatchedFace:
    return UnmatchedFace(
        box=compute_bounding_box(mesh), description=describe_appearance(picture, mesh.points)
    )


def _head_and_shoulders_box(box: FaceBox) -> FaceBox:
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
