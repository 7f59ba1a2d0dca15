"""Memory of a decode process, which does not depend on the length of its clip."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import psutil

from bench.long_clip import write_long_clip
from service.decoding.extractor import open_clip_extractor
from service.domain.clip import Chunk
from service.domain.options import AnalysisOptions
from service.settings import Settings

LOW_FRAME_RATE = Fraction(1, 8)


def high_water_mib() -> float:
    """Return the largest peak of resident memory of the processes under this one."""
    found = [0]
    for process in psutil.Process().children(recursive=True):
        with suppress(OSError, psutil.NoSuchProcess):
            status = Path("/proc", str(process.pid), "status").read_text()
            lines = (line.split() for line in status.splitlines())
            found += [int(words[1]) for words in lines if words[0] == "VmHWM:"]
    return max(found) / 1024


async def measure_frames_and_peak_mib(clip: Path) -> tuple[int, float]:
    """Return the frames, and the peak memory of the decode process."""
    frames, peak_mib = 0, 0.0
    async with (
        open_clip_extractor(Settings()) as extractor,
        extractor(clip, AnalysisOptions()) as messages,
    ):
        async for message in messages:
            frames += len(message.frames) if isinstance(message, Chunk) else 0
            peak_mib = max(peak_mib, high_water_mib())
    return frames, peak_mib


async def test_half_an_hour_of_audio_takes_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    """Stored as a whole, the audio would be 110 MiB."""
    minute, long = tmp_path / "minute.mp4", tmp_path / "long.mp4"
    write_long_clip(minute, 64, LOW_FRAME_RATE)
    write_long_clip(long, 1800, LOW_FRAME_RATE)
    frames_of_minute, minute_mib = await measure_frames_and_peak_mib(minute)
    frames_of_long, long_mib = await measure_frames_and_peak_mib(long)
    assert (frames_of_minute, frames_of_long) == (8, 225)
    assert long_mib - minute_mib < 60
