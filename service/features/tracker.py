"""Follows the faces of a clip from picture to picture.

Between looks each face is followed by its mesh alone. Looks find newcomers: at intervals, at
a cut, and whenever a face was lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from service.domain.arrays import Bytes
from service.domain.state import State
from service.features.company import Company
from service.features.lookout import Lookout
from service.features.mesh import FaceMesh, box_of, five_points, region_of_mesh
from service.features.sighting import Sighting

LOOK_EVERY: Final = 30
"""Pictures from one look for newcomers to the next while somebody is followed."""
SEARCH_LOOKS: Final = 6
"""At the first look, and every so many, small faces are searched for: ten times the work."""
FIRST_PAUSE: Final = 5
"""The first of these looks comes so soon after somebody was found; the pauses then double."""
SEARCH_TILES: Final = 2
"""While somebody is followed such a search is spread over pictures, so many of its tiles in each:
done at once it would hold every stream up that shares the machine."""
SEARCH_EVERY: Final = 2
"""Without a face only every second picture is searched."""
DESCRIBE_EVERY: Final = 10
"""Pictures from one look at everybody's appearance to the next."""
SMALL_SHARE: Final = 0.15
"""A face that is less high, as a share of the picture's longer side, is found by a search only."""
CUT_LEVELS: Final = 28.0
"""Mean change of a pixel from picture to picture, of 255, that makes a cut."""
_THUMBNAIL_SIDE: Final = 24
_COUNTS: Final = ("number", "until_look", "pause", "looks", "has_lost_small", "next_tile")


class MeshTracker:
    """Several faces at once, each with its track's number."""

    def __init__(self, models_dir: Path, *, max_faces: int, min_pixels: float) -> None:
        """Args: max_faces: followed at a time, the largest; min_pixels: height of a face.

        Raises: FaceModelsMissing.
        """
        self._mesh = FaceMesh(models_dir)
        self._lookout = Lookout(models_dir, self._mesh, min_pixels=min_pixels)
        self._company = Company(max_faces=max_faces)
        self._min_pixels = min_pixels
        self._scene = _Scene()
        self._number = 0
        self._until_look = 0
        self._pause = FIRST_PAUSE
        self._looks = 0
        self._has_lost_small = False
        self._next_tile: int | None = None
        """Of a search that is under way."""

    @property
    def is_crowded(self) -> bool:
        """Whether there were more faces at a time than are followed."""
        return self._company.is_crowded

    def find(self, picture: Bytes) -> list[Sighting]:
        """The faces of the next (H, W, 3) RGB picture, those that have been there most first."""
        self._number += 1
        self._follow(picture)
        if self._company.part(picture, self._number):
            self._look_soon()
        is_cut = self._scene.is_cut(picture)
        self._company.check(picture, self._number, is_cut=is_cut)
        if is_cut:
            self._look_soon()
        elif self._number % DESCRIBE_EVERY == 0:
            self._company.learn(picture, self._number)
        self._until_look -= 1
        if self._until_look <= 0:
            self._look(picture)
        elif self._next_tile is not None:
            self._search_on(picture, self._next_tile)
        followed = self._company.followed
        for each in followed:
            each.person.move(each.box, self._number)
        followed.sort(key=lambda each: -each.person.pictures)
        return [
            Sighting(track=each.person.track, box=each.box, points=five_points(each.mesh.points))
            for each in followed
        ]

    def save(self) -> State:
        """All that the pictures so far have left behind."""
        return {
            "company": self._company.save(),
            "scene": self._scene.last,
            **{name: getattr(self, f"_{name}") for name in _COUNTS},
        }

    def restore(self, state: State) -> None:
        """Go on where a tracker of the same settings was saved."""
        self._company.restore(state["company"])
        self._scene.last = state["scene"]
        for name in _COUNTS:
            setattr(self, f"_{name}", state[name])

    def _follow(self, picture: Bytes) -> None:
        for each in [*self._company.followed]:
            mesh = self._mesh.measure(picture, region_of_mesh(each.mesh.points))
            if mesh is None or box_of(mesh).height < self._min_pixels:
                self._company.lose(each)
                self._look_soon()
                self._has_lost_small |= each.box.height < SMALL_SHARE * max(picture.shape)
            else:
                each.mesh, each.box = mesh, box_of(mesh)

    def _look_soon(self) -> None:
        """Now, and then at growing intervals."""
        self._until_look, self._pause = 0, 1

    def _look(self, picture: Bytes) -> None:
        boxes = [each.box for each in self._company.followed]
        found = self._lookout.look(picture, boxes)
        if not boxes:
            self._next_tile = None
            found = found or self._lookout.search(picture, boxes) or []
        elif self._has_lost_small:
            self._next_tile, self._has_lost_small = None, False
            boxes += [box_of(mesh) for mesh in found]
            found += self._lookout.search(picture, boxes) or []
        elif self._looks % SEARCH_LOOKS == 0:
            self._next_tile = 0
        self._company.welcome(picture, found, self._number)
        if not self._company.followed:
            self._until_look, self._pause, self._looks = SEARCH_EVERY, FIRST_PAUSE, 0
        else:
            self._until_look = self._pause
            self._pause = min(2 * self._pause, LOOK_EVERY)
            self._looks += bool(boxes)

    def _search_on(self, picture: Bytes, first_tile: int) -> None:
        last_tile = first_tile + SEARCH_TILES
        boxes = [each.box for each in self._company.followed]
        found = self._lookout.search(picture, boxes, slice(first_tile, last_tile))
        self._next_tile = None if found is None else last_tile
        self._company.welcome(picture, found or [], self._number)


class _Scene:
    """Tells where one scene ends and another begins."""

    def __init__(self) -> None:
        self.last = np.zeros((0, 0, 3), np.int16)

    def is_cut(self, picture: Bytes) -> bool:
        """Whether this picture and the one before it have little in common."""
        step = max(1, min(picture.shape[:2]) // _THUMBNAIL_SIDE)
        now = picture[step // 2 :: step, step // 2 :: step].astype(np.int16)
        last, self.last = self.last, now
        return last.shape == now.shape and float(np.abs(now - last).mean()) > CUT_LEVELS
