"""Standard deviation of provisional results, from the frames and audio received so far."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.array_types import BoolArray, Float32Array
from service.domain.clip import FaceBox, Frame, TrackedFace
from service.domain.model_signatures import LIVE_WINDOW_FRAMES
from service.domain.options import FaceSelection
from service.domain.ports import Inference
from service.domain.uncertainty import FACTORS, UNCALIBRATED, StdMeaning, UncertaintyModel
from service.streaming.stages.provisional import ProvisionalEstimator

FACE = TrackedFace(track=1, box=FaceBox(left=0, top=0, width=99, height=99, score=1.0))
SPREAD = 0.05
MODEL = UncertaintyModel(
    meaning=StdMeaning.CALIBRATED,
    weights=dict.fromkeys(FACTORS, (0.0, 0.0))
    | {"constant": (-2.0, -2.0), "absence": (0.2, 0.2), "voicelessness": (0.3, 0.3)},
    provisional=(0.5, 0.5),
    silence=(0.0,) * 128,
    silence_radius=1.0,
)


class ConstantFusion(Inference):
    """Fusion whose estimates are 0 with one spread."""

    async def embed_faces(self, crops: object) -> Float32Array:
        raise NotImplementedError

    async def embed_voice(self, waveform: object, patch_starts: object) -> Float32Array:
        raise NotImplementedError

    async def fuse(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        raise NotImplementedError

    async def fuse_live(
        self, visual: Float32Array, audio: Float32Array, mask: BoolArray
    ) -> tuple[Float32Array, Float32Array]:
        mean = np.zeros((*mask.shape, 2), np.float32)
        return mean, mean + np.float32(SPREAD)

    async def is_ready(self) -> bool:
        return True


async def stream_std(
    present: list[bool], *, voice: float, model: UncertaintyModel = MODEL
) -> list[float]:
    """Valence's standard deviation of each frame, 25 a second, whose audio is there at once."""
    estimator = ProvisionalEstimator(
        inference=ConstantFusion(),
        faces=FaceSelection.PRIMARY,
        smoothing_seconds=0.2,
        uncertainty=model,
    )
    deviations: list[float] = []
    for index, has_face in enumerate(present):
        faces = (FACE,) if has_face else ()
        frame = Frame(index=index, time_seconds=index / 25, faces=faces)
        estimator.add_frame(frame, np.zeros((len(faces), 512), np.float32))
        estimator.add_voice(index, np.full((1, 128), voice, np.float32))
        for _, tracks in await estimator.estimate():
            estimate = tracks[1]
            assert estimate is not None
            deviations.append(estimate.valence_std)
    return deviations


async def test_absence_is_counted_beyond_the_window_of_the_estimate() -> None:
    deviations = await stream_std([True] * 5 + [False] * 100, voice=1.0)
    assert deviations[:5] == [pytest.approx(np.exp(-1.5))] * 5
    assert deviations[4:] == sorted(set(deviations[4:]))
    assert deviations[-1] == pytest.approx(np.exp(-1.5) * (1 + 4 / 0.2) ** 0.2)


async def test_a_stream_without_a_voice_is_less_certain() -> None:
    voiced = await stream_std([True] * 50, voice=1.0)
    silent = await stream_std([True] * 50, voice=0.0)
    # Never voices counts as 30 s, of a scale of 0.5 s.
    np.testing.assert_allclose(np.array(silent) / voiced, 61**0.3, rtol=1e-5)


async def test_without_a_calibration_it_is_the_disagreement() -> None:
    deviations = await stream_std([True, False], voice=0.0, model=UNCALIBRATED)
    assert deviations == [pytest.approx(SPREAD)] * 2


@pytest.mark.parametrize("lead", [1, 3, 50])
async def test_voice_that_is_embedded_before_the_faces_is_that_of_its_own_frame(lead: int) -> None:
    voices: list[list[float]] = []

    class RecordingFusion(ConstantFusion):
        async def fuse_live(
            self, visual: Float32Array, audio: Float32Array, mask: BoolArray
        ) -> tuple[Float32Array, Float32Array]:
            voices.append(audio[0, mask[0], 0].tolist())
            return await super().fuse_live(visual, audio, mask)

    estimator = ProvisionalEstimator(
        inference=RecordingFusion(), faces=FaceSelection.PRIMARY, smoothing_seconds=0.2
    )
    known = 0
    for index in range(50):
        while known < min(index + lead, 50):
            estimator.add_voice(known, np.full((1, 128), known, np.float32))
            known += 1
        frame = Frame(index=index, time_seconds=index / 25, faces=(FACE,))
        estimator.add_frame(frame, np.zeros((1, 512), np.float32))
        await estimator.estimate()
        assert voices[-1] == [*range(max(0, index - LIVE_WINDOW_FRAMES + 1), index + 1)]
