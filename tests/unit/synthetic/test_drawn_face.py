"""Drawn faces: detection by the service's models, determinism, expressions."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.domain.array_types import UInt8Array
from service.faces.tflite import SHORT_RANGE_FILE, FaceNetwork
from training.synthetic.acting import compute_expressions
from training.synthetic.actor import Actor
from training.synthetic.expression import Expression
from training.synthetic.expressivity import Expressivity
from training.synthetic.face import draw_face
from training.synthetic.performance import Performance
from training.synthetic.speech import Timbre, generate_speech
from training.synthetic.trajectory import Trajectory

FACE_MODELS = Path(__file__).parents[3] / ".runtime" / "faces"


def face_score(image: UInt8Array) -> float:
    """Return the best score of the short-range face detector on the image."""
    network = FaceNetwork(FACE_MODELS, SHORT_RANGE_FILE, ["classificators"], lowest=-1.0)
    side = max(image.shape[:2])
    padded = np.zeros((side, side, 3), np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image
    small = cv2.resize(padded, (128, 128), interpolation=cv2.INTER_LINEAR)
    (logits,) = network.run(small.astype(np.uint8, copy=False))
    return float((1 / (1 + np.exp(-np.clip(logits, -50, 50)))).max())


@pytest.mark.parametrize("seed", range(8))
def test_face_detector_finds_every_actor_in_every_mood(seed: int) -> None:
    performance = Performance.from_seed(seed, seconds=20, with_occlusions=False)
    for expression in performance.expressions.sample(np.array([3.0, 9.0, 15.0])):
        image = draw_face(performance.actor, expression, height=360, width=640)
        assert face_score(image) > 0.7


def test_detector_finds_nothing_on_an_empty_wall() -> None:
    wall = np.full((360, 640, 3), 110, np.uint8)
    assert face_score(wall) < 0.5


@pytest.mark.parametrize(("height", "width"), [(360, 640), (640, 360), (180, 320), (96, 96)])
def test_image_has_the_requested_size(height: int, width: int) -> None:
    image = draw_face(Actor.from_seed(0), Expression(), height=height, width=width)
    assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)


def test_same_actor_and_expression_draw_the_same_image() -> None:
    actor, expression = Actor.from_seed(3), Expression(smile=0.4, brow_raise=-0.2, yaw=0.1)
    first = draw_face(actor, expression, height=120, width=160)
    assert np.array_equal(first, draw_face(actor, expression, height=120, width=160))


def test_actors_of_different_seeds_look_different() -> None:
    first, second = (
        draw_face(Actor.from_seed(k), Expression(), height=96, width=96) for k in (1, 2)
    )
    assert np.abs(first.astype(int) - second).mean() > 3


def mean_expression(valence: float, arousal: float) -> Expression:
    """Compute the median expression of a minute of one feeling, without its blinks."""
    steps = np.ones(6_000)
    feeling = Trajectory(valence=valence * steps, arousal=arousal * steps)
    random = np.random.default_rng(0)
    speech = generate_speech(feeling, Timbre(pitch_hz=120, formant_scale=1), 0.7, random)
    tracks = compute_expressions(feeling, speech, Expressivity.from_seed(0), random)
    means = {field.name: float(np.median(getattr(tracks, field.name))) for field in fields(tracks)}
    return Expression(**means)


def test_smile_opens_with_valence_and_eyes_with_arousal() -> None:
    glad, sad = mean_expression(0.8, 0), mean_expression(-0.8, 0)
    alert, calm = mean_expression(0, 0.8), mean_expression(0, -0.8)
    assert glad.smile > 0.4 > -0.4 > sad.smile
    assert alert.lid_opening > 1.1
    assert calm.lid_opening < 0.9
    assert alert.blush > calm.blush + 0.4
    assert sad.brow_sorrow > 0.2 > glad.brow_sorrow


def test_eyes_blink_and_open_again() -> None:
    lids = Performance.from_seed(1, seconds=30).expressions.lid_opening
    assert lids.min() < 0.1
    assert np.median(lids) > 0.5
    assert 2 <= int(np.count_nonzero(np.diff((lids < 0.2).astype(int)) == 1)) <= 20
