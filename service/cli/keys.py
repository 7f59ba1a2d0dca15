"""`circumplex keys`: make, list and revoke API keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import typer
from rich.table import Table

from service.auth.api_key import MAX_NAME_LENGTH, ApiKey, is_key_name
from service.auth.audit_log import AuditEntry, AuditLog
from service.auth.key_store import ApiKeyStore
from service.cli.console import exit_on_error, load_settings, print_status, print_table
from service.domain.caller import CallerQuotas, Scope

T = TypeVar("T")

DAY_SECONDS: Final = 86_400.0
DEFAULT_SCOPES: Final = (Scope.SUBMIT, Scope.READ)
MAX_DAYS: Final = 36_500

app = typer.Typer(name="keys", help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Owner or purpose of the key.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="A scope, once for each; else submit and read.")
    ] = None,
    rate: Annotated[int | None, typer.Option(min=1, help="Requests a minute.")] = None,
    open_jobs: Annotated[
        int | None, typer.Option(min=1, help="Jobs queued and running at a time.")
    ] = None,
    stored_jobs: Annotated[
        int | None, typer.Option(min=1, help="Jobs in any state, until they expire.")
    ] = None,
    stored_bytes: Annotated[
        int | None, typer.Option(min=1, help="Bytes of stored clips and results.")
    ] = None,
    upload_bytes: Annotated[int | None, typer.Option(min=1, help="Bytes of one clip.")] = None,
    expires: Annotated[
        float | None, typer.Option(help="Days until it expires; more than 0.")
    ] = None,
) -> None:
    """Make a key. Its token, alone on standard output, is never shown again."""
    if not is_key_name(name):
        raise typer.BadParameter(f"a name has 1 to {MAX_NAME_LENGTH} printable letters")
    if expires is not None and not 0 < expires <= MAX_DAYS:
        raise typer.BadParameter(f"--expires takes days above 0, {MAX_DAYS} at most")
    limits = CallerQuotas(
        requests_per_minute=rate,
        open_jobs=open_jobs,
        stored_jobs=stored_jobs,
        stored_bytes=stored_bytes,
        upload_bytes=upload_bytes,
    )
    lifetime = None if expires is None else expires * DAY_SECONDS

    async def create_key(keys: ApiKeyStore, audit: AuditLog) -> str:
        key, token = await keys.create(
            name,
            scopes=frozenset(scope or DEFAULT_SCOPES),
            limits=limits,
            lifetime_seconds=lifetime,
        )
        audit.write(_audit_entry("create_key", key))
        print_status(
            f"key {key.id} for {name!r} ({_format_scopes(key)}). Its token is shown this once:"
        )
        return token.text

    typer.echo(_run_with_keys(create_key))


@app.command("list")
def list_keys() -> None:
    """List all keys, revoked ones too."""
    table = Table("id", "name", "scopes", "limits", "created", "last used", "ends", box=None)
    for key in _run_with_keys(lambda keys, _: keys.list_keys()):
        moments = (_format_time(key.created_at), _format_time(key.last_used_at), _format_end(key))
        table.add_row(key.id, key.name, _format_scopes(key), _format_limits(key), *moments)
    print_table(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The id that `list` shows.")]) -> None:
    """Revoke a key. Gateways refuse it within a second; its jobs stay."""

    async def revoke_key(keys: ApiKeyStore, audit: AuditLog) -> ApiKey:
        key = await keys.revoke(key_id)
        audit.write(_audit_entry("revoke_key", key))
        return key

    try:
        key = _run_with_keys(revoke_key)
    except KeyError:
        raise typer.BadParameter(f"there is no key with the id {key_id!r}") from None
    print_status(f"key {key.id} of {key.name!r} is revoked")


def _run_with_keys(operation: Callable[[ApiKeyStore, AuditLog], Awaitable[T]]) -> T:
    async def run() -> T:
        settings = load_settings()
        async with ApiKeyStore.open(settings) as keys, AuditLog.open(settings) as audit:
            return await operation(keys, audit)

    with exit_on_error():
        return asyncio.run(run())


def _audit_entry(action: str, key: ApiKey) -> AuditEntry:
    return AuditEntry(action=action, key_id=key.id, key_name=key.name, client="command line")


def _format_scopes(key: ApiKey) -> str:
    return " ".join(sorted(key.scopes))


def _format_limits(key: ApiKey) -> str:
    return " ".join(f"{name}={limit}" for name, limit in asdict(key.limits).items() if limit)


def _format_end(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {_format_time(key.revoked_at)}"
    return "" if key.expires_at is None else f"expires {_format_time(key.expires_at)}"


def _format_time(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"
