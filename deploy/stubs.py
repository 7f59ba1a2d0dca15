"""Generation of the Python protobuf modules, for the service and for the client.

    python -m deploy.stubs            write both
    python -m deploy.stubs --check    list outdated files

The service's modules lie beside the .proto files. The client is a distribution of its own and has
a copy of the annotation messages, generated into its own package.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
CONTRACT: Final = ROOT / "proto"
PACKAGE: Final = "circumplex.v1"
CLIENT: Final = ROOT / "clients" / "python"
CLIENT_PACKAGE: Final = "circumplex_client.v1"
PATTERN: Final = "*_pb2*.py*"
CLIENT_PATTERN: Final = "annotation_pb2.py*"


def main(arguments: list[str]) -> None:
    """Write the stubs, or compare them with the files."""
    parser = argparse.ArgumentParser(prog="deploy.stubs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 if outdated")
    is_check = parser.parse_args(arguments).check
    expected = dict(_generate_stubs())
    if not is_check:
        for file, text in expected.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return
    outdated = sorted(
        file
        for file in expected.keys() | _find_existing_stubs()
        if _read_text(file) != expected.get(file)
    )
    if outdated:
        names = ", ".join(str(file.relative_to(ROOT)) for file in outdated)
        sys.exit(f"Outdated stubs: {names}. Run `make proto`.")


def _generate_stubs() -> Iterator[tuple[Path, str]]:
    """Yield the path and content of every generated file."""
    with TemporaryDirectory(prefix="circumplex-") as folder:
        _run_protoc(Path(folder))
        for file in sorted(Path(folder).rglob(PATTERN)):
            text = file.read_text()
            yield CONTRACT / file.relative_to(folder), text
            if file.match(CLIENT_PATTERN):
                yield _package_folder(CLIENT, CLIENT_PACKAGE) / file.name, _rename_package(text)


def _run_protoc(folder: Path) -> None:
    sources = sorted(_package_folder(CONTRACT, PACKAGE).glob("*.proto"))
    kinds = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={CONTRACT}"]
    subprocess.run([*command, *kinds, *map(str, sources)], check=True)


def _rename_package(text: str) -> str:
    """Move a generated module to the client's package; protobuf names stay."""
    place = "(DESCRIPTOR, '{}."
    return text.replace(place.format(PACKAGE), place.format(CLIENT_PACKAGE))


def _find_existing_stubs() -> set[Path]:
    folders = (_package_folder(CONTRACT, PACKAGE), _package_folder(CLIENT, CLIENT_PACKAGE))
    return {file for folder in folders for file in folder.glob(PATTERN)}


def _read_text(file: Path) -> str | None:
    return file.read_text() if file.is_file() else None


def _package_folder(root: Path, package: str) -> Path:
    return root.joinpath(*package.split("."))


if __name__ == "__main__":
    main(sys.argv[1:])
