"""Base class of the groups of settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=1, le=65_535)]


class SettingsGroup(BaseSettings):
    """Fields read from `CIRCUMPLEX_<FIELD>`; an empty variable counts as unset."""

    model_config = SettingsConfigDict(
        env_prefix="CIRCUMPLEX_", env_ignore_empty=True, frozen=True, extra="ignore"
    )
