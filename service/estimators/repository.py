"""Model repository on disk: manifests of exported estimators, and the current version of each name.

model_repository/versions.json              {"expression": 1, "mini": 2}
model_repository/removed.json               {"mini": 3}: newest removed version of each name
model_repository/mini@2.json                manifest, written last by the export
model_repository/mini@2.fusion/1/model.pt   one folder for each model of Triton
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import PositiveInt, TypeAdapter, ValidationError

from service.domain.estimator import EstimatorChoice, EstimatorId, EstimatorManifest
from service.errors import ModelNotServed, ModelsMissing, ModelUnknown, RequestInvalid

VERSIONS_FILE_NAME: Final = "versions.json"
REMOVED_FILE_NAME: Final = "removed.json"
MAX_REASON_LENGTH: Final = 300
"""Letters of the reason why a manifest cannot be used."""
_VERSIONS: Final = TypeAdapter(dict[str, PositiveInt])


def parse_choice(model: str) -> EstimatorChoice:
    """Parse NAME or NAME@VERSION. Raises: RequestInvalid."""
    try:
        return EstimatorChoice.parse(model)
    except ValueError as error:
        raise RequestInvalid(str(error), field="model") from error


@dataclass(frozen=True, slots=True)
class EstimatorRepository:
    """Exported estimators in a folder; every call reads the disk anew."""

    folder: Path

    def list_ids(self) -> list[EstimatorId]:
        """List the exported estimators, in order of name and version."""
        return sorted(self._find_ids())

    def read_manifest(self, estimator: EstimatorId) -> EstimatorManifest:
        """Read a manifest. Raises: ModelNotServed: it is not exported, or its manifest damaged."""
        file = self.manifest_file(estimator)
        try:
            manifest = EstimatorManifest.parse(json.loads(file.read_bytes()))
        except FileNotFoundError:
            raise ModelNotServed(f"{estimator} is not exported, or was removed") from None
        except (ValueError, TypeError, KeyError, OSError, RecursionError) as error:
            detail = f"the manifest of {estimator} cannot be used: {_describe_error(error)}"
            advice = "restore it, or export the model again"
            raise ModelNotServed(f"{detail}; {advice}") from error
        if manifest.id != estimator:
            raise ModelNotServed(
                f"the manifest of {estimator} is that of {manifest.id}; restore it, or export the "
                "model again"
            )
        return manifest

    def resolve(self, choice: EstimatorChoice) -> EstimatorId:
        """Find the version that is meant: the chosen one, or the current one of the name.

        Raises: ModelUnknown: the name is not exported. ModelNotServed: the version is not, or
            versions.json is damaged. ModelsMissing: nothing has been exported.
        """
        exported = [each for each in self.list_ids() if each.name == choice.name]
        if not exported:
            self._require_any()
            names = ", ".join(sorted({each.name for each in self.list_ids()}))
            raise ModelUnknown(f"no model {choice.name!r} is exported; there are {names}")
        version = choice.version or self.read_versions().get(choice.name) or exported[-1].version
        found = EstimatorId(choice.name, version)
        if found not in exported:
            offered = ", ".join(map(str, exported))
            advice = "" if choice.version else "; `circumplex models use` makes one current"
            raise ModelNotServed(f"{found} is not exported; there are {offered}{advice}")
        return found

    def read_versions(self) -> dict[str, int]:
        """Read the current version of each name; of names without one the newest is current.

        Raises: ModelNotServed: the file is damaged.
        """
        return self._read_versions(VERSIONS_FILE_NAME)

    def set_current(self, estimator: EstimatorId) -> None:
        """Make a version the current one of its name; under `locked`. Raises: ModelNotServed."""
        self.read_manifest(estimator)
        versions = self.read_versions() | {estimator.name: estimator.version}
        self._write_versions(VERSIONS_FILE_NAME, versions)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep others on this machine from changing what is current or loaded; not re-entrant."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def next_version(self, name: str) -> int:
        """Return the version after the newest one that was ever exported.

        Raises: ModelNotServed: the file of removed versions is damaged.
        """
        exported = [each.version for each in self._find_ids() if each.name == name]
        return max(*exported, self._read_versions(REMOVED_FILE_NAME).get(name, 0), 0) + 1

    def remove(self, estimator: EstimatorId) -> None:
        """Delete a version's manifest, then its models; the newest one left becomes current.

        Its number is not given again: jobs may be pinned to it. Under `locked`. Raises:
            ModelNotServed: versions.json or removed.json is damaged.
        """
        versions = self.read_versions()
        removed = self._read_versions(REMOVED_FILE_NAME)
        newest = max(estimator.version, removed.get(estimator.name, 0))
        self._write_versions(REMOVED_FILE_NAME, removed | {estimator.name: newest})
        self.manifest_file(estimator).unlink(missing_ok=True)
        for part in self.folder.glob(f"{estimator}.*/"):
            shutil.rmtree(part)
        if versions.get(estimator.name) == estimator.version:
            left = [each for each in self.list_ids() if each.name == estimator.name]
            if left:
                versions[estimator.name] = left[-1].version
            else:
                del versions[estimator.name]
            self._write_versions(VERSIONS_FILE_NAME, versions)

    def manifest_file(self, estimator: EstimatorId) -> Path:
        """Return the path of a manifest."""
        return self.folder / f"{estimator}.json"

    def model_file(self, estimator: EstimatorId, slot: str) -> Path:
        """Return the path of the exported file of a slot."""
        return self.folder / estimator.part_name(slot) / "1" / "model.pt"

    def _find_ids(self) -> Iterator[EstimatorId]:
        for file in self.folder.glob("*@*.json"):
            try:
                yield EstimatorId.parse(file.stem)
            except ValueError:
                continue

    def _require_any(self) -> None:
        if not any(self._find_ids()):
            raise ModelsMissing(
                f"{self.folder.absolute()} holds no models: run `make export`, start from the "
                "project's folder, or set CIRCUMPLEX_MODEL_REPOSITORY"
            )

    def _read_versions(self, file_name: str) -> dict[str, int]:
        try:
            return _VERSIONS.validate_json((self.folder / file_name).read_bytes(), strict=True)
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            detail = f"{file_name} cannot be used: {_describe_error(error)}"
            raise ModelNotServed(f"{detail}; restore it, or delete it") from error

    def _write_versions(self, file_name: str, versions: Mapping[str, Any]) -> None:
        with tempfile.NamedTemporaryFile(
            "w", dir=self.folder, prefix=".versions-", delete=False, encoding="utf-8"
        ) as file:
            file.write(json.dumps(versions, indent=2, sort_keys=True) + "\n")
            os.fchmod(file.fileno(), 0o644)
        Path(file.name).replace(self.folder / file_name)


def _describe_error(error: Exception) -> str:
    """Say in one line, without paths and values, why a file cannot be used."""
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_input=False)
        places = (".".join(map(str, each["loc"])) for each in found)
        parts = (
            f"{place}: {each['msg']}" if place else each["msg"]
            for place, each in zip(places, found, strict=True)
        )
        reason = "; ".join(parts)
    elif isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
    else:
        reason = str(error)
    return " ".join(reason.split())[:MAX_REASON_LENGTH]
