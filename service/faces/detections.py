"""Interface of the face finders: detections, the protocol, and the snapshots.

The snapshot dataclasses are the format in which the tracks of a stream outlive a decode process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.domain.clip import FaceBox
from service.domain.planar_picture import PlanarPicture
from service.faces.face_motion import FacePatch
from service.faces.mesh import Mesh
from service.faces.structure import FaceStructure
from service.faces.tiles import Tile


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedDetection:
    """A face in a picture, and its track.

    track: a number from 1; the same face has it through the clip.
    landmarks: (5, 2) float32 pixels: the eye and mouth corner on the picture's left, then right,
        in the order of the ArcFace template (eye, eye, nose, mouth corner, mouth corner).
    """

    track: int
    box: FaceBox
    landmarks: Float32Array


class FaceFinder(Protocol):
    """Tracks the faces through the pictures of one clip, in order."""

    @property
    def is_crowded(self) -> bool:
        """True once a picture had more faces than are tracked."""
        ...

    def find(
        self, picture: PlanarPicture | UInt8Array, time_seconds: float | None = None
    ) -> Sequence[TrackedDetection]:
        """Find the faces of the next picture; tracks of the most pictures first.

        Args: picture: or (H, W, 3) RGB; time_seconds: of it in the media; None: 1/25 s after the
            one before.
        """
        ...

    def snapshot(self) -> MeshTrackerSnapshot | None:
        """Return the state after the pictures so far; None: the finder has none."""
        ...

    def restore(self, snapshot: MeshTrackerSnapshot | None) -> None:
        """Continue from a snapshot of a finder of the same settings."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AppearanceSample:
    """Appearance of a face in a picture: traits and structure.

    traits: (12,), NaN where unseen. scene_traits: the same without the light of the scene.
    """

    traits: Float32Array
    scene_traits: Float32Array
    structure: FaceStructure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSample:
    """An appearance that is learnt later, if the scene lasts; picture: its ordinal."""

    picture: int
    sample: AppearanceSample


@dataclass(frozen=True, slots=True, kw_only=True)
class AppearanceSnapshot:
    """State of an AppearanceModel: (12,) means of the traits, and observations of each."""

    traits: Float32Array
    observations: Int64Array
    scene_traits: Float32Array
    structures: tuple[FaceStructure, ...]
    pending: tuple[PendingSample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySnapshot:
    """State of an Identity; its attributes under the same names."""

    track: int
    box: FaceBox
    last_picture: int
    pictures: int
    is_position_valid: bool
    motion: Float32Array
    appearance: AppearanceSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class GallerySnapshot:
    """State of a Gallery. track_count: tracks of the clip so far."""

    identities: tuple[IdentitySnapshot, ...]
    track_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveTrackSnapshot:
    """State of an ActiveTrack; its attributes under the same names."""

    identity: IdentitySnapshot
    mesh: Mesh
    box: FaceBox
    colours: Int64Array
    structure: FaceStructure | None
    is_doubted: bool
    steady_pictures: int
    has_jumped: bool
    mismatches: int
    patch: FacePatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveTracksSnapshot:
    """State of ActiveTracks."""

    tracks: tuple[ActiveTrackSnapshot, ...]
    gallery: GallerySnapshot
    is_crowded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneChangesSnapshot:
    """State of a SceneChangeDetector.

    thumbnail: of the last picture, (h, w, 3). reference: (h, w), pattern of the last picture that
    had one. history: (h, w) patterns.
    """

    thumbnail: UInt8Array
    reference: Float32Array | None
    history: tuple[UInt8Array, ...]
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchScheduleSnapshot:
    """State of a SearchSchedule, in seconds of the media.

    time_seconds: of the last picture; None: there was none. tiles_left: of the thorough search
    under way; None: all of them.
    """

    time_seconds: float | None
    event_seconds: float
    detected_seconds: float
    swept_seconds: float
    sweep_seconds: float
    next_tile: int
    tiles_left: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedTile:
    """A tile that was searched, and how it looked; cells: (28, 28) uint8 brightness."""

    tile: Tile
    cells: UInt8Array
    time_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LostFace:
    """Last box of a face that was lost, and when."""

    box: FaceBox
    time_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshTrackerSnapshot:
    """State of a MeshTracker."""

    active_tracks: ActiveTracksSnapshot
    scene_changes: SceneChangesSnapshot
    number: int
    schedule: SearchScheduleSnapshot
    lost_faces: tuple[LostFace, ...]
    searched_tiles: tuple[SearchedTile, ...] = ()
