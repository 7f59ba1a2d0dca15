"""Downloads of model files: whole, cut, continued, refused, through a proxy."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from service.cli.model_pull import fetch_file
from service.errors import (
    ModelDownloadFailed,
    ModelFileMismatch,
    ModelFileTooLarge,
    ModelPullError,
)
from service.model_catalogue.entries import CatalogueEntry
from service.model_catalogue.pulled_files import PulledFiles
from tests.unit.model_catalogue.entries import CONTENT, git_blob_sha1, make_entry
from tests.unit.model_catalogue.file_server import CONTENT_PATH, FileServer, ServedFile, serving

LICENCES = ["code:Apache-2.0"]
CUT = 100_000


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no proxies."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(ServedFile(content=CONTENT)) as running:
        yield running


@pytest.fixture
def entry(server: FileServer) -> CatalogueEntry:
    return make_entry(url=server.url)


@pytest.fixture
def files(tmp_path: Path) -> PulledFiles:
    return PulledFiles(tmp_path / "pulled")


def list_names(files: PulledFiles, entry: CatalogueEntry) -> set[str]:
    return {path.name for path in files.get_path(entry).parent.iterdir()} - {".lock"}


def test_a_file_is_downloaded_with_a_record(files: PulledFiles, entry: CatalogueEntry) -> None:
    progress: list[tuple[int, int | None]] = []
    path = files.download(
        entry, LICENCES, on_progress=lambda done, total: progress.append((done, total))
    )
    assert path.read_bytes() == CONTENT
    assert progress[-1] == (len(CONTENT), len(CONTENT))
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["source"] == entry.url
    assert record["git_blob_sha1"] == git_blob_sha1(CONTENT)
    assert record["accepted_licences"] == LICENCES
    assert list_names(files, entry) == {path.name, path.with_suffix(".json").name}


def cut_a_download(files: PulledFiles, entry: CatalogueEntry, server: FileServer) -> None:
    server.file.cut_after = CUT
    with pytest.raises(ModelDownloadFailed, match="100,000 bytes are kept"):
        files.download(entry, LICENCES)
    assert not files.has(entry)


def test_a_cut_download_is_continued(
    files: PulledFiles, entry: CatalogueEntry, server: FileServer
) -> None:
    cut_a_download(files, entry, server)
    assert files.download(entry, LICENCES).read_bytes() == CONTENT
    assert server.file.requests[-1]["Range"] == f"bytes={CUT}-"
    assert server.file.requests[-1]["If-Range"] == '"first"'


def test_a_weak_etag_is_not_sent_back(
    files: PulledFiles, entry: CatalogueEntry, server: FileServer
) -> None:
    server.file.etag = 'W/"first"'
    cut_a_download(files, entry, server)
    assert files.download(entry, LICENCES).read_bytes() == CONTENT
    assert "If-Range" not in server.file.requests[-1]


@pytest.mark.parametrize("ranges", ["ignored", "shifted"])
def test_a_server_that_does_not_continue_sends_all_again(
    ranges: str, files: PulledFiles, entry: CatalogueEntry, server: FileServer
) -> None:
    cut_a_download(files, entry, server)
    server.file.ranges = "ignored" if ranges == "ignored" else "shifted"
    assert files.download(entry, LICENCES).read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(
    files: PulledFiles, entry: CatalogueEntry, server: FileServer
) -> None:
    other = CONTENT[::-1]
    server.file.content = other
    server.file.etag = '"other"'
    cut_a_download(files, entry, server)
    server.file.content, server.file.etag = CONTENT, '"first"'
    assert files.download(entry, LICENCES).read_bytes() == CONTENT


def test_a_part_of_another_address_is_not_continued(
    files: PulledFiles, entry: CatalogueEntry, server: FileServer
) -> None:
    cut_a_download(files, entry, server)
    moved = entry.model_copy(update={"url": entry.url + "?moved"})
    assert files.download(moved, LICENCES).read_bytes() == CONTENT
    assert "Range" not in server.file.requests[-1]


def test_a_part_longer_than_the_file_is_fetched_again(
    files: PulledFiles, entry: CatalogueEntry, server: FileServer
) -> None:
    cut_a_download(files, entry, server)
    part = files.get_path(entry).with_suffix(".onnx.part")
    part.write_bytes(bytes(len(CONTENT)))
    assert files.download(entry, LICENCES).read_bytes() == CONTENT


def test_a_file_with_another_hash_is_removed(
    files: PulledFiles, entry: CatalogueEntry, server: FileServer
) -> None:
    server.file.content = CONTENT[:-1] + b"!"
    with pytest.raises(ModelFileMismatch, match=r"git_blob_sha1 is .* it was removed"):
        files.download(entry, LICENCES)
    assert list_names(files, entry) == set()


def test_every_hash_of_an_entry_counts(files: PulledFiles, server: FileServer) -> None:
    entry = make_entry(url=server.url, sha256="0" * 64)
    with pytest.raises(ModelFileMismatch, match="sha256"):
        files.download(entry, LICENCES)


@pytest.mark.parametrize("length", [None, 100])
def test_a_file_that_is_too_large_is_not_stored(
    length: int | None, files: PulledFiles, server: FileServer
) -> None:
    server.file.content = bytes(1_000_000)
    server.file.length = length
    entry = make_entry(url=server.url, max_bytes=300_000)
    with pytest.raises(ModelPullError) as refusal:
        files.download(entry, LICENCES)
    expected = ModelFileTooLarge if length is None else ModelFileMismatch
    assert type(refusal.value) is expected
    assert list_names(files, entry) == set()


def test_a_body_without_end_is_cut_off_at_the_limit(files: PulledFiles, server: FileServer) -> None:
    server.file.content = bytes(5_000_000)
    server.file.length = 2**40
    with pytest.raises(ModelFileTooLarge):
        files.download(make_entry(url=server.url), LICENCES)


@pytest.mark.parametrize("status", [404, 500, 204])
def test_an_answer_without_the_file_is_an_error(
    status: int, files: PulledFiles, entry: CatalogueEntry, server: FileServer
) -> None:
    server.file.status = status
    with pytest.raises(ModelDownloadFailed, match=str(status)):
        files.download(entry, LICENCES)
    assert not files.has(entry)


def test_a_compressed_answer_is_refused(
    files: PulledFiles, entry: CatalogueEntry, server: FileServer
) -> None:
    server.file.encoding = "gzip"
    with pytest.raises(ModelDownloadFailed, match="encoding"):
        files.download(entry, LICENCES)
    assert server.file.requests[-1]["Accept-Encoding"] == "identity"


def test_redirects_are_followed(files: PulledFiles, server: FileServer) -> None:
    with serving(ServedFile(content=b"", location=server.url)) as first:
        path = files.download(make_entry(url=first.url), LICENCES)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "location",
    ["ftp://127.0.0.1/x", "http://example.com/x", "http://user@127.0.0.1/x", "file:///x"],
)
def test_a_redirect_to_an_address_that_is_not_fetched_is_refused(
    location: str, files: PulledFiles, entry: CatalogueEntry, server: FileServer
) -> None:
    server.file.location = location
    with pytest.raises(ModelDownloadFailed):
        files.download(entry, LICENCES)


def test_a_server_is_known_by_its_certificate(
    files: PulledFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    file = ServedFile(content=CONTENT)
    with serving(file, context) as server:
        entry = make_entry(url=f"https://localhost:{server.server_port}{CONTENT_PATH}")
        with pytest.raises(ModelDownloadFailed, match="certificate"):
            files.download(entry, LICENCES)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        assert files.download(entry, LICENCES).read_bytes() == CONTENT
        file.location = server.url
        with pytest.raises(ModelDownloadFailed, match="redirects from https to http"):
            files.download(entry, LICENCES)


def test_redirects_in_circles_end(
    files: PulledFiles, entry: CatalogueEntry, server: FileServer
) -> None:
    server.file.location = server.url
    with pytest.raises(ModelDownloadFailed, match="circles"):
        files.download(entry, LICENCES)
    assert len(server.file.requests) == 6


def test_a_named_proxy_is_used(files: PulledFiles, server: FileServer) -> None:
    entry = make_entry(url=f"http://localhost:1{CONTENT_PATH}")
    proxy = f"http://127.0.0.1:{server.server_port}"
    assert files.download(entry, LICENCES, proxy=proxy).read_bytes() == CONTENT
    assert server.file.lines == [entry.url]


def test_the_environments_proxy_is_used_unless_one_is_named(
    files: PulledFiles, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_entry(url=f"http://localhost:1{CONTENT_PATH}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    files.download(entry, LICENCES)
    assert server.file.lines == [entry.url]
    with serving(ServedFile(content=CONTENT)) as named:
        files.download(entry, LICENCES, proxy=f"http://127.0.0.1:{named.server_port}")
    assert len(server.file.lines) == 1


@pytest.mark.parametrize("proxy", ["http://user:geheim@[", "socks7://user:geheim@x", "nothing"])
def test_a_proxy_that_cannot_be_used_is_an_error_without_its_password(
    proxy: str, files: PulledFiles, entry: CatalogueEntry
) -> None:
    with pytest.raises(ModelDownloadFailed) as refusal:
        files.download(entry, LICENCES, proxy=proxy)
    assert "geheim" not in refusal.value.detail


def test_a_server_that_is_not_there_is_an_error(files: PulledFiles) -> None:
    with pytest.raises(ModelDownloadFailed, match="127"):
        files.download(make_entry(url=f"http://127.0.0.1:1{CONTENT_PATH}"), LICENCES)


def test_two_downloads_into_one_folder_exclude_each_other(
    files: PulledFiles, entry: CatalogueEntry
) -> None:
    refused: list[str] = []

    def download_again(done: int, total: int | None) -> None:
        if not refused:
            with pytest.raises(ModelDownloadFailed) as refusal:
                PulledFiles(files.get_path(entry).parent).download(entry, LICENCES)
            refused.append(refusal.value.detail)

    assert files.download(entry, LICENCES, on_progress=download_again).read_bytes() == CONTENT
    assert refused == ["another process downloads into this folder"]


def test_a_pulled_file_is_not_fetched_again_unless_it_is_another(
    files: PulledFiles, entry: CatalogueEntry, server: FileServer
) -> None:
    for count in (1, 1):
        assert fetch_file(entry, files, LICENCES, None, None).read_bytes() == CONTENT
        assert len(server.file.requests) == count
    files.get_path(entry).write_bytes(CONTENT[:-1])
    assert fetch_file(entry, files, LICENCES, None, None).read_bytes() == CONTENT
    assert len(server.file.requests) == 2
