"""Search for small, many, rolled and late faces, and for none, in drawn pictures."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from service.domain.array_types import UInt8Array
from service.faces.alignment import align_crop
from service.faces.detections import MeshTrackerSnapshot, TrackedDetection
from service.faces.finder import DEFAULT_MIN_FACE_PIXELS, open_face_finder
from service.serialization import decode, encode
from service.settings import Settings
from training.synthetic.actor import Actor
from training.synthetic.expression import Expression
from training.synthetic.face import draw_face
from training.synthetic.group_scene import GroupScene, SceneActor

SETTINGS = Settings()
FACE_SHARE = 0.45
"""Height of a drawn face, as a share of the drawing's side."""


def draw(seed: int, *, face_pixels: float) -> UInt8Array:
    side = round(face_pixels / FACE_SHARE)
    large = draw_face(Actor.from_seed(seed), Expression(), height=240, width=240)
    return cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)


def place(canvas: UInt8Array, drawing: UInt8Array, left: int, top: int) -> UInt8Array:
    canvas = canvas.copy()
    canvas[top : top + drawing.shape[0], left : left + drawing.shape[1]] = drawing
    return canvas


def make_canvas(height: int, width: int) -> UInt8Array:
    """Make a picture with some contrast everywhere."""
    ramp = np.linspace(40, 160, width, dtype=np.float32) + 20 * np.sin(np.arange(width) / 9)
    return np.repeat(np.tile(ramp, (height, 1))[..., None], 3, axis=2).astype(np.uint8)


def find_in_still(
    picture: UInt8Array, looks: int = 1, max_faces: int = 12
) -> list[TrackedDetection]:
    finder = open_face_finder(SETTINGS.face_models_dir, None, max_faces=max_faces)
    found: list[TrackedDetection] = []
    for step in range(looks):
        found = [*finder.find(picture, step / 25)]
    return found


@pytest.mark.parametrize("size", [(360, 640), (720, 1280), (1080, 1920), (2160, 3840)])
def test_smallest_face_is_found_in_the_first_picture_at_every_size(size: tuple[int, int]) -> None:
    assert Settings().min_face_pixels == DEFAULT_MIN_FACE_PIXELS == 20
    height, width = size
    drawing = draw(3, face_pixels=20)
    left, top = round(0.61 * width), round(0.73 * height)
    (face,) = find_in_still(place(make_canvas(height, width), drawing, left, top))
    assert face.box.left + face.box.width / 2 == pytest.approx(left + len(drawing) / 2, abs=5)
    assert face.box.top + face.box.height / 2 == pytest.approx(top + len(drawing) / 2, abs=7)


def test_twelve_people_of_a_gallery_view_are_tracked_from_the_first_picture() -> None:
    canvas = make_canvas(720, 1280)
    for number in range(12):
        drawing = draw(number, face_pixels=95)
        canvas = place(canvas, drawing, 320 * (number % 4) + 50, 240 * (number // 4) + 15)
    assert Settings().max_faces == 12
    assert len({face.track for face in find_in_still(canvas)}) == 12


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_rolled_face_gives_the_crop_of_the_upright_one(quarter_turns: int) -> None:
    upright = place(make_canvas(360, 640), draw(5, face_pixels=120), 180, 60)
    turned = np.ascontiguousarray(np.rot90(upright, quarter_turns))
    crops = [
        align_crop(picture, find_in_still(picture, looks=4)[0].landmarks).astype(np.int16)
        for picture in (upright, turned)
    ]
    assert np.abs(crops[0] - crops[1]).mean() < 6  # 60 and more the wrong way up


@pytest.mark.parametrize("rate_hz", [1, 5, 25])
@pytest.mark.parametrize(("face_pixels", "max_seconds"), [(110, 0.6), (30, 5.1)])
def test_newcomer_is_found_within_seconds_whatever_the_rate(
    rate_hz: int, face_pixels: float, max_seconds: float
) -> None:
    one = place(make_canvas(360, 640), draw(1, face_pixels=110), 30, 40)
    both = place(one, draw(2, face_pixels=face_pixels), 360, 60)
    finder = open_face_finder(SETTINGS.face_models_dir, None)
    for step in range(3 * rate_hz):
        assert len(finder.find(one, step / rate_hz)) == 1
    waited = 0
    while len(finder.find(both, 3 + waited / rate_hz)) < 2:
        waited += 1
        assert waited / rate_hz <= max_seconds


def draw_test_card() -> UInt8Array:
    card = np.full((480, 640, 3), 110, np.uint8)
    for x in range(0, 640, 40):
        cv2.line(card, (x, 0), (x, 480), (240, 240, 240), 2)
    for y in range(0, 480, 40):
        cv2.line(card, (0, y), (640, y), (240, 240, 240), 2)
    cv2.circle(card, (320, 240), 215, (255, 255, 255), 3)
    for x, y in ((90, 90), (550, 90), (90, 390), (550, 390)):
        cv2.circle(card, (x, y), 60, (255, 255, 255), 2)
        cv2.circle(card, (x, y), 20, (0, 0, 0), -1)
    return card


def draw_colour_bars() -> UInt8Array:
    colours = [(i >> 1 & 1, i >> 2 & 1, i & 1) for i in range(7, 0, -1)]
    bars = np.repeat(np.array(colours, np.uint8) * 190, 92, axis=0)[:640]
    return np.ascontiguousarray(np.tile(bars, (480, 1, 1)))


def draw_bird() -> UInt8Array:
    bird = np.full((480, 640, 3), (150, 190, 220), np.uint8)
    cv2.ellipse(bird, (270, 330), (150, 90), 25, 0, 360, (120, 90, 60), -1)
    cv2.circle(bird, (340, 200), 80, (120, 90, 60), -1)
    for x in (310, 370):
        cv2.circle(bird, (x, 185), 17, (250, 250, 250), -1)
        cv2.circle(bird, (x, 185), 9, (10, 10, 10), -1)
    cv2.fillPoly(bird, [np.array([[320, 207], [360, 207], [340, 250]])], (240, 170, 20))
    return cv2.GaussianBlur(bird, (3, 3), 0).astype(np.uint8)


def draw_plush() -> UInt8Array:
    random = np.random.default_rng(3)
    fur = cv2.GaussianBlur(random.normal(0, 120, (480, 640)).astype(np.float32), (9, 9), 0)
    plush = np.full((480, 640, 3), (60, 90, 140), np.uint8)
    mask = np.zeros((480, 640), np.uint8)
    for x, y, radius in ((320, 250, 130), (225, 140, 50), (415, 140, 50)):
        cv2.circle(mask, (x, y), radius, 255, -1)
    brown = np.clip(np.array([170, 130, 90]) + fur[..., None], 0, 255).astype(np.uint8)
    plush[mask > 0] = brown[mask > 0]
    for x in (275, 365):
        cv2.circle(plush, (x, 230), 13, (20, 15, 15), -1)
    cv2.ellipse(plush, (320, 275), (18, 12), 0, 0, 360, (30, 20, 20), -1)
    cv2.line(plush, (320, 285), (320, 315), (40, 30, 30), 4)
    return plush


def draw_thermal() -> UInt8Array:
    random = np.random.default_rng(4)
    heat = np.zeros((480, 640), np.float32)
    for _ in range(14):
        x, y, radius = (int(random.uniform(*each)) for each in ((0, 640), (0, 480), (20, 150)))
        cv2.circle(heat, (x, y), radius, float(random.uniform(0, 255)), -1)
    blurred = np.clip(cv2.GaussianBlur(heat, (0, 0), 18), 0, 255).astype(np.uint8)
    return cv2.applyColorMap(blurred, cv2.COLORMAP_INFERNO)[..., ::-1].astype(np.uint8)


def draw_buttons() -> UInt8Array:
    coat = make_canvas(480, 640)
    for y in range(60, 480, 90):
        cv2.circle(coat, (320, y), 24, (25, 20, 30), -1)
        for dx, dy in ((-8, -8), (8, -8), (-8, 8), (8, 8)):
            cv2.circle(coat, (320 + dx, y + dy), 4, (140, 140, 150), -1)
    return coat


@pytest.mark.parametrize(
    "render",
    [draw_test_card, draw_colour_bars, draw_bird, draw_plush, draw_thermal, draw_buttons],
)
def test_pictures_that_resemble_a_face_have_none(render: Callable[[], UInt8Array]) -> None:
    picture = render()
    finder = open_face_finder(SETTINGS.face_models_dir, None)
    for step, shift in enumerate((0, 3, 7)):
        assert finder.find(np.roll(picture, shift, axis=1), step / 25) == []


def test_numbers_do_not_depend_on_where_a_stream_was_interrupted() -> None:
    scene = GroupScene(
        [
            SceneActor(seed=251, path=lambda time: (0.3 + 0.02 * time, 0.5, 0.3)),
            SceneActor(seed=205, path=lambda time: (0.75, 0.5, 0.1) if time > 0.5 else None),
        ],
        height=360,
        width=640,
    )
    times = [step / 10 for step in range(24)]
    pictures = [scene.render_frame(time) for time in times]

    def run(interrupted_at: set[int]) -> list[list[tuple[int, float, float]]]:
        finder = open_face_finder(SETTINGS.face_models_dir, None)
        found: list[list[tuple[int, float, float]]] = []
        for step, (picture, time) in enumerate(zip(pictures, times, strict=True)):
            if step in interrupted_at:
                state = encode(finder.snapshot())
                finder = open_face_finder(SETTINGS.face_models_dir, None)
                finder.restore(decode(state, MeshTrackerSnapshot))
            faces = finder.find(picture, time)
            found.append([(face.track, face.box.left, face.box.height) for face in faces])
        return found

    expected = run(set())
    assert len(expected[-1]) == 2
    assert run({1, 6, 13}) == expected
