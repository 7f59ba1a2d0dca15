"""Settings: environment variables, bounds, descriptions and the printed env file."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from service.cli.main import app
from service.settings import Settings


@pytest.fixture
def cli_runner() -> Iterator[CliRunner]:
    """Runner of the command line; restores the logging that it configures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield CliRunner()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_environment_variable_sets_its_field_and_an_empty_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CIRCUMPLEX_HTTP_PORT", "9000")
    monkeypatch.setenv("CIRCUMPLEX_HOST", "")
    assert Settings().http_port == 9000
    assert Settings().host == Settings.model_fields["host"].default


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().http_port = 1  # pyright: ignore[reportAttributeAccessIssue]  # frozen: that is the test


@pytest.mark.parametrize(
    ("name", "value"),
    [("http_port", 0), ("max_upload_bytes", 0), ("chunk_frames", 301), ("hop_frames", 301)],
)
def test_value_out_of_bounds_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("store_url", "bucket/prefix"),
        ("store_url", "s3://"),
        ("store_url", "file:///var/store"),
        ("store_url", "s3://key:secret@bucket"),
        ("store_endpoint", "localhost:9000"),
        ("store_endpoint", "https://key:secret@localhost:9000"),
    ],
)
def test_store_urls_are_validated_and_hold_no_secrets(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({name: value})


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "[::1]:9000"])
def test_virtual_addressing_requires_a_host_name(host: str) -> None:
    with pytest.raises(ValidationError, match="host name"):
        Settings(store_endpoint=f"https://{host}", store_addressing="virtual")


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_printed_settings_are_an_env_file_that_round_trips(
    monkeypatch: pytest.MonkeyPatch, cli_runner: CliRunner
) -> None:
    changed = {"CIRCUMPLEX_HOP_FRAMES": "150", "CIRCUMPLEX_YUNET_FILE": "/models/faces.onnx"}
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    expected = Settings()
    printed = cli_runner.invoke(app, ["settings"])
    assert printed.exit_code == 0
    lines = [line for line in printed.stdout.splitlines() if not line.startswith("#")]
    assert len(lines) == len(Settings.model_fields)
    for line in lines:
        monkeypatch.setenv(*line.split("=", 1))
    assert Settings() == expected


def test_settings_are_printed_without_passwords(
    monkeypatch: pytest.MonkeyPatch, cli_runner: CliRunner
) -> None:
    monkeypatch.setenv("CIRCUMPLEX_REDIS_URL", "rediss://user:hush@cache:6379/0")
    printed = cli_runner.invoke(app, ["settings"]).stdout
    assert "CIRCUMPLEX_REDIS_URL=rediss://user:***@cache:6379/0" in printed
    assert "hush" not in printed


def test_error_message_names_the_invalid_setting(
    monkeypatch: pytest.MonkeyPatch, cli_runner: CliRunner
) -> None:
    monkeypatch.setenv("CIRCUMPLEX_HTTP_PORT", "eighty")
    refused = cli_runner.invoke(app, ["settings"])
    assert refused.exit_code == 2
    assert "CIRCUMPLEX_HTTP_PORT" in refused.output
