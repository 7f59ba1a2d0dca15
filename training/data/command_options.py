"""Options of the command line that several commands have: where the parts of a data set are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AnnotationsOption = Annotated[
    Path | None,
    typer.Option(help="Folder of Train_Set and Validation_Set; default: searched for in DATA."),
]
CropsOption = Annotated[
    list[Path] | None,
    typer.Option(help="Folder of crops; repeatable; default: DATA/cropped_aligned*."),
]
VideosOption = Annotated[
    list[Path] | None,
    typer.Option(help="Folder of videos; repeatable; default: searched for in DATA."),
]
SubjectsOption = Annotated[
    Path | None,
    typer.Option(help="CSV with the columns video,subject; default: DATA/subjects.csv, if there."),
]
MissingAudioOption = Annotated[
    bool,
    typer.Option(
        "--allow-missing-audio", help="What a missing, broken or short video lacks is silence."
    ),
]
SharedSubjectsOption = Annotated[
    bool,
    typer.Option(
        "--refuse-shared-subjects",
        help="End if a person of the training set is in the validation set; default: left out of "
        "fold 0, and logged.",
    ),
]
