"""Shots with a known cast: pictures, and the person of every face in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np

from service.domain.array_types import UInt8Array
from service.domain.clip import FaceBox
from training.synthetic.camera import Camera
from training.synthetic.group_scene import GroupScene, MotionPath, SceneActor
from training.synthetic.performance import Performance
from training.synthetic.renderer import PerformanceRenderer

HEIGHT: Final = 270
WIDTH: Final = 480
FAR: Final = 1e6
"""A coordinate outside every picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A part of the picture, in pixels, in which a face's nose is a person's."""

    person: str
    left: float = -2 * FAR
    top: float = -2 * FAR
    right: float = 2 * FAR
    bottom: float = 2 * FAR

    def contains(self, x: float, y: float) -> bool:
        """Return whether a point is in it."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPicture:
    """A picture, (H, W, 3) uint8 RGB, and its people; the front one last."""

    pixels: UInt8Array
    places: tuple[Place, ...]


Shot = tuple[LabelledPicture, ...]


def render_person(seed: int, *, seconds: float, rate_hz: float, take: int = 0) -> Shot:
    """Render a person who speaks and turns before a camera of their own."""
    performance = Performance.from_seed(seed, seconds=seconds, take=take, with_occlusions=False)
    renderer = PerformanceRenderer(performance, Camera.from_seed(seed), height=HEIGHT, width=WIDTH)
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    expressions = performance.expressions.sample(times)
    places = (Place(person=str(seed)),)
    return tuple(
        LabelledPicture(pixels=renderer.render_frame(each, float(time)), places=places)
        for each, time in zip(expressions, times, strict=True)
    )


def render_group(
    roles: dict[int, MotionPath], *, seconds: float, rate_hz: float, room: int = 1000
) -> Shot:
    """Render people who share a room and move along paths; later ones are in front."""
    actors = [SceneActor(seed=seed, path=path) for seed, path in roles.items()]
    scene = GroupScene(actors, height=HEIGHT, width=WIDTH, background_seed=room)
    performances = Performance.from_seed(1, seconds=seconds, with_occlusions=False)
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return tuple(
        LabelledPicture(
            pixels=scene.render_frame(float(time), expression),
            places=_find_places(roles, float(time)),
        )
        for time, expression in zip(times, performances.expressions.sample(times), strict=True)
    )


def read_person(file: Path, *, person: str, pictures: int, height: int = HEIGHT) -> Shot:
    """Read the first pictures of a clip of one person, scaled to a height."""
    shot: list[LabelledPicture] = []
    with av.open(str(file)) as container:
        for frame in container.decode(video=0):
            pixels = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
            size = (round(pixels.shape[1] * height / pixels.shape[0]), height)
            small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
            shot.append(LabelledPicture(pixels=small, places=(Place(person=person),)))
            if len(shot) == pictures:
                break
    return tuple(shot)


def frame_person(shot: Shot, face: FaceBox, *, share: float = 0.4) -> Shot:
    """Cut out a part of the set's shape, and scale it to the set.

    Args: face: in the first picture. share: its height in the part's, if the picture allows.
    """
    height, width = shot[0].pixels.shape[:2]
    rows = min(round(face.height / share), height, round(width * HEIGHT / WIDTH))
    columns = round(rows * WIDTH / HEIGHT)
    top = round(face.top + 0.5 * face.height - 0.45 * rows)
    left = round(face.left + 0.5 * face.width - 0.5 * columns)
    top, left = min(max(top, 0), height - rows), min(max(left, 0), width - columns)
    return tuple(
        LabelledPicture(
            pixels=cv2.resize(
                each.pixels[top : top + rows, left : left + columns],
                (WIDTH, HEIGHT),
                interpolation=cv2.INTER_AREA,
            ).astype(np.uint8),
            places=each.places,
        )
        for each in shot
    )


def _find_places(roles: dict[int, MotionPath], time: float) -> tuple[Place, ...]:
    places: list[Place] = []
    for seed, path in roles.items():
        position = path(time)
        if position is not None:
            x, y, size = position[0] * WIDTH, position[1] * HEIGHT, position[2] * HEIGHT
            places.append(
                Place(
                    person=str(seed),
                    left=x - 0.6 * size,
                    top=y - size,
                    right=x + 0.6 * size,
                    bottom=y + size,
                )
            )
    return tuple(places)


def find_person(places: Sequence[Place], x: float, y: float) -> str | None:
    """Return the person of a face with its nose at a point; of two, the one nearer to its middle.

    A place without limits comes last.
    """
    inside = [each for each in places if each.contains(x, y)]
    nearest = min(
        inside,
        key=lambda each: (each.right > FAR, abs((each.left + each.right) / 2 - x)),
        default=None,
    )
    return nearest.person if nearest else None


def iterate_pixels(shot: Shot) -> Iterator[UInt8Array]:
    """Yield the pictures without their labels."""
    return (each.pixels for each in shot)
