"""Held-out actors, drawn twice: as clips to be POSTed, and as crops to be evaluated offline.

FOLDER/clips/<name>.mp4, .csv       H.264 and AAC, and the truth of every frame
FOLDER/crops/                       the same frames in Aff-Wild2's layout
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from proof.errors import FramesDisagree
from proof.frames import Truth
from training.data.annotations import read_annotations
from training.data.crops import list_faces
from training.data.layout import ANNOTATIONS, CROPS, VIDEOS, Recording, Split
from training.synthetic.order import Order, OrderDiffers, Piece, pieces_of
from training.synthetic.recording import finished_file, write_piece

_NO_FACE_MODELS: Final = Path()
"""Drawn crops take none."""
_TRUTH_ROUNDING: Final = 1e-6
"""Both are written with six digits."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """One actor at one rate; drawn: the same frames as a recording of crops."""

    file: Path
    truth: Truth
    drawn: Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who is drawn, for how long, and by which cameras.

    cameras: how many of the rates an actor is drawn at; the actors take turns.
    """

    seed: int
    actors: int
    seconds: float
    rates: tuple[str, ...]
    cameras: int

    @property
    def order(self) -> Order:
        """Of the clips."""
        return Order(
            seed=self.seed, seconds=self.seconds, rates=self.rates, clips=True, as_served=False
        )

    @property
    def pieces(self) -> list[Piece]:
        """Every actor at the rates whose turn it is."""
        everything = pieces_of(self.order, self.actors)
        return [piece for place, piece in enumerate(everything) if self._is_turn(place)]

    @property
    def subjects(self) -> set[str]:
        """The actors by the names that a data set gives them."""
        return {piece.name.removesuffix(f"-{piece.rate}") for piece in self.pieces}

    def _is_turn(self, place: int) -> bool:
        actor, rate = divmod(place, len(self.rates))
        return (rate - actor) % len(self.rates) < self.cameras


def draw(cast: Cast, folder: Path) -> Iterator[Path]:
    """Draw what is not there yet, on all cores, yielding each finished file: two for each piece.

    A folder that holds another order is emptied first.
    """
    orders = {"clips": cast.order, "crops": replace(cast.order, clips=False)}
    for name, order in orders.items():
        _begin(folder / name, order)
    work = [
        (folder / name, order, piece) for piece in cast.pieces for name, order in orders.items()
    ]
    left = [task for task in work if not finished_file(*task).exists()]
    yield from (finished_file(*task) for task in work if task not in left)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=context) as pool:
        under_way = {pool.submit(write_piece, *task, _NO_FACE_MODELS): task for task in left}
        try:
            for done in as_completed(under_way):
                done.result()
                yield finished_file(*under_way[done])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read_clips(cast: Cast, folder: Path) -> list[Clip]:
    """What `draw` has drawn. Raises: FramesDisagree: the two drawings are not of one truth."""
    return [_read_clip(piece, folder) for piece in cast.pieces]


def _begin(folder: Path, order: Order) -> None:
    try:
        order.write(folder)
    except OrderDiffers:
        shutil.rmtree(folder)
        order.write(folder)


def _read_clip(piece: Piece, folder: Path) -> Clip:
    file = folder / "clips" / f"{piece.name}.mp4"
    rows = np.loadtxt(file.with_suffix(".csv"), delimiter=",", skiprows=1, ndmin=2)
    drawn = _read_recording(piece, folder / "crops")
    if len(rows) != len(drawn):
        raise FramesDisagree(f"{piece.name}: truth of {len(rows)} frames, {len(drawn)} of crops")
    known = drawn.annotated
    if not np.allclose(rows[known, 1:], drawn.targets[known], rtol=0, atol=_TRUTH_ROUNDING):
        raise FramesDisagree(f"{piece.name}: the clip's truth is not the crops'")
    truth = Truth(clip=piece.name, rate=piece.rate, times=rows[:, 0], targets=rows[:, 1:])
    return Clip(file=file, truth=truth, drawn=drawn)


def _read_recording(piece: Piece, root: Path) -> Recording:
    targets = read_annotations(root / ANNOTATIONS / piece.part / f"{piece.name}.txt")
    crops = root / CROPS / piece.name
    return Recording(
        name=piece.name,
        split=Split.TEST,
        targets=targets,
        faces=list_faces(crops, len(targets)),
        crops=crops,
        video=root / VIDEOS / f"{piece.name}.mp4",
    )
