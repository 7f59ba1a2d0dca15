"""Valence and arousal of a clip's main face, as a good engineer would write it in a day.

The handlers of all peers share it: OpenCV and PyAV, the face networks in LiteRT, and the served
models' own files in torch. It imports nothing of the service, so it runs in environments of other
frameworks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import av
import cv2
import numpy as np
import torch

from bench.peers.face_tracking import FaceFollower, align

SAMPLE_RATE_HZ: Final = 16_000
HOP_SAMPLES: Final = 160
PATCH_SAMPLES: Final = 95 * HOP_SAMPLES + 400
CROP_BATCH: Final = 64
PATCH_BATCH: Final = 256
WINDOW_FRAMES: Final = 300
WINDOW_HOP_FRAMES: Final = 200

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerResult:
    """Time in seconds, valence and arousal of each frame; None before the first face."""

    time: list[float]
    valence: list[float | None]
    arousal: list[float | None]

    def to_dict(self) -> dict[str, list[float] | list[float | None]]:
        """Make the body of a JSON answer."""
        return {"time": self.time, "valence": self.valence, "arousal": self.arousal}


class PeerPipeline:
    """Loaded models; annotates one clip at a time."""

    def __init__(self, files: Path) -> None:
        """Load the face networks and the models of a folder, each on one thread."""
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        self._visual, self._log_mel, self._audio, self._fusion = (
            _load(files / f"{name}.pt")
            for name in ("visual_backbone", "log_mel", "audio_backbone", "fusion")
        )
        self._follower = FaceFollower(files)

    @staticmethod
    def from_environment() -> PeerPipeline:
        """Load the folder that the variable PEER_FILES names."""
        return PeerPipeline(Path(os.environ["PEER_FILES"]))

    @torch.inference_mode()
    def annotate(self, clip: str | os.PathLike[str]) -> PeerResult:
        """Annotate every frame of a clip."""
        faces = self._embed_faces(os.fspath(clip))
        times = np.array(faces.times)
        voice = self._embed_voice(read_waveform(os.fspath(clip)), times)
        visual, known = faces.fill_forward()
        estimates = self._fuse(visual, voice, known)
        values = np.where(known.numpy()[:, None], estimates, np.nan)
        valence, arousal = (
            [None if np.isnan(value) else float(value) for value in column] for column in values.T
        )
        return PeerResult(time=faces.times, valence=valence, arousal=arousal)

    def _embed_faces(self, clip: str) -> _FaceEmbeddings:
        faces, crops = _FaceEmbeddings(), list[Array]()
        self._follower.reset()
        for time_seconds, picture in read_pictures(clip):
            landmarks = self._follower.find(picture)
            faces.times.append(time_seconds)
            faces.found.append(landmarks is not None)
            if landmarks is not None:
                crops.append(align(picture, landmarks))
            if len(crops) == CROP_BATCH:
                faces.embeddings.append(self._embed_crops(crops))
                crops.clear()
        if crops:
            faces.embeddings.append(self._embed_crops(crops))
        return faces

    def _embed_crops(self, crops: list[Array]) -> torch.Tensor:
        batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        return self._visual(batch)

    def _embed_voice(self, waveform: Array, times: Array) -> torch.Tensor:
        """Embed the 0.975 s of audio that start at each frame's time, (T, 128)."""
        hops = np.ceil(np.round(times * SAMPLE_RATE_HZ / HOP_SAMPLES, 6) - 0.5).astype(np.int64)
        needed = int(hops.max()) * HOP_SAMPLES + PATCH_SAMPLES + HOP_SAMPLES
        samples = torch.from_numpy(np.pad(waveform, (0, max(0, needed - len(waveform)))))
        parts: list[torch.Tensor] = []
        for first in range(0, len(hops), PATCH_BATCH):
            part = hops[first : first + PATCH_BATCH]
            start, stop = int(part.min()) * HOP_SAMPLES, int(part.max()) * HOP_SAMPLES
            piece = samples[start : stop + PATCH_SAMPLES + HOP_SAMPLES]
            patches = self._log_mel(piece, torch.from_numpy(part - part.min()))
            parts.append(self._audio(patches))
        return torch.cat(parts)

    def _fuse(self, visual: torch.Tensor, voice: torch.Tensor, known: torch.Tensor) -> Array:
        """Average the outputs of overlapping windows, (T, 2)."""
        frames = len(known)
        total, count = np.zeros((frames, 2)), np.zeros((frames, 1))
        for start in range(
            0, max(1, frames - WINDOW_FRAMES + WINDOW_HOP_FRAMES), WINDOW_HOP_FRAMES
        ):
            window = slice(start, min(start + WINDOW_FRAMES, frames))
            length = window.stop - window.start
            padding = WINDOW_FRAMES - length
            mean, _ = self._fusion(
                torch.nn.functional.pad(visual[window], (0, 0, 0, padding)),
                torch.nn.functional.pad(voice[window], (0, 0, 0, padding)),
                torch.nn.functional.pad(known[window], (0, padding)),
            )
            total[window] += mean[:length].numpy()
            count[window] += 1
        return total / count


@dataclass(slots=True)
class _FaceEmbeddings:
    """Times of all frames, which of them have a face, and batches of the faces' embeddings."""

    times: list[float] = field(default_factory=list[float])
    found: list[bool] = field(default_factory=list[bool])
    embeddings: list[torch.Tensor] = field(default_factory=list[torch.Tensor])

    def fill_forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Give frames without a face the last one's embedding: (T, 512), and (T,) known."""
        latest = torch.from_numpy(np.cumsum(self.found) - 1)
        known = latest >= 0
        embeddings = torch.cat(self.embeddings) if self.embeddings else torch.zeros(1, 512)
        return embeddings[latest.clamp(min=0)] * known[:, None], known


def _load(file: Path) -> Callable[..., Any]:
    return cast("Callable[..., Any]", torch.jit.load(str(file)).eval())


def read_pictures(clip: str) -> Iterator[tuple[float, Array]]:
    """Decode time in seconds and (H, W, 3) BGR picture of each frame."""
    capture = cv2.VideoCapture(clip, cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise ValueError("The clip cannot be opened")
    try:
        while True:
            is_read, picture = capture.read()
            if not is_read:
                return
            yield capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, picture
    finally:
        capture.release()


def read_waveform(clip: str) -> Array:
    """Decode the first audio stream to mono at 16 kHz, (S,) from the clip's time 0."""
    with av.open(clip) as container:
        if not container.streams.audio:
            return np.zeros(0, np.float32)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
        parts: list[Array] = []
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
