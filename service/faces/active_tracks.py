"""Active tracks: the faces in the picture, and the identity of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import combinations
from typing import Final

import numpy as np

from service.domain.clip import FaceBox
from service.domain.planar_picture import PlanarPicture
from service.faces.active_track import ActiveTrack
from service.faces.appearance import (
    COLOUR_CHANGE_THRESHOLD,
    DISCARDED_PICTURES,
    describe_appearance,
    sample_colours,
)
from service.faces.detections import (
    ActiveTracksSnapshot,
    AppearanceSample,
)
from service.faces.identity import (
    SAME_FACE_OVERLAP,
    Gallery,
    UnmatchedFace,
    compute_overlap,
)
from service.faces.mesh import Mesh, compute_bounding_box
from service.faces.scene_changes import SceneChangeDetector
from service.faces.structure import measure_structure

TAKEOVER_AREA_RATIO: Final = 1.5
"""A new face this many times larger replaces the smallest one at the limit of tracks."""
REASSIGNMENT_MARGIN: Final = 0.8
"""An identity is reassigned when another is closer by this, in standard deviations."""
IDENTITY_CHANGE_DISTANCE: Final = 1.7
"""A face in a new scene that is farther from its identity than this has another one."""
SIMILAR_FACE: Final = 0.8
SIMILAR_CHANGE_DISTANCE: Final = 2.0
"""The same limit for a face whose structure is so similar."""
MAX_MISMATCHES: Final = 3
"""Limit of mismatches in a row; a face in doubt then has another identity."""
MIN_IDENTITY_SCORE: Final = 0.9
"""Limit of the mesh's score below which a face may be covered, and is not compared."""
YOUNG_PICTURES: Final = 60
"""A track of fewer pictures may still turn out to be somebody who returned."""
SAME_PLACE_OVERLAP: Final = 0.85
"""Boxes of one scene whose intersection is this share of their union are of one face."""
SAME_FACE_SIMILARITY: Final = 0.85
"""A face whose structure is this similar to the last picture's is the same one."""
OTHER_FACE_SIMILARITY: Final = 0.5
"""A face whose structure, or whose surroundings', is less similar may be another one."""
STEADY_SIMILARITY: Final = 0.9
STEADY_PICTURES: Final = 2
"""A face that changes between steady pictures was replaced by another; a hand takes several."""


class FaceChange(StrEnum):
    """Change of a face from the last picture: of the whole person, or of the scene around."""

    NONE = "none"
    PERSON = "person"
    SCENE = "scene"


class ActiveTracks:
    """Tracks in the picture, and the gallery of those out of it.

    `number` in its methods: the ordinal of the picture in the clip.
    """

    def __init__(self, scene_changes: SceneChangeDetector, *, max_faces: int) -> None:
        self._scene_changes = scene_changes
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

    def end(self, track: ActiveTrack, number: int) -> None:
        """Move a track that was lost in a picture to the gallery."""
        self.tracks.remove(track)
        track.identity.appearance.settle(number - DISCARDED_PICTURES)
        self._gallery.add(track.identity)

    def start(self, picture: PlanarPicture, meshes: Sequence[Mesh], number: int) -> None:
        """Start tracks of new faces, the largest where there are too many."""
        admitted = [mesh for mesh in meshes if self._make_room(compute_bounding_box(mesh), number)]
        admitted = admitted[: self._max_faces - len(self.tracks)]
        self.is_crowded |= len(admitted) < len(meshes)
        faces = [self._describe_face(picture, mesh) for mesh in admitted]
        identities = self._gallery.match(faces, number)
        for mesh, face, identity in zip(admitted, faces, identities, strict=True):
            distance = identity.appearance.distance(face.appearance)
            is_certain = identity.pictures == 0 or distance < IDENTITY_CHANGE_DISTANCE
            if is_certain:
                identity.appearance.observe(face.appearance, number)
            self.tracks.append(
                ActiveTrack(
                    identity=identity,
                    mesh=mesh,
                    box=face.box,
                    colours=sample_colours(picture, mesh.points),
                    structure=face.appearance.structure,
                    is_doubted=not is_certain,
                )
            )

    def resolve_overlaps(self, picture: PlanarPicture, number: int) -> bool:
        """End one of two tracks on the same face: the one whose identity differs more from it."""
        has_ended_any = False
        for one, other in combinations([*self.tracks], 2):
            both = one in self.tracks and other in self.tracks
            overlap = compute_overlap(one.box, other.box) if both else 0.0
            if overlap > 0:
                one.is_doubted = other.is_doubted = True
            if overlap > SAME_FACE_OVERLAP:
                costs = {
                    each: each.identity.matching_cost(
                        self._describe_face(picture, each.mesh), number
                    )
                    for each in (one, other)
                }
                self.end(max(costs, key=costs.__getitem__), number)
                has_ended_any = True
        return has_ended_any

    def leave_scene(self, number: int) -> None:
        """End all tracks at the first picture of another scene."""
        for each in self.tracks:
            each.identity.leave_scene(number - 1)
            self._gallery.add(each.identity)
        self.tracks.clear()
        self._gallery.leave_scene(number - 1)

    def check_continuity(self, picture: PlanarPicture, number: int) -> bool:
        """Re-identify faces that were replaced, and end those whose surroundings were, too.

        Within a scene a face that stays in its place is the same, whatever it looks like. Returns:
        whether a track ended.
        """
        changing = self._scene_changes.changing_pictures
        ended: list[ActiveTrack] = []
        for each in self.tracks:
            change = self._compare_with_last(picture, each)
            if change is FaceChange.PERSON:
                each.identity.appearance.settle(number - 1)
                each.is_doubted, each.mismatches = True, MAX_MISMATCHES - 1
            elif change is FaceChange.SCENE:
                each.identity.appearance.settle(number - 1)
                each.identity.is_position_valid = False
                ended.append(each)
            elif changing is not None:
                each.identity.appearance.settle(number - changing)
                each.is_doubted, each.mismatches = True, MAX_MISMATCHES - 1
        for each in ended:
            self.tracks.remove(each)
            self._gallery.add(each.identity)
        return bool(ended)

    def update_appearances(self, picture: PlanarPicture, number: int) -> None:
        """Check the faces in doubt: swap or re-identify mismatched ones; learn the others."""
        samples = {
            each: self._describe(picture, each.mesh)
            for each in self.tracks
            if self._is_unoccluded(each) and each.mesh.score > MIN_IDENTITY_SCORE
        }
        self._swap_identities(samples)
        mismatched: list[ActiveTrack] = []
        for each, sample in samples.items():
            distance = each.identity.appearance.distance(sample)
            if each.is_doubted or each.identity.pictures < YOUNG_PICTURES:
                found = self._gallery.reidentify(sample, below=distance - REASSIGNMENT_MARGIN)
                if found is not None:
                    self._gallery.add(each.identity)
                    each.identity, each.is_doubted = found, False
            if each.is_doubted:
                strict_distance = each.identity.appearance.strict_distance(sample)
                is_similar = each.identity.appearance.similarity(sample) > SIMILAR_FACE
                limit = SIMILAR_CHANGE_DISTANCE if is_similar else IDENTITY_CHANGE_DISTANCE
                is_mismatch = strict_distance > limit
                each.mismatches = each.mismatches + 1 if is_mismatch else 0
                each.is_doubted = is_mismatch
                if each.mismatches >= MAX_MISMATCHES:
                    mismatched.append(each)
            if not each.is_doubted:
                each.mismatches = 0
                each.identity.appearance.observe(sample, number)
        self._reidentify(picture, mismatched, number)

    def _swap_identities(self, samples: Mapping[ActiveTrack, AppearanceSample]) -> None:
        """Swap the identities of two faces in doubt that fit better then."""
        doubted = [each for each in samples if each.is_doubted]
        for one, other in combinations(doubted, 2):
            one_looks, other_looks = one.identity.appearance, other.identity.appearance
            unswapped = one_looks.distance(samples[one]) + other_looks.distance(samples[other])
            swapped = one_looks.distance(samples[other]) + other_looks.distance(samples[one])
            if unswapped - swapped > 2 * REASSIGNMENT_MARGIN:
                one.identity, other.identity = other.identity, one.identity

    def _compare_with_last(self, picture: PlanarPicture, track: ActiveTrack) -> FaceChange:
        """Compare a face with itself before; one that changed with its place is in doubt."""
        if not track.is_measured:
            track.steady_pictures += 1
            return FaceChange.NONE
        colours = sample_colours(picture, track.mesh.points)
        structure = measure_structure(picture, track.mesh.points)
        last_colours, track.colours = track.colours, colours
        last_structure, track.structure = track.structure, structure or track.structure
        if structure is None or last_structure is None:
            return FaceChange.NONE
        similarity = structure.similarity(last_structure)
        steady, track.steady_pictures = track.steady_pictures, track.steady_pictures + 1
        if similarity > SAME_FACE_SIMILARITY:
            is_jump = steady == 0 and track.has_jumped and similarity > STEADY_SIMILARITY
            if similarity < STEADY_SIMILARITY:
                track.steady_pictures = 0
            track.has_jumped = False
            return FaceChange.PERSON if is_jump else FaceChange.NONE
        track.steady_pictures, track.has_jumped = 0, False
        expected = self._scene_changes.predict_colours(last_colours)
        change = float(np.abs(colours - expected).mean())
        if similarity > OTHER_FACE_SIMILARITY and change < COLOUR_CHANGE_THRESHOLD:
            return FaceChange.NONE
        surroundings = self._scene_changes.region_similarity(track.box)
        if surroundings is not None and surroundings < OTHER_FACE_SIMILARITY:
            return FaceChange.SCENE
        track.has_jumped = steady >= STEADY_PICTURES
        track.is_doubted |= track.overlap < SAME_PLACE_OVERLAP
        return FaceChange.NONE

    def _reidentify(
        self, picture: PlanarPicture, mismatched: Sequence[ActiveTrack], number: int
    ) -> None:
        """Give mismatched tracks identities that none of them had."""
        faces = [self._describe_face(picture, each.mesh) for each in mismatched]
        identities = self._gallery.match(faces, number)
        for each, face, identity in zip(mismatched, faces, identities, strict=True):
            each.identity.is_position_valid = False
            self._gallery.add(each.identity)
            each.identity, each.mismatches, each.is_doubted = identity, 0, False
            identity.appearance.observe(face.appearance, number)

    def _make_room(self, box: FaceBox, number: int) -> bool:
        if len(self.tracks) < self._max_faces:
            return True
        smallest = min(self.tracks, key=lambda each: _area(each.box))
        if _area(box) < TAKEOVER_AREA_RATIO * _area(smallest.box):
            return False
        self.is_crowded = True
        self.end(smallest, number)
        return True

    def _describe(self, picture: PlanarPicture, mesh: Mesh) -> AppearanceSample:
        return describe_appearance(picture, mesh.points, self._scene_changes.light)

    def _describe_face(self, picture: PlanarPicture, mesh: Mesh) -> UnmatchedFace:
        return UnmatchedFace(
            box=compute_bounding_box(mesh), appearance=self._describe(picture, mesh)
        )

    def _is_unoccluded(self, track: ActiveTrack) -> bool:
        """Return whether no other head or shoulders overlap this one's."""
        around = _head_and_shoulders_box(track.box)
        others = (each.box for each in self.tracks if each is not track)
        return not any(compute_overlap(around, _head_and_shoulders_box(box)) > 0 for box in others)


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
