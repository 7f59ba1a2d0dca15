"""FFmpeg reference: the `ffmpeg` program makes clips and lists their frames."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg

_TIME_BASE = re.compile(r"config in time_base: (\d+)/(\d+)")
_FRAME_PTS = re.compile(r"\bn: *\d+ pts: *(-?\d+) ")


@dataclass(frozen=True, kw_only=True)
class FrameListing:
    """Frames of one stream in order: pts in ticks of `time_base` seconds."""

    time_base: Fraction
    ticks: list[int]

    def seconds(self) -> list[float]:
        return [float(ticks * self.time_base) for ticks in self.ticks]


def list_frames(clip: Path, stream: str = "v:0") -> FrameListing:
    """List the frames that `ffmpeg` decodes; damaged ones are skipped."""
    done = _run(
        *("-loglevel", "info", "-copyts", "-threads", "1", "-i", str(clip), "-map", f"0:{stream}"),
        *("-vf", "showinfo=checksum=0", "-fps_mode", "passthrough", "-f", "null", "-"),
    )
    base = _TIME_BASE.search(done.stderr)
    return FrameListing(
        time_base=Fraction(int(base[1]), int(base[2])) if base else Fraction(1),
        ticks=[int(found[1]) for found in _FRAME_PTS.finditer(done.stderr)],
    )


def run_ffmpeg(arguments: str, *, folder: Path) -> None:
    """Run FFmpeg in a folder, with the arguments of a command line."""
    done = _run("-loglevel", "error", "-y", *arguments.split(), folder=folder)
    assert done.returncode == 0, done.stderr


def _run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
