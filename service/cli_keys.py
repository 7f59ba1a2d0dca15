"""`circumplex keys`: make, list and revoke API keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from service.access.audit import Audit, Deed
from service.access.keyring import KeyRing
from service.access.keys import MAX_NAME_LETTERS, ApiKey, is_key_name
from service.console import failing_clearly, read_settings, say
from service.domain.caller import Limits, Scope

T = TypeVar("T")

DAY_SECONDS: Final = 86_400.0
USUAL_SCOPES: Final = (Scope.SUBMIT, Scope.READ)
MAX_DAYS: Final = 36_500
WIDE_COLUMNS: Final = 400
"""Width of a table that goes into a file or a pipe: there is nothing to fold it to."""

app = typer.Typer(name="keys", help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, or what for.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it allows, once for each; submit and read.")
    ] = None,
    rate: Annotated[int | None, typer.Option(min=1, help="Requests a minute.")] = None,
    open_jobs: Annotated[
        int | None, typer.Option(min=1, help="Jobs queued and running at a time.")
    ] = None,
    stored_bytes: Annotated[
        int | None, typer.Option(min=1, help="Bytes of clips and results that are kept.")
    ] = None,
    upload_bytes: Annotated[int | None, typer.Option(min=1, help="Bytes of one clip.")] = None,
    expires: Annotated[float | None, typer.Option(help="Days it is good for; more than 0.")] = None,
) -> None:
    """Make a key. Its token, alone on standard output, is never shown again."""
    if not is_key_name(name):
        raise typer.BadParameter(f"a name has 1 to {MAX_NAME_LETTERS} printable letters")
    if expires is not None and not 0 < expires <= MAX_DAYS:
        raise typer.BadParameter(f"--expires takes days above 0, {MAX_DAYS} at most")
    limits = Limits(
        requests_per_minute=rate,
        open_jobs=open_jobs,
        stored_bytes=stored_bytes,
        upload_bytes=upload_bytes,
    )
    lifetime = None if expires is None else expires * DAY_SECONDS

    async def make(keys: KeyRing, audit: Audit) -> str:
        key, token = await keys.create(
            name, scopes=frozenset(scope or USUAL_SCOPES), limits=limits, lifetime_seconds=lifetime
        )
        audit.write(_deed("create_key", key))
        say(f"key {key.id} for {name!r} ({_scopes(key)}). Its token is shown this once:")
        return token.text

    typer.echo(_with_keys(make))


@app.command("list")
def show() -> None:
    """List all keys, revoked ones too."""
    table = Table("id", "name", "scopes", "limits", "created", "last used", "ends", box=None)
    for key in _with_keys(lambda keys, _: keys.every()):
        moments = (_moment(key.created_at), _moment(key.last_used_at), _end(key))
        table.add_row(key.id, key.name, _scopes(key), _limits(key), *moments)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = WIDE_COLUMNS
    console.print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The id that `list` shows.")]) -> None:
    """End a key. Gateways know within a second; its jobs stay."""

    async def end(keys: KeyRing, audit: Audit) -> ApiKey:
        key = await keys.revoke(key_id)
        audit.write(_deed("revoke_key", key))
        return key

    try:
        key = _with_keys(end)
    except KeyError:
        raise typer.BadParameter(f"there is no key with the id {key_id!r}") from None
    say(f"key {key.id} of {key.name!r} is revoked")


def _with_keys(act: Callable[[KeyRing, Audit], Awaitable[T]]) -> T:
    async def acted() -> T:
        settings = read_settings()
        async with KeyRing.open(settings) as keys, Audit.open(settings) as audit:
            return await act(keys, audit)

    with failing_clearly():
        return asyncio.run(acted())


def _deed(action: str, key: ApiKey) -> Deed:
    return Deed(action=action, key_id=key.id, key_name=key.name, client="command line")


def _scopes(key: ApiKey) -> str:
    return " ".join(sorted(key.scopes))


def _limits(key: ApiKey) -> str:
    return " ".join(f"{name}={most}" for name, most in asdict(key.limits).items() if most)


def _end(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {_moment(key.revoked_at)}"
    return "" if key.expires_at is None else f"expires {_moment(key.expires_at)}"


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"
