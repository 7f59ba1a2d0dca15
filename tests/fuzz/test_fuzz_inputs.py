"""Fuzz inputs: reproducible, damaged in every way, bounded in size."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from typer import Typer
from typer.testing import CliRunner

from tests.fuzz import ts_packets
from tests.fuzz.__main__ import fuzz
from tests.fuzz.container_tree import ContainerFormat, Node, mutate
from tests.fuzz.damage import MAX_BYTES, damage, overwrite_number, splice
from tests.fuzz.ebml_elements import ELEMENTS, corrupt_block
from tests.fuzz.inputs import Mutation, make_input
from tests.fuzz.iso_boxes import BOXES
from tests.fuzz.riff_chunks import CHUNKS
from tests.fuzz.seeds import Seed, make_seeds

FORMATS_BY_SUFFIX = {
    **dict.fromkeys(("mp4", "mov"), BOXES),
    **dict.fromkeys(("mkv", "webm"), ELEMENTS),
    **dict.fromkeys(("avi", "wav"), CHUNKS),
}


def test_seeds_are_the_same_bytes_each_time(seeds: tuple[Seed, ...]) -> None:
    again = make_seeds()
    assert [seed.name for seed in again] == [seed.name for seed in seeds]
    for repeated, original in zip(again, seeds, strict=True):
        assert repeated == original or b"x264 - core" in repeated.data, repeated.name
    assert len({seed.name for seed in seeds}) == len(seeds)
    assert all(seed.packets for seed in seeds)


def test_making_seeds_does_not_change_the_process_priority() -> None:
    before = os.sched_getscheduler(0)
    make_seeds()
    assert os.sched_getscheduler(0) == before


def test_parsed_and_written_structure_is_unchanged(seeds: tuple[Seed, ...]) -> None:
    nested = [seed for seed in seeds if seed.container in FORMATS_BY_SUFFIX]
    assert {seed.container for seed in nested} == set(FORMATS_BY_SUFFIX)
    for seed in nested:
        nesting = FORMATS_BY_SUFFIX[seed.container]
        nodes = nesting.parse(seed.data)
        assert b"".join(map(nesting.write, nodes)) == seed.data
        assert sum(1 for root in nodes for _ in root.walk()) >= 3


def test_input_is_a_function_of_seed_and_number_alone(seeds: tuple[Seed, ...]) -> None:
    forward = [make_input(seeds, 5, number) for number in range(40)]
    backward = [make_input(seeds, 5, number) for number in reversed(range(40))]
    assert forward == backward[::-1]
    assert forward != [make_input(seeds, 6, number) for number in range(40)]


def test_inputs_cover_every_seed_and_mutation(seeds: tuple[Seed, ...]) -> None:
    inputs = [make_input(seeds, 1, number) for number in range(1500)]
    intact = {seed.data for seed in seeds}
    assert {each.name.partition("-")[2] for each in inputs} == {seed.name for seed in seeds}
    assert sum(each.data in intact for each in inputs) < 50
    assert max(len(each.data) for each in inputs) <= MAX_BYTES
    done = Counter(step.split()[0] for each in inputs for step in each.steps)
    assert {"corrupt_field", "corrupt_size", "rename", "nest", "move", "relace"} <= set(done)
    assert {"flip_bits", "truncate", "splice", "adapt", "tabulate", "damage"} <= set(done)


@pytest.mark.parametrize("name", ["plain.mp4", "h264.mkv", "mpeg4.avi"])
def test_a_wrong_size_is_written_without_changing_the_content(
    seeds: tuple[Seed, ...], name: str
) -> None:
    seed = next(seed for seed in seeds if seed.name == name)
    nesting = FORMATS_BY_SUFFIX[seed.container]
    nodes = nesting.parse(seed.data)
    leaves = [node for root in nodes for node in root.walk() if not node.children and node.body]
    leaf = next(leaf for leaf in leaves if len(leaf.body) % 2 == 0)  # no padding behind it
    original = nesting.write(leaf)
    leaf.size = nesting.make_wrong_size(Random(3), len(original))
    assert nesting.write(leaf) != original
    assert nesting.write(leaf).endswith(leaf.body)


@pytest.mark.parametrize("nesting", [BOXES, ELEMENTS, CHUNKS])
def test_structures_are_parsed_from_any_bytes(nesting: ContainerFormat) -> None:
    rng = Random(11)
    for size in (0, 1, 7, 8, 9, 200, 2000):
        data = rng.randbytes(size)
        assert b"".join(map(nesting.write, nesting.parse(data))) == data
        changed, step = mutate(data, nesting, rng)
        assert isinstance(changed, bytes)
        assert step


@pytest.mark.parametrize("mutation", [damage, ts_packets.mutate, corrupt_block])
def test_mutations_accept_any_bytes(mutation: Mutation) -> None:
    rng = Random(12)
    for size in (0, 1, 3, 187, 188, 189, 1000):
        for _ in range(60):
            changed, step = mutation(rng.randbytes(size), rng)
            assert isinstance(changed, bytes)
            assert step


def test_extreme_nesting_does_not_exhaust_the_stack() -> None:
    node = Node(kind=b"moov")
    for _ in range(300):
        node = Node(kind=b"moov", children=[node])
    data = BOXES.write(node)
    assert b"".join(map(BOXES.write, BOXES.parse(data))) == data


def test_numbers_are_overwritten_in_place_and_files_are_joined() -> None:
    rng = Random(13)
    assert all(len(overwrite_number(bytes(20), rng)) == 20 for _ in range(50))
    assert overwrite_number(b"", rng) == b""
    joined = splice(b"a" * 100, b"b" * 100, rng)
    assert joined == joined.count(b"a") * b"a" + joined.count(b"b") * b"b"


def test_show_writes_one_input(seeds: tuple[Seed, ...], tmp_path: Path) -> None:
    app = Typer()
    app.command()(fuzz)
    out = tmp_path / "one"
    expected = make_input(seeds, 9, 122)
    # x264 does not give the same bytes each time.
    assert expected.name == "000122-sound.mp3"
    result = CliRunner().invoke(app, ["--seed", "9", "--show", "122", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert out.read_bytes() == expected.data
