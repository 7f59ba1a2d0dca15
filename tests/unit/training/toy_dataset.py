"""Toy data set in Aff-Wild2's layout: grey faces and tones that encode valence and arousal."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from service.domain.array_types import Float32Array
from training.data.samples import WindowGrid
from training.loop.options import TrainingOptions, TrainingSchedule
from training.networks.encoder import EncoderConfig
from training.networks.fusion import FusionConfig
from training.networks.iresnet import IResNetConfig
from training.networks.tcn import TcnConfig
from training.networks.vggish import VggishConfig
from training.presets import Preset
from training.synthetic.container import write_clip

FRAME_RATE = Fraction(25)
TINY_PRESET = Preset(
    name="tiny",
    visual=IResNetConfig(blocks=(1, 1, 1, 1), widths=(16, 16, 16, 16)),
    audio=VggishConfig(stages=((8,), (8,), (8,), (8,)), hidden=(16, 16)),
    fusion=FusionConfig(
        visual=TcnConfig(inputs=512, widths=(8, 8), kernel=3),
        audio=TcnConfig(inputs=128, widths=(8, 8), kernel=3),
        encoder=EncoderConfig(width=8, layers=1, heads=2, feedforward=8),
    ),
)
QUICK_OPTIONS = TrainingOptions(
    grid=WindowGrid(window_frames=30, hop_frames=20),
    backbone=TrainingSchedule(epochs=2, learning_rate=3e-3, batch_windows=6, warm_up_epochs=1),
    fold=TrainingSchedule(epochs=3, learning_rate=3e-3, batch_windows=6, warm_up_epochs=1),
    calibration_share=0.15,
    frames_per_window=4,
    validation_stride=4,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyRecording:
    """Specification of one recording."""

    name: str
    folder: str
    rows: int = 50
    rows_without_crop: tuple[int, ...] = ()
    unannotated_rows: tuple[int, ...] = ()


TOY_RECORDINGS = (
    *(ToyRecording(name=f"train{i}", folder="Train_Set") for i in range(6)),
    ToyRecording(
        name="duo_left", folder="Train_Set", rows_without_crop=(0, 1, 20), unannotated_rows=(3, 4)
    ),
    ToyRecording(name="duo_right", folder="Train_Set", rows=45),
    ToyRecording(
        name="check0", folder="Validation_Set", rows_without_crop=(0,), unannotated_rows=(10,)
    ),
    ToyRecording(name="check1", folder="Validation_Set", rows=25),
    ToyRecording(
        name="test0", folder="Test_Set", rows_without_crop=(0, 1, 30), unannotated_rows=(7,)
    ),
    ToyRecording(name="test1", folder="Test_Set"),
)


def write_dataset(
    root: Path, recordings: tuple[ToyRecording, ...] = TOY_RECORDINGS, *, videos: bool = True
) -> Path:
    """Write the recordings; the same specifications give the same files."""
    for number, recording in enumerate(recordings):
        _write_recording(root, recording, np.random.default_rng(number))
        subject = recording.name.removesuffix("_left").removesuffix("_right")
        video = root / "videos" / f"{subject}.mp4"
        if videos and not video.exists():
            video.parent.mkdir(exist_ok=True)
            _write_video(video, recording.rows, np.random.default_rng(number))
    return root


def draw_valence_arousal(rows: int, random: np.random.Generator) -> Float32Array:
    """Draw smooth valence and arousal, (T, 2)."""
    time = np.arange(rows)[:, None] / rows
    phases = random.uniform(0, 2 * np.pi, 2)
    return (0.8 * np.sin(2 * np.pi * time * random.uniform(1, 2, 2) + phases)).astype(np.float32)


def _write_recording(root: Path, recording: ToyRecording, random: np.random.Generator) -> None:
    targets = draw_valence_arousal(recording.rows, random)
    lines = [
        "-5,-5" if row in recording.unannotated_rows else f"{valence:.4f},{arousal:.4f}"
        for row, (valence, arousal) in enumerate(targets.tolist())
    ]
    file = root / "VA_Estimation_Challenge" / recording.folder / f"{recording.name}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(["valence,arousal", *lines]) + "\n")
    crops = root / "cropped_aligned" / recording.name
    crops.mkdir(parents=True)
    for row, (valence, arousal) in enumerate(targets.tolist()):
        if row not in recording.rows_without_crop:
            crop = np.full((112, 112, 3), 128 + 90 * valence, np.uint8)
            crop[: int(56 + 50 * arousal)] //= 2
            cv2.imwrite(str(crops / f"{row + 1:05d}.jpg"), crop)


def _write_video(file: Path, rows: int, random: np.random.Generator) -> None:
    arousal = draw_valence_arousal(rows, random)[:, 1]
    time = np.arange(int(16_000 * (rows / FRAME_RATE + 1))) / 16_000
    loudness = 0.3 + 0.2 * np.interp(time, np.arange(rows) / float(FRAME_RATE), arousal)
    waveform = (loudness * np.sin(2 * np.pi * 300 * time)).astype(np.float32)
    images = (np.zeros((32, 32, 3), np.uint8) for _ in range(rows))
    write_clip(file, images, rate=FRAME_RATE, waveform=waveform)
