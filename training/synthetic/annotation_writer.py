"""Truth as Aff-Wild2's annotators would have written it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from training.synthetic.performance import Performance
from training.synthetic.trajectory import Doubles

HEADER: Final = "valence,arousal"
UNANNOTATED: Final = "-5,-5"
_GAPS_PER_SECOND: Final = 0.02


def write_annotations(file: Path, performance: Performance, times: Doubles) -> None:
    """One row a frame; about one row in fifty, in stretches of up to two seconds, is -5."""
    random = np.random.default_rng([performance.seed, 10])
    known = np.ones(len(times), dtype=np.bool_)
    for start in random.uniform(
        0, performance.seconds, random.poisson(_GAPS_PER_SECOND * performance.seconds)
    ):
        known &= (times < start) | (times > start + random.uniform(0.2, 2.0))
    rows = [
        f"{valence:.6f},{arousal:.6f}" if is_known else UNANNOTATED
        for (valence, arousal), is_known in zip(performance.truth_at(times), known, strict=True)
    ]
    file.write_text("\n".join([HEADER, *rows]) + "\n")
