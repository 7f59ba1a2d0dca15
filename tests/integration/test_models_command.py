"""`circumplex models`: pulling from a server, licences, and what Triton then serves."""

from __future__ import annotations

import json
import logging
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from typer.testing import CliRunner

from service.cli.main import app
from service.domain.estimator import EstimatorId
from service.embedded.triton import run_triton
from service.estimators.repository import EstimatorRepository
from service.model_catalogue.entries import read_catalogue
from tests.fake_estimators import write_fake_estimator
from tests.unit.importers.published_networks import build_mobilefacenet, run_onnx
from tests.unit.model_catalogue.entries import git_blob_sha1
from tests.unit.model_catalogue.file_server import ServedFile, serving

NAME = "mbf_va_mtl"
LICENCES = ("code:Apache-2.0", "weights:Apache-2.0", "data:AffectNet-VGGFace2-research")
ACCEPTED = [part for each in LICENCES for part in ("--accept-licence", each)]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return build_mobilefacenet(batch_norms=True).SerializeToString()


def write_catalogue(folder: Path, url: str, content: bytes) -> Path:
    """Write a catalogue with one entry."""
    entry = read_catalogue().find(NAME).model_dump(mode="json")
    entry |= {"url": url, "git_blob_sha1": git_blob_sha1(content)}
    (folder / "catalogue.json").write_text(json.dumps({"entries": [entry]}))
    return folder / "catalogue.json"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Environment of commands with folders of their own, and without proxies."""
    foreign = {"http_proxy", "https_proxy", "all_proxy"}
    return {key: value for key, value in os.environ.items() if key.lower() not in foreign} | {
        "CIRCUMPLEX_RUNTIME_DIR": str(tmp_path / "runtime"),
        "CIRCUMPLEX_MODEL_REPOSITORY": str(tmp_path / "repository"),
    }


@pytest.fixture
def cli_runner() -> Iterator[CliRunner]:
    """Runner of the command line; restores the logging and the signals that it configures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield CliRunner()
    for number, handler in former.items():
        signal.signal(number, handler)
    root.handlers[:] = handlers
    root.setLevel(level)


def run_models(
    environment: dict[str, str], *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", "models", *map(str, arguments)]
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_a_pulled_model_is_served_by_triton(
    content: bytes,
    environment: dict[str, str],
    tmp_path: Path,
    triton_dir: Path,
    cli_runner: CliRunner,
) -> None:
    with serving(ServedFile(content=content)) as server:
        catalogue = write_catalogue(tmp_path, server.url, content)
        options = ["--catalogue", catalogue]
        pulled = run_models(environment, "pull", NAME, *ACCEPTED, *options)
        assert (pulled.returncode, pulled.stdout) == (0, f"{NAME}@1\n"), pulled.stderr

    def invoke(*arguments: str) -> tuple[int, str]:
        chosen = ["models", *arguments, "--catalogue", str(catalogue)]
        result = cli_runner.invoke(app, chosen, env=environment)
        return result.exit_code, result.stdout + result.stderr

    listed = invoke("list")[1]
    assert f"{NAME}@1" in listed
    assert "exported, current" in listed
    assert invoke("verify") == (0, invoke("verify", NAME)[1])

    repository = tmp_path / "repository"
    with (
        run_triton(server_dir=triton_dir, repository=repository, logs_dir=tmp_path) as ports,
        InferenceServerClient(ports.grpc_url) as client,
    ):
        crops = np.random.default_rng(0).integers(0, 256, (3, 3, 112, 112), dtype=np.uint8)
        picture = InferInput("INPUT__0", list(crops.shape), "UINT8").set_data_from_numpy(crops)
        found = client.infer(f"{NAME}@1.visual_backbone", [picture]).as_numpy("OUTPUT__0")
    (tmp_path / "net.onnx").write_bytes(content)
    expected = run_onnx(tmp_path / "net.onnx", (crops / 127.5 - 1).astype(np.float32))
    assert found is not None
    np.testing.assert_allclose(found[:, 8:10], expected[:, 8:], rtol=0, atol=1e-5)

    (repository / f"{NAME}@1.fusion/1/model.pt").write_bytes(b"other")
    pulled_file = tmp_path / "runtime" / "pulled" / f"{NAME}.onnx"
    pulled_file.write_bytes(content[:-1])
    status, report = invoke("verify")
    assert status == 1
    assert "model_file_mismatch" in report
    assert "model_changed" in report
    assert invoke("remove", NAME)[0] == 0
    assert not list(repository.glob(f"{NAME}@*"))
    assert not pulled_file.exists()
    assert "model_unknown" in invoke("remove", NAME)[1]


def test_a_file_of_another_network_is_not_exported(
    environment: dict[str, str], tmp_path: Path
) -> None:
    content = b"\x80\x04\x95no ONNX model"
    (tmp_path / "net").write_bytes(content)
    catalogue = write_catalogue(tmp_path, "https://example.com/net", content)
    options = ["--catalogue", catalogue, "--from", tmp_path / "net"]
    refused = run_models(environment, "pull", NAME, *ACCEPTED, *options)
    assert refused.returncode == 1
    assert "error [model_export_failed]" in refused.stderr
    assert "OnnxUnreadable" in refused.stderr
    assert not list((tmp_path / "repository").glob("*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pull", NAME], "--accept-licence data:AffectNet-VGGFace2-research"),
        (["pull", NAME, *ACCEPTED[:4]], "licence_not_accepted"),
        (["pull", NAME, "--accept-licence", "MIT"], "'MIT' is no licence of mbf_va_mtl"),
        (["pull", "../mbf", *ACCEPTED], "catalogue_entry_unknown"),
        (["pull", NAME, *ACCEPTED, "--from", "/nowhere"], "model_file_missing"),
        (["pull", NAME, *ACCEPTED, "--from", __file__], "model_file_mismatch"),
        (["verify", "nothing"], "model_unknown"),
        (["remove", "../x"], "is no model"),
        (["list", "--catalogue", "/nowhere"], "catalogue_invalid"),
    ],
)
def test_command_failures_are_reported(
    arguments: list[str], message: str, environment: dict[str, str], cli_runner: CliRunner
) -> None:
    refused = cli_runner.invoke(app, ["models", *arguments], env=environment)
    assert refused.exit_code in (1, 2)
    assert isinstance(refused.exception, SystemExit)
    assert message in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    ("answers", "message"),
    [("y\ny\nn\n", "data:AffectNet-VGGFace2-research is not accepted"), ("y\ny\ny\n", "127.0.0.1")],
)
def test_a_terminal_is_asked_for_each_licence(
    answers: str, message: str, environment: dict[str, str], tmp_path: Path
) -> None:
    catalogue = write_catalogue(tmp_path, "http://127.0.0.1:1/net", b"")
    primary, terminal = pty.openpty()
    command = [sys.executable, "-m", "service", "models", "pull", NAME]
    with subprocess.Popen(
        [*command, "--catalogue", str(catalogue)],
        env=environment | {"COLUMNS": "300", "TERM": "dumb"},
        stdin=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        os.write(primary, answers.encode())
        shown = read_terminal(primary)
        process.wait(timeout=60)
    os.close(primary)
    assert process.returncode == 1
    assert "Do you accept weights:Apache-2.0?" in shown
    assert message in shown


def read_terminal(primary: int) -> str:
    """Read what is written to a terminal until its other end is closed."""
    shown = b""
    while True:
        try:
            chunk = os.read(primary, 4096)
        except OSError:  # so Linux reports the end
            return shown.decode()
        if not chunk:
            return shown.decode()
        shown += chunk


def test_what_the_settings_serve_is_not_removed(
    environment: dict[str, str], mini_repository: Path, cli_runner: CliRunner
) -> None:
    served = environment | {
        "CIRCUMPLEX_MODEL_REPOSITORY": str(mini_repository),
        "CIRCUMPLEX_MODELS": "mini",
    }
    refused = cli_runner.invoke(app, ["models", "remove", "mini"], env=served)
    assert refused.exit_code == 2
    assert "CIRCUMPLEX_MODELS" in refused.stderr
    assert list(mini_repository.glob("mini@1.json"))


def test_a_current_version_whose_files_are_gone_is_replaced(
    environment: dict[str, str], tmp_path: Path, cli_runner: CliRunner
) -> None:
    repository = EstimatorRepository(tmp_path / "repository")
    for version in (1, 2):
        write_fake_estimator(repository.folder, "mini", version)
    repository.set_current(EstimatorId("mini", 2))
    repository.manifest_file(EstimatorId("mini", 2)).unlink()
    for models in ("mini@1,mini@3", "mini"):
        served = environment | {"CIRCUMPLEX_MODELS": models}
        done = cli_runner.invoke(app, ["models", "use", "--offline", "mini@1"], env=served)
        assert done.exit_code == 0, done.stderr
        assert "mini@1 is the current version of mini" in done.stderr
        assert "pins" not in done.stderr  # of several the first goes before
    assert repository.read_versions() == {"mini": 1}
