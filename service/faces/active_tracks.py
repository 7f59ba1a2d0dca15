"""Active tracks: the faces in the picture, and the identity of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.domain.clip import FaceBox
from service.faces.appearance import COLOUR_CHANGE_THRESHOLD, describe_appearance, sample_colours
from service.faces.detections import ActiveTrackSnapshot, ActiveTracksSnapshot
from service.faces.identity import (
    SAME_FACE_OVERLAP,
    Gallery,
    Identity,
    UnmatchedFace,
    compute_overlap,
)
from service.faces.mesh import Mesh, compute_bounding_box

TAKEOVER_AREA_RATIO: Final = 1.5
"""A new face this many times larger replaces the smallest one at the limit of tracks."""
REASSIGNMENT_MARGIN: Final = 0.8
"""An identity is reassigned when another is closer by this, in standard deviations."""
IDENTITY_CHANGE_DISTANCE: Final = 2.0
"""A face that changed at once and is farther from its identity than this has another one."""
MAX_MISMATCHES: Final = 3
"""Limit of mismatches in a row; a face then has another identity."""


@dataclass(slots=True, kw_only=True, eq=False)
class ActiveTrack:
    """A face in the last picture, and its identity."""

    identity: Identity
    mesh: Mesh
    box: FaceBox
    colours: Int64Array
    mismatches: int = 0
    """Appearance checks in a row at which it differed from its identity."""

    def snapshot(self) -> ActiveTrackSnapshot:
        """Return the state."""
        return ActiveTrackSnapshot(
            identity=self.identity.snapshot(),
            mesh=self.mesh,
            box=self.box,
            colours=self.colours,
            mismatches=self.mismatches,
        )

    @staticmethod
    def from_snapshot(snapshot: ActiveTrackSnapshot) -> ActiveTrack:
        """Make a track that continues from a snapshot."""
        return ActiveTrack(
            identity=Identity.from_snapshot(snapshot.identity),
            mesh=snapshot.mesh,
            box=snapshot.box,
            colours=snapshot.colours,
            mismatches=snapshot.mismatches,
        )


class ActiveTracks:
    """Tracks in the picture, and the gallery of those out of it.

    `number` in its methods: the ordinal of the picture in the clip.
    """

    def __init__(self, *, max_faces: int) -> None:
        self._max_faces = max_faces
        self._gallery = Gallery()
        self.tracks: list[ActiveTrack] = []
        self.is_crowded = False
        """True once a picture had more faces than are tracked."""

    def snapshot(self) -> ActiveTracksSnapshot:
        """Return the state."""
        return ActiveTracksSnapshot(
            tracks=tuple(each.snapshot() for each in self.tracks),
            gallery=self._gallery.snapshot(),
            is_crowded=self.is_crowded,
        )

    def restore(self, snapshot: ActiveTracksSnapshot) -> None:
        """Continue from a snapshot."""
        self.tracks = [ActiveTrack.from_snapshot(each) for each in snapshot.tracks]
        self._gallery.restore(snapshot.gallery)
        self.is_crowded = snapshot.is_crowded

    def end(self, track: ActiveTrack) -> None:
        """Move a lost track to the gallery."""
        self.tracks.remove(track)
        self._gallery.add(track.identity)

    def start(self, picture: UInt8Array, meshes: Sequence[Mesh], number: int) -> None:
        """Start tracks of new faces, the largest where there are too many."""
        admitted = [mesh for mesh in meshes if self._make_room(compute_bounding_box(mesh))]
        admitted = admitted[: self._max_faces - len(self.tracks)]
        self.is_crowded |= len(admitted) < len(meshes)
        faces = [_describe_face(picture, mesh) for mesh in admitted]
        identities = self._gallery.match(faces, number)
        for mesh, face, identity in zip(admitted, faces, identities, strict=True):
            identity.appearance.update(face.description)
            colours = sample_colours(picture, mesh.points)
            self.tracks.append(
                ActiveTrack(identity=identity, mesh=mesh, box=face.box, colours=colours)
            )

    def resolve_overlaps(self, picture: UInt8Array, number: int) -> bool:
        """End one of two tracks on the same face: the one whose identity differs more from it."""
        has_ended_any = False
        for one, other in combinations([*self.tracks], 2):
            both = one in self.tracks and other in self.tracks
            if both and compute_overlap(one.box, other.box) > SAME_FACE_OVERLAP:
                costs = {
                    each: each.identity.matching_cost(_describe_face(picture, each.mesh), number)
                    for each in (one, other)
                }
                self.end(max(costs, key=costs.__getitem__))
                has_ended_any = True
        return has_ended_any

    def check_identity_changes(self, picture: UInt8Array, number: int, *, is_cut: bool) -> None:
        """Re-identify faces that changed at once and no longer match; after a cut, check all."""
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
        """Check all appearances: swap or re-identify mismatched identities, update the others."""
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
            distance = _appearance_distance(each, description)
            is_mismatch = (
                distance > IDENTITY_CHANGE_DISTANCE and each.identity.appearance.is_reliable
            )
            each.mismatches = each.mismatches + 1 if is_mismatch else 0
            found = self._gallery.reidentify(description, below=distance - REASSIGNMENT_MARGIN)
            if found is not None:
                self._gallery.add(each.identity)
                each.identity, each.mismatches = found, 0
            elif each.mismatches == MAX_MISMATCHES:
                mismatched.append(each)
            if not each.mismatches:
                each.identity.appearance.update(description)
        self._reidentify(picture, mismatched, number)

    def _reidentify(
        self, picture: UInt8Array, mismatched: Sequence[ActiveTrack], number: int
    ) -> None:
        """Give mismatched tracks other identities."""
        faces = [_describe_face(picture, each.mesh) for each in mismatched]
        for each in mismatched:
            each.identity.is_position_valid = False
            self._gallery.add(each.identity)
        identities = self._gallery.match(faces, number)
        for each, face, identity in zip(mismatched, faces, identities, strict=True):
            each.identity, each.mismatches = identity, 0
            identity.appearance.update(face.description)

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
        """Return whether no other head or shoulders overlap this one's."""
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
    """Extend the box of a face to head and shoulders."""
    return replace(
        box,
        left=box.left - 0.5 * box.width,
        width=2 * box.width,
        top=box.top - 0.2 * box.height,
        height=2 * box.height,
    )


def _area(box: FaceBox) -> float:
    return box.width * box.height
