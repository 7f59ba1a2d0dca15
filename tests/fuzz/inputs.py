"""Fuzz inputs: input k of a run is a pure function of the run's seed and k."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from service.domain.options import AnalysisOptions, FaceSelection
from tests.fuzz import container_tree, ebml_elements, ts_packets
from tests.fuzz.damage import MAX_BYTES, damage, overwrite_number, splice
from tests.fuzz.ebml_elements import ELEMENTS
from tests.fuzz.iso_boxes import BOXES
from tests.fuzz.riff_chunks import CHUNKS
from tests.fuzz.seeds import Seed

Mutation = Callable[[bytes, Random], tuple[bytes, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FuzzInput:
    """A damaged file and the options that it is submitted with.

    name: its number and the name of its seed. steps: names of the applied mutations.
    """

    number: int
    name: str
    steps: tuple[str, ...]
    data: bytes
    options: AnalysisOptions


def make_input(seeds: tuple[Seed, ...], run_seed: int, number: int) -> FuzzInput:
    """Make the input of this number in the run of this seed."""
    rng = Random(f"{run_seed}:{number}")  # reproducible, not secret
    seed = rng.choice(seeds)
    data, steps = seed.data, list[str]()
    if rng.random() < 0.4:
        data = _damage_packets(seed, rng)
        steps.append("damage packets")
    structure = _STRUCTURE_MUTATIONS.get(seed.container, damage)
    for _ in range(rng.choice((0, 1, 2, 4) if steps else (1, 1, 2, 3, 6))):
        data, step = (structure if rng.random() < 0.75 else damage)(data, rng)
        steps.append(step)
    if rng.random() < 0.03:
        other = rng.choice(seeds)
        data = splice(data, other.data, rng)
        steps.append(f"splice {other.name}")
    return FuzzInput(
        number=number,
        name=f"{number:06d}-{seed.name}",
        steps=tuple(steps),
        data=data[:MAX_BYTES],
        options=_choose_options(rng),
    )


def _choose_options(rng: Random) -> AnalysisOptions:
    """Choose options, mostly the defaults."""
    video, audio = (rng.randrange(3) if rng.random() < 0.05 else None for _ in range(2))
    faces = FaceSelection.ALL if rng.random() < 0.25 else FaceSelection.PRIMARY
    return AnalysisOptions(faces=faces, video_stream=video, audio_stream=audio)


def _damage_packets(seed: Seed, rng: Random) -> bytes:
    """Change bits and numbers of coded packets and codec headers in place."""
    data = bytearray(seed.data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        start, stop = rng.choice(seed.packets)
        if rng.random() < 0.6:  # decoders validate headers least
            stop = min(stop, start + 40)
        part = bytes(data[start:stop])
        for _ in range(rng.choice((1, 2, 8))):
            part = overwrite_number(part, rng) if rng.random() < 0.4 else _flip_bit(part, rng)
        data[start:stop] = part
    return bytes(data)


def _flip_bit(data: bytes, rng: Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes((data[place] ^ 1 << rng.randrange(8),)) + data[place + 1 :]


def _mutate_boxes(data: bytes, rng: Random) -> tuple[bytes, str]:
    return container_tree.mutate(data, BOXES, rng)


def _mutate_elements(data: bytes, rng: Random) -> tuple[bytes, str]:
    if rng.random() < 0.15:
        return ebml_elements.corrupt_block(data, rng)
    return container_tree.mutate(data, ELEMENTS, rng)


def _mutate_chunks(data: bytes, rng: Random) -> tuple[bytes, str]:
    return container_tree.mutate(data, CHUNKS, rng)


_STRUCTURE_MUTATIONS: Final[Mapping[str, Mutation]] = {
    **dict.fromkeys(("mp4", "mov"), _mutate_boxes),
    **dict.fromkeys(("mkv", "webm"), _mutate_elements),
    **dict.fromkeys(("avi", "wav"), _mutate_chunks),
    "ts": ts_packets.mutate,
}
"""Mutations by container; files of other containers get format-independent damage."""
