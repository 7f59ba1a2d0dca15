"""The spread fitted anew, on more people than a training can keep back.

How often a person is misjudged differs from person to person: twenty of them place a 90 % interval
within some four per cent, a hundred and twenty within one or two.
"""

from __future__ import annotations

from pathlib import Path

import torch

from training.data.layout import Split, fingerprint, read_dataset
from training.evaluation.calibration import calibrate_with
from training.evaluation.estimation import Estimation
from training.loop.errors import SubjectsMet
from training.loop.journal import Journal
from training.runs import check_folds, open_run


def recalibrate(folder: Path, data: Path, *, device: torch.device, journal: Journal) -> str:
    """Calibrate a run on everybody in a data set, whatever the split; says what came of it.

    Raises: DatasetError; RunError: SubjectsMet where the run learnt from one of them, or was
        validated on one.
    """
    run, recordings = open_run(folder), read_dataset(data)
    check_folds(run)
    met = {name for fold in run.plan.folds for name in (*fold.training, *fold.validation)}
    both = sorted(met & {recording.name for recording in recordings})
    if both:
        raise SubjectsMet(f"{data} holds {len(both)} recordings of its training: {both[0]}")
    estimation = Estimation(
        split=Split.TEST,
        recordings=recordings,
        fingerprint=fingerprint(recordings),
        data=data,
        out=None,
        device=device,
        journal=journal,
    )
    return calibrate_with(run, recordings, estimation.estimate(run, run))
