"""The spread fitted anew, on more people than a training can keep back.

How often a person is misjudged differs from person to person: twenty of them place a 90 % interval
within some four per cent, a hundred and twenty within one or two.
"""

from __future__ import annotations

from pathlib import Path

import torch

from training.data.layout import Split, fingerprint_dataset, read_dataset
from training.evaluation.calibration import calibrate_from_timelines
from training.evaluation.run_estimator import RunEstimator
from training.loop.errors import SubjectsNotHeldOut
from training.loop.run_logger import RunLogger
from training.runs import check_has_all_folds, open_run


def recalibrate(folder: Path, data: Path, *, device: torch.device, logger: RunLogger) -> str:
    """Calibrate a run on everybody in a data set, whatever the split; says what came of it.

    Raises: DatasetError; RunError: SubjectsMet where the run learnt from one of them, or was
        validated on one.
    """
    run, recordings = open_run(folder), read_dataset(data)
    check_has_all_folds(run)
    seen_names = {name for fold in run.plan.folds for name in (*fold.training, *fold.validation)}
    shared_names = sorted(seen_names & {recording.name for recording in recordings})
    if shared_names:
        raise SubjectsNotHeldOut(
            f"{data} holds {len(shared_names)} recordings of its training: {shared_names[0]}"
        )
    estimation = RunEstimator(
        split=Split.TEST,
        recordings=recordings,
        fingerprint=fingerprint_dataset(recordings),
        data=data,
        out=None,
        device=device,
        logger=logger,
    )
    return calibrate_from_timelines(run, recordings, estimation.estimate(run, run))
