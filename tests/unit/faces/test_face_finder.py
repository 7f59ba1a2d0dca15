"""Detection and tracking of the primary face in drawn scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.domain.array_types import UInt8Array
from service.errors import FaceModelsMissing
from service.faces.alignment import ARCFACE_TEMPLATE, align_crop
from service.faces.detections import FaceFinder, TrackedDetection
from service.faces.finder import open_face_finder
from service.faces.tflite import MESH_FILE, FaceNetwork
from service.settings import Settings
from training.synthetic.actor import Actor
from training.synthetic.expression import Expression
from training.synthetic.face import draw_face

SETTINGS = Settings()


def draw(seed: int, *, side: int = 240, roll: float = 0.0, yaw: float = 0.0) -> UInt8Array:
    return draw_face(Actor.from_seed(seed), Expression(roll=roll, yaw=yaw), height=side, width=side)


def paste_on_canvas(
    *placed: tuple[UInt8Array, int, int], height: int = 480, width: int = 854
) -> UInt8Array:
    canvas = np.full((height, width, 3), 90, dtype=np.uint8)
    for picture, left, top in placed:
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


@pytest.fixture
def finder() -> FaceFinder:
    return open_face_finder(SETTINGS.face_models_dir, None)


def find_primary_face(finder: FaceFinder, picture: UInt8Array) -> TrackedDetection | None:
    """Return the face of the longest track, if there is one."""
    return next(iter(finder.find(picture)), None)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("roll", [0.0, 0.25, -0.25])
def test_an_aligned_face_has_its_points_on_the_template(
    finder: FaceFinder, seed: int, roll: float
) -> None:
    face = find_primary_face(finder, draw(seed, roll=roll))
    assert face is not None
    crop = align_crop(draw(seed, roll=roll), face.landmarks).transpose(1, 2, 0)
    # measured again in the crop itself, on a margin the detector needs
    again = find_primary_face(
        open_face_finder(SETTINGS.face_models_dir, None),
        np.pad(np.ascontiguousarray(crop), ((40, 40), (40, 40), (0, 0))),
    )
    assert again is not None
    assert np.abs(again.landmarks[:2] - 40 - ARCFACE_TEMPLATE[:2]).max() < 4.0


@pytest.mark.parametrize("seed", range(4))
def test_eyes_are_where_they_are_drawn(finder: FaceFinder, seed: int) -> None:
    """In a frontal face the eyes are level and on either side of the centre line."""
    face = find_primary_face(finder, draw(seed, side=360))
    assert face is not None
    eye, other_eye = face.landmarks[:2]
    assert abs(eye[1] - other_eye[1]) < 5
    assert (eye[0] + other_eye[0]) / 2 == pytest.approx(180, abs=5)
    assert eye[0] < face.landmarks[2][0] < other_eye[0]
    assert face.landmarks[3][1] > face.landmarks[2][1] > eye[1]


def test_a_moving_face_is_followed_in_every_picture(finder: FaceFinder) -> None:
    lefts: list[float] = []
    for step in range(40):
        face = find_primary_face(finder, paste_on_canvas((draw(3, yaw=0.2), 100 + 8 * step, 100)))
        assert face is not None
        lefts.append(face.box.left)
    assert np.diff(lefts) == pytest.approx(8, abs=4)


def test_a_small_face_in_a_wide_picture_is_found(finder: FaceFinder) -> None:
    face = find_primary_face(
        finder, paste_on_canvas((draw(2, side=110), 60, 300), height=720, width=1280)
    )
    assert face is not None
    assert 60 < face.box.left < 170
    assert 300 < face.box.top < 410


def test_a_face_that_leaves_and_returns_is_missing_in_between(finder: FaceFinder) -> None:
    scene, empty = paste_on_canvas((draw(5), 300, 100)), paste_on_canvas()
    found = [bool(finder.find(picture)) for picture in [scene] * 3 + [empty] * 4]
    assert found == [True] * 3 + [False] * 4
    assert any(find_primary_face(finder, scene) is not None for _ in range(2))


def test_pictures_without_a_face_have_none(finder: FaceFinder) -> None:
    random = np.random.default_rng(0)
    for shape in [(1, 1, 3), (2, 300, 3), (360, 640, 3), (700, 90, 3)]:
        assert finder.find(random.integers(0, 256, shape, dtype=np.uint8)) == []


def test_a_changed_model_file_is_refused(tmp_path: Path) -> None:
    content = bytearray((SETTINGS.face_models_dir / MESH_FILE).read_bytes())
    content[1000] ^= 1
    (tmp_path / MESH_FILE).write_bytes(content)
    with pytest.raises(FaceModelsMissing, match="not the expected"):
        FaceNetwork(tmp_path, MESH_FILE, ())


def test_absent_model_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FaceModelsMissing, match="cannot be read"):
        open_face_finder(tmp_path, None)


def test_a_file_that_is_not_a_yunet_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "yunet.onnx"
    file.write_bytes(b"not a network")
    with pytest.raises(FaceModelsMissing, match="YuNet"):
        open_face_finder(tmp_path, file)
