"""A drawn actor is a face to the models that the service uses, and its expression shows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from service.domain.arrays import Bytes
from training.synthetic.actor import Actor
from training.synthetic.expression import Expression
from training.synthetic.face import draw_face

FACE_MODELS = Path(__file__).parents[3] / ".runtime" / "faces"


def face_score(picture: Bytes) -> float:
    """The best score of the short-range face detector on the whole picture."""
    network = cv2.dnn.readNetFromTFLite(str(FACE_MODELS / "face_detection_short_range.tflite"))
    side = max(picture.shape[:2])
    padded = np.zeros((side, side, 3), np.uint8)
    padded[: picture.shape[0], : picture.shape[1]] = picture
    network.setInput(cv2.dnn.blobFromImage(padded, 1 / 127.5, (128, 128), (127.5,) * 3))
    outputs = network.forward(network.getUnconnectedOutLayersNames())
    logits = np.concatenate([each.ravel() for each in outputs if each.shape[-1] == 1])
    return float((1 / (1 + np.exp(-np.clip(logits, -50, 50)))).max())


@pytest.mark.parametrize("seed", range(8))
def test_face_detector_finds_every_actor_in_every_mood(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(3):
        valence, arousal = random.uniform(-1, 1, size=2)
        expression = Expression.of_affect(
            float(valence), float(arousal), seconds=float(random.uniform(0, 30)), speech=0.5
        )
        picture = draw_face(Actor.of_seed(seed), expression, height=360, width=640)
        assert face_score(picture) > 0.7


def test_detector_of_this_test_finds_nothing_on_an_empty_wall() -> None:
    wall = np.full((360, 640, 3), 110, np.uint8)
    assert face_score(wall) < 0.5


@pytest.mark.parametrize(("height", "width"), [(360, 640), (640, 360), (180, 320), (96, 96)])
def test_picture_has_the_size_that_was_asked_for(height: int, width: int) -> None:
    picture = draw_face(Actor.of_seed(0), Expression(), height=height, width=width)
    assert (picture.shape, picture.dtype) == ((height, width, 3), np.uint8)


def test_same_actor_and_expression_draw_the_same_picture() -> None:
    actor, expression = Actor.of_seed(3), Expression.of_affect(0.4, -0.2, seconds=2.0)
    first = draw_face(actor, expression, height=120, width=160)
    assert np.array_equal(first, draw_face(actor, expression, height=120, width=160))


def test_actors_of_different_seeds_look_different() -> None:
    first, second = (draw_face(Actor.of_seed(k), Expression(), height=96, width=96) for k in (1, 2))
    assert np.abs(first.astype(int) - second).mean() > 3


def test_smile_opens_with_valence_and_eyes_with_arousal() -> None:
    glad, sad = Expression.of_affect(0.8, 0), Expression.of_affect(-0.8, 0)
    alert, calm = Expression.of_affect(0, 0.8), Expression.of_affect(0, -0.8)
    assert glad.smile > 0 > sad.smile
    assert alert.lid_opening > 1 > calm.lid_opening
    assert sad.brow_sorrow > 0 == glad.brow_sorrow


def test_eyes_blink_and_open_again() -> None:
    openings = [Expression.of_affect(0, 0, seconds=k / 50).lid_opening for k in range(200)]
    assert min(openings) < 0.1
    assert openings[0] == openings[199] == 1.0
