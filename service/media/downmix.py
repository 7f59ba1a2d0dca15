"""Down-mix to one channel: no channels cancel, and a voice is as loud as in stereo.

Mono and stereo frames pass as they are: their mean is taken when they are resampled. Where the
channels have opposite phase they would cancel in it; then both become the stronger one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from service.media.audio_clock import MAX_HELD_FRAMES, TimedFrame, read_format
from service.media.channel_gains import STEREO_LAYOUTS, Samples, read_gains

MAX_PASSED_CHANNELS: Final = 2
"""Frames of more channels are mixed to one of float samples."""
_MONO_LAYOUTS: Final = frozenset({"mono", "1 channels"})
_CANCELLED_RATIO: Final = 0.25
"""Channels cancel where the mix has less than a quarter of the power that unrelated ones have."""
_RESTORED_RATIO: Final = 0.5
_OPPOSITE_CORRELATION: Final = -0.5
_AUDIBLE_POWER: Final = 1e-6
"""Mean power, of which 1 is full scale, above which a frame counts: -60 dB."""
_EVIDENCE_SECONDS: Final = 0.25
_MAX_HELD_SECONDS: Final = 1.0
_MEMORY_SECONDS: Final = 0.5
"""Time constant of the averages of power and of the peaks."""
_SCALES: Final = {
    "u8": (2.0**7, 2.0**7),
    "s16": (2.0**15, 0.0),
    "s32": (2.0**31, 0.0),
    "flt": (1.0, 0.0),
    "dbl": (1.0, 0.0),
}
"""Full scale and zero of the sample formats whose stereo is passed."""
_MAX_SAMPLE: Final = 8.0
"""Limit of float samples, which may be beyond full scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownmixerSnapshot:
    """State of a Downmixer without the frames that it holds; see its attributes."""

    has_cancelled: bool
    weights: tuple[float, ...]
    energies: tuple[float, float]
    peaks: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measurement:
    """A frame's samples and their energies, which are sums over the samples.

    samples: (C, n), full scale is 1; mixed: of the mix by the usual gains; unrelated: of the mix if
    the channels were unrelated.
    """

    timed: TimedFrame
    samples: Samples
    mixed: float
    unrelated: float

    @property
    def is_audible(self) -> bool:
        return self.unrelated > _AUDIBLE_POWER * self.samples.shape[1]

    @property
    def seconds(self) -> float:
        return self.samples.shape[1] / self.timed.frame.sample_rate


class Downmixer:
    """Mixes frames to one channel; holds some back while their channels seem to cancel.

    has_cancelled: True once channels have cancelled. weights: of the channels, where not the usual
    gains; energies: of the mix by those gains, and if the channels were unrelated; peaks: of the
    loudest channel and of the mix, decaying.
    """

    def __init__(self) -> None:
        self.has_cancelled = False
        self._measured: deque[_Measurement] = deque()
        self._format: tuple[str, str, int] | None = None
        self._is_stereo = False
        self._unpacker: AudioResampler | None = None
        self._gains = np.zeros(0)
        self._weights: Samples | None = None
        self._energies = (0.0, 0.0)
        self._peaks = (0.0, 0.0)

    @property
    def held(self) -> list[TimedFrame]:
        """Frames that are not mixed yet."""
        return [each.timed for each in self._measured]

    def push(self, timed: TimedFrame) -> Iterator[TimedFrame]:
        """Yield the frames that the next one completes: mono, or stereo whose mean is sound."""
        if not timed.frame.samples:
            return
        if timed.frame.layout.name in _MONO_LAYOUTS:
            yield from self.flush()
            yield timed
            return
        if read_format(timed.frame) != self._format:
            yield from self.flush()
            self._start_format(timed.frame)
        measured = self._measure(timed)
        if self._weights is None:
            yield from self._watch(measured)
        else:
            yield self._mix(measured, self._choose_weights(measured))

    def flush(self) -> Iterator[TimedFrame]:
        """Yield the frames that are held."""
        if self._measured:
            yield from self._release(is_cancelling=True)

    def snapshot(self) -> DownmixerSnapshot:
        """Return the state without the frames that are held."""
        return DownmixerSnapshot(
            has_cancelled=self.has_cancelled,
            weights=() if self._weights is None else tuple(self._weights.tolist()),
            energies=self._energies,
            peaks=self._peaks,
        )

    def restore(
        self, snapshot: DownmixerSnapshot, held: Iterable[TimedFrame], like: AudioFrame
    ) -> None:
        """Continue from a snapshot, with the frames that were held and one like the last mixed."""
        self._start_format(like)
        self.has_cancelled, self._energies = snapshot.has_cancelled, snapshot.energies
        self._weights = np.array(snapshot.weights) if snapshot.weights else None
        self._peaks = snapshot.peaks
        self._measured.extend(self._measure(timed) for timed in held)

    def _start_format(self, frame: AudioFrame) -> None:
        self._format = name, layout, rate_hz = read_format(frame)
        self._is_stereo = layout in STEREO_LAYOUTS and name.removesuffix("p") in _SCALES
        # PyAV reads beyond the eight pointers to the planes of a frame
        self._unpacker = None if self._is_stereo else AudioResampler("flt", frame.layout, rate_hz)
        self._gains = read_gains(frame)
        self._weights, self._energies, self._peaks = None, (0.0, 0.0), (0.0, 0.0)

    def _measure(self, timed: TimedFrame) -> _Measurement:
        samples = self._read_samples(timed.frame)
        mix = self._gains @ samples
        return _Measurement(
            timed=timed,
            samples=samples,
            mixed=float(mix @ mix),
            unrelated=float(self._gains**2 @ np.einsum("cn,cn->c", samples, samples)),
        )

    def _read_samples(self, frame: AudioFrame) -> Samples:
        """Read (C, n) samples of which full scale is 1."""
        scale, offset = 1.0, 0.0
        if self._unpacker is None:
            raw = frame.to_ndarray()
            scale, offset = _SCALES[frame.format.name.removesuffix("p")]
        else:
            frame.pts = None
            raw = np.hstack([each.to_ndarray() for each in self._unpacker.resample(frame)])
        if raw.shape[0] != len(self._gains):
            raw = raw.reshape(-1, len(self._gains)).T
        samples = (raw.astype(np.float64) - offset) / scale
        return np.clip(np.nan_to_num(samples), -_MAX_SAMPLE, _MAX_SAMPLE)

    def _watch(self, measured: _Measurement) -> Iterator[TimedFrame]:
        """Mix, but hold frames back while their channels cancel, until that is certain."""
        if not self._measured and not (measured.is_audible and _cancel([measured])):
            yield self._mix(measured, None)
            return
        self._measured.append(measured)
        audible = [each for each in self._measured if each.is_audible]
        is_full = len(self._measured) >= MAX_HELD_FRAMES
        is_full |= sum(each.seconds for each in self._measured) >= _MAX_HELD_SECONDS
        if not _cancel(audible):
            yield from self._release(is_cancelling=False)
        elif is_full or sum(each.seconds for each in audible) >= _EVIDENCE_SECONDS:
            yield from self._release(is_cancelling=True)

    def _release(self, *, is_cancelling: bool) -> Iterator[TimedFrame]:
        weights = None
        if is_cancelling:
            self.has_cancelled = True
            weights = _weigh_cancelling(np.hstack([m.samples for m in self._measured]), self._gains)
            mixed = sum(each.mixed for each in self._measured)
            self._energies = (mixed, sum(each.unrelated for each in self._measured))
        while self._measured:
            yield self._mix(self._measured.popleft(), weights)

    def _choose_weights(self, measured: _Measurement) -> Samples | None:
        """Choose the usual gains again once the channels no longer cancel."""
        decay = math.exp(-measured.seconds / _MEMORY_SECONDS)
        mixed, unrelated = self._energies
        self._energies = (decay * mixed + measured.mixed, decay * unrelated + measured.unrelated)
        mixed, unrelated = self._energies
        return None if mixed > _RESTORED_RATIO * unrelated else self._weights

    def _mix(self, measured: _Measurement, weights: Samples | None) -> TimedFrame:
        """Mix a frame, with a fade from the weights of the one before it."""
        frame, before = measured.timed.frame, self._weights
        self._weights = weights
        if self._is_stereo and before is None and weights is None:
            return measured.timed
        after = self._gains if weights is None else weights
        mixed = after @ measured.samples
        if before is not weights:
            fade = np.linspace(0.0, 1.0, mixed.shape[0])
            mixed = fade * mixed + (1 - fade) * (
                (self._gains if before is None else before) @ measured.samples
            )
        if self._is_stereo:
            made = _write_stereo(mixed, frame)
        else:
            made = _write_mono(self._limit(mixed, np.abs(measured.samples).max(0), frame), frame)
        return TimedFrame(frame=made, start=measured.timed.start)

    def _limit(self, mixed: Samples, loudest: Samples, frame: AudioFrame) -> Samples:
        """Keep the mix no louder than its loudest channel, by peaks that decay slowly."""
        rate = _MEMORY_SECONDS * frame.sample_rate
        channel_peaks = _follow_peaks(loudest, self._peaks[0], rate)
        mix_peaks = _follow_peaks(np.abs(mixed), self._peaks[1], rate)
        self._peaks = (float(channel_peaks[-1]), float(mix_peaks[-1]))
        return mixed * np.minimum(1.0, channel_peaks / np.maximum(mix_peaks, 1e-12))


def _cancel(measured: Sequence[_Measurement]) -> bool:
    mixed = sum(each.mixed for each in measured)
    return mixed < _CANCELLED_RATIO * sum(each.unrelated for each in measured)


def _weigh_cancelling(samples: Samples, gains: Samples) -> Samples:
    """Weigh channels that cancel: of two the stronger; of more, opposite ones are inverted."""
    energies = gains**2 * np.einsum("cn,cn->c", samples, samples)
    strongest = int(np.argmax(energies))
    if len(gains) == MAX_PASSED_CHANNELS:
        return np.eye(len(gains))[strongest]
    related = samples @ samples[strongest] * gains * gains[strongest]
    limits = _OPPOSITE_CORRELATION * np.sqrt(energies * energies[strongest])
    return np.where(related < limits, -gains, gains)


def _write_stereo(mixed: Samples, frame: AudioFrame) -> AudioFrame:
    """Write (n,) samples to both channels of a frame of the same format."""
    like = frame.to_ndarray()
    scale, offset = _SCALES[frame.format.name.removesuffix("p")]
    values: npt.NDArray[Any] = mixed * scale + offset
    if like.dtype.kind != "f":
        values = np.clip(np.round(values), offset - scale, offset + scale - 1)
    is_planar = like.shape[0] == MAX_PASSED_CHANNELS
    values = np.tile(values, (2, 1)) if is_planar else np.repeat(values, 2)[None]
    return _make_frame(values.astype(like.dtype), frame.format.name, frame.layout.name, frame)


def _write_mono(mixed: Samples, frame: AudioFrame) -> AudioFrame:
    return _make_frame(mixed.astype(np.float32)[None], "flt", "mono", frame)


def _make_frame(samples: npt.NDArray[Any], kind: str, layout: str, like: AudioFrame) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=kind, layout=layout)
    frame.sample_rate = like.sample_rate
    return frame


def _follow_peaks(levels: Samples, peak: float, rate: float) -> Samples:
    """Return the highest level so far at each sample, each decaying exponentially since it came."""
    rise = np.arange(1, len(levels) + 1) / rate
    logs = np.log(np.maximum(np.append(peak, levels), 1e-12)) + np.append(0.0, rise)
    return np.exp(np.maximum.accumulate(logs)[1:] - rise)
