"""Downloads of pinned wheels through pip, checked by hash. Standard library only."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def download_wheel(
    requirement: str, folder: Path, tags: tuple[str, ...], sha256: Iterable[str]
) -> Path:
    """Download a wheel without its dependencies, for the platform of `tags`.

    Exits on failure, and where the wheel has none of these hashes.
    """
    pin = folder / "requirements.txt"
    pin.write_text(" ".join((requirement, *(f"--hash=sha256:{each}" for each in sha256))))
    completed = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary", ":all:", *tags, "--dest", folder),
            *("--require-hashes", "--requirement", pin),
        ],
        check=False,
    )
    wheel = next(folder.glob("*.whl"), None)
    if completed.returncode or wheel is None:
        sys.exit(f"{requirement} could not be downloaded; see the output above.")
    return wheel


def has_sha256(file: Path, expected: str) -> bool:
    """Return whether the file exists and has this SHA-256, in hex."""
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == expected


def print_line(line: str) -> None:
    """Print a progress message at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
