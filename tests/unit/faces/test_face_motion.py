"""Motion of a still face: followed to a fraction of a pixel, or left to the mesh."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.planar_picture import PlanarPicture
from service.faces.face_motion import cut_patch, follow_still
from service.faces.finder import open_face_finder
from service.faces.mesh import FaceMesh, Mesh, Region, compute_bounding_box
from service.settings import Settings
from training.synthetic.actor import Actor
from training.synthetic.expression import Expression
from training.synthetic.face import draw_face

SETTINGS = Settings()
SIDE = 360


def draw(expression: Expression | None = None) -> UInt8Array:
    return draw_face(Actor.from_seed(7), expression or Expression(), height=SIDE, width=SIDE)


def move(picture: UInt8Array, matrix: Float32Array) -> PlanarPicture:
    moved = cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return PlanarPicture.of(moved.astype(np.uint8))


def turn_and_shift(degrees: float, x: float, y: float) -> Float32Array:
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, 1.0)
    matrix[:, 2] += x, y
    return matrix.astype(np.float32)


@pytest.fixture(scope="module")
def face() -> Mesh:
    (found,) = open_face_finder(SETTINGS.face_models_dir, None).find(draw())
    box = found.box
    centre = box.left + box.width / 2, box.top + box.height / 2
    region = Region(x=centre[0], y=centre[1], side=1.5 * box.height, angle_radians=0.0)
    mesh = FaceMesh(SETTINGS.face_models_dir).measure(PlanarPicture.of(draw()), region)
    assert mesh is not None
    return mesh


@pytest.mark.parametrize("motion", [(0.0, 0.0, 0.0), (0.0, 0.7, -0.4), (0.4, -0.3, 0.5)])
def test_still_face_is_followed_to_a_fraction_of_a_pixel(
    face: Mesh, motion: tuple[float, float, float]
) -> None:
    patch = cut_patch(PlanarPicture.of(draw()), compute_bounding_box(face))
    assert patch is not None
    matrix = turn_and_shift(*motion)
    moved = follow_still(move(draw(), matrix), patch, face)
    assert moved is not None
    expected = face.points @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(moved.points - expected).max() < 0.3  # of 163, the height of the face


def test_face_that_moves_changes_or_disappears_is_not_followed(face: Mesh) -> None:
    patch = cut_patch(PlanarPicture.of(draw()), compute_bounding_box(face))
    assert patch is not None
    changed = draw(Expression(mouth_opening=0.6, brow_raise=0.8))
    pictures = {
        "moved": move(draw(), turn_and_shift(0.0, 12.0, 0.0)),
        "turned": move(draw(), turn_and_shift(math.degrees(0.2), 0.0, 0.0)),
        "other expression": PlanarPicture.of(changed),
        "gone": PlanarPicture.of(np.full((SIDE, SIDE, 3), 120, np.uint8)),
    }
    assert {
        name: follow_still(each, patch, face) for name, each in pictures.items()
    } == dict.fromkeys(pictures)
