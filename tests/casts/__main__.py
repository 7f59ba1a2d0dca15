"""Table of all casts: `python -m tests.casts [--filmed CLIP ...] [--one CLIP ...]`.

CLIPs of --filmed show one person each, of different people; all edits are made of them too.
CLIPs of --one show one person in one shot, and are scored as they are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from service.faces.finder import open_face_finder
from service.settings import Settings
from tests.casts.catalogue import MakeCast, one_person_casts, several_people_casts
from tests.casts.groups import group_casts
from tests.casts.score import CastScore, score_cast
from tests.casts.shot import Shot, frame_person, read_person, render_person

RATE_HZ = 25.0
SEEDS = (251, 205, 114, 7)
PICTURES = 100
MIN_PEOPLE = 3
HEADER = f"{'cast':58} people found purity switches splits missed ms/picture"


def main() -> None:
    """Print a row for each cast, and the sums of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filmed", nargs="*", default=[], type=Path)
    parser.add_argument("--one", nargs="*", default=[], type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--drawn", default=3, type=int, help="drawn people")
    options = parser.parse_args()
    drawn = {
        f"drawn {seed}": render_person(seed, seconds=PICTURES / RATE_HZ, rate_hz=RATE_HZ)
        for seed in SEEDS[: options.drawn]
    }
    filmed = {
        f"filmed {file.stem}": _frame(
            read_person(file, person=file.stem, pictures=PICTURES, height=960)
        )
        for file in options.filmed
    }
    whole: dict[str, MakeCast] = {
        f"one person: {file.name}": lambda file=file: read_person(
            file, person="one", pictures=500, height=480
        )
        for file in options.one
    }
    sys.stdout.write(HEADER + "\n")
    report("one person", {**_one_person(drawn), **_one_person(filmed), **whole}, options.only)
    report("several people", {**_several(drawn), **_several(filmed)}, options.only)
    if options.drawn:
        report("groups", group_casts(*SEEDS[:3], rate_hz=RATE_HZ), options.only)


def _one_person(shots: Mapping[str, Shot]) -> dict[str, MakeCast]:
    return {
        f"{who}: {name}": make
        for who, shot in shots.items()
        for name, make in one_person_casts(shot).items()
    }


def _several(shots: Mapping[str, Shot]) -> dict[str, MakeCast]:
    people = list(shots.items())
    casts: dict[str, MakeCast] = {}
    for index in range(len(people) if len(people) > MIN_PEOPLE - 1 else 0):
        trio = [people[(index + step) % len(people)] for step in range(MIN_PEOPLE)]
        size = min(len(shot) for _, shot in trio)
        for name, make in several_people_casts(*(shot[:size] for _, shot in trio)).items():
            casts[f"{trio[0][0]}, {trio[1][0]}: {name}"] = make
    return casts


def _frame(shot: Shot) -> Shot:
    faces = open_face_finder(Settings().face_models_dir, None).find(shot[0].pixels)
    return frame_person(shot, faces[0].box)


def report(kind: str, casts: Mapping[str, MakeCast], only: str) -> None:
    """Print the casts of a kind whose names contain `only`, and their sums."""
    scores = list(_score(casts, only))
    pictures = sum(score.found for score in scores)
    if pictures:
        ideal = sum(not (each.switches or each.splits or each.purity < 1) for each in scores)
        purity = sum(each.purity * each.found for each in scores) / pictures
        sys.stdout.write(
            f"{kind}: {ideal} of {len(scores)} casts without a fault; purity {purity:.3f}, "
            f"switches {sum(each.switches for each in scores)}, "
            f"splits {sum(each.splits for each in scores)}, primary missed "
            f"{sum(each.primary_missed for each in scores) / len(scores):.3f}\n"
        )
    sys.stdout.flush()


def _score(casts: Mapping[str, MakeCast], only: str) -> Iterator[CastScore]:
    for name, make in casts.items():
        if only in name:
            shot = make()
            score = score_cast(shot, open_face_finder(Settings().face_models_dir, None))
            sys.stdout.write(
                f"{name:58} {score.people:6} {score.found:5} {score.purity:6.3f} "
                f"{score.switches:8} {score.splits:6} {score.primary_missed:6.3f} "
                f"{1000 * score.seconds / len(shot):10.1f}\n"
            )
            sys.stdout.flush()
            yield score


if __name__ == "__main__":
    main()
