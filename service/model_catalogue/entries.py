"""Catalogue of published networks: address, hash, licences, figures.

The catalogue is data; nothing of the networks is part of this project.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import CatalogueEntryUnknown, CatalogueInvalid

LICENCE_ROLES: Final = ("code", "weights", "data")
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_MAX_CATALOGUE_BYTES: Final = 2**20


def check_address(url: str) -> str:
    """Return a URL that may be fetched: https, or http on this machine.

    Raises: ValueError: it is none.
    """
    parts = urlsplit(url)
    if not re.fullmatch(r"[!-~]+", url) or not parts.hostname or "@" in parts.netloc:
        raise ValueError("it is no URL of a file")
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in [
        ("http", name) for name in _LOOPBACK
    ]:
        raise ValueError("only https is fetched")
    return url


Text = Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
EntryName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Score = Annotated[float, Field(ge=-2, le=2)]


class CatalogueModel(BaseModel):
    """Part of the catalogue; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CatalogueLicence(CatalogueModel):
    """Licence of the code, of the weights or of the data that they were trained on."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,59}$")]
    statement: Text


class CatalogueLicences(CatalogueModel):
    """Licences that have to be accepted, each by its name."""

    code: CatalogueLicence
    weights: CatalogueLicence
    data: CatalogueLicence

    def by_name(self) -> dict[str, CatalogueLicence]:
        """Licences by the names under which they are accepted, such as `code:Apache-2.0`."""
        licences = zip(LICENCE_ROLES, (self.code, self.weights, self.data), strict=True)
        return {f"{role}:{licence.name}": licence for role, licence in licences}


class NetworkInput(CatalogueModel):
    """Input of the network: side in pixels, and mean and deviation of RGB in [0, 1]."""

    side: Annotated[int, Field(ge=16, le=512)]
    mean: tuple[Score, Score, Score]
    std: tuple[Score, Score, Score]


class PublishedFigure(CatalogueModel):
    """Published figure of the network, with its data and its source.

    rated_video: True for rated recordings with the network as it is served here: on the crops of
    this service, without anything fitted to those recordings.
    """

    metric: Literal["ccc", "rmse"]
    valence: Score
    arousal: Score
    on: Text
    source: Text
    measured_by: Literal["publisher", "project", "user"]
    rated_video: bool = False


class CatalogueEntry(CatalogueModel):
    """Published network that can be pulled.

    published_error: root mean square error of valence and arousal, the least standard deviation of
    its estimates. classes: in the order of the network's outputs.
    """

    name: EntryName
    title: Text
    url: Annotated[str, AfterValidator(check_address)]
    approximate_bytes: Annotated[int, Field(gt=0)]
    max_bytes: Annotated[int, Field(gt=0, le=2**28)]
    git_blob_sha1: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    licences: CatalogueLicences
    architecture: Literal["mobilefacenet", "efficientnet_b0"]
    input: NetworkInput
    classes: tuple[Annotated[str, Field(pattern=r"^[a-z_]{1,20}$")], ...] = Field(
        min_length=8, max_length=8
    )
    domain: Literal["photographs", "recordings"]
    smoothing_seconds: Annotated[float, Field(ge=0, le=10)]
    published_error: tuple[Annotated[float, Field(gt=0, le=2)], Annotated[float, Field(gt=0, le=2)]]
    figures: tuple[PublishedFigure, ...]
    notes: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _check_hash(self) -> CatalogueEntry:
        if self.git_blob_sha1 is None and self.sha256 is None:
            raise ValueError("an entry has git_blob_sha1, sha256 or both")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("a class occurs twice")
        return self


class Catalogue(CatalogueModel):
    """Entries of a catalogue file."""

    entries: tuple[CatalogueEntry, ...]

    @model_validator(mode="after")
    def _check_names(self) -> Catalogue:
        if len({entry.name for entry in self.entries}) < len(self.entries):
            raise ValueError("a name occurs twice")
        return self

    def find(self, name: str) -> CatalogueEntry:
        """Return the entry of a name. Raises: CatalogueEntryUnknown."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        offered = ", ".join(entry.name for entry in self.entries)
        raise CatalogueEntryUnknown(f"{name[:80]!r} is not in the catalogue: {offered}")


@cache
def _read_own_text() -> str:
    return (
        resources.files("service.model_catalogue")
        .joinpath("catalogue.json")
        .read_text(encoding="utf-8")
    )


def read_catalogue(file: Path | None = None) -> Catalogue:
    """Read this project's catalogue, or one of one's own.

    Raises: CatalogueInvalid: the file cannot be read, or is no catalogue.
    """
    try:
        if file is not None and file.stat().st_size > _MAX_CATALOGUE_BYTES:
            raise CatalogueInvalid(f"{file} has more than {_MAX_CATALOGUE_BYTES:,} bytes")
        text = _read_own_text() if file is None else file.read_text(encoding="utf-8")
        return Catalogue.model_validate_json(text)
    except OSError as error:
        raise CatalogueInvalid(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CatalogueInvalid(f"{file} is no text in UTF-8") from error
    except ValidationError as error:
        parts = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise CatalogueInvalid("; ".join(list(parts)[:3])) from error
