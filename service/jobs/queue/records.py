"""Reads the records of jobs, one or several at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis

from service.errors import JobUnknown
from service.jobs.record import JobRecord, record_from_fields
from service.redis_client.client import redis_errors_translated
from service.redis_client.scripts import LuaScripts


class JobRecordReader:
    """Raises QueueUnavailable when Redis is away."""

    def __init__(self, redis: Redis, scripts: LuaScripts) -> None:
        self._redis = redis
        self._scripts = scripts

    async def find(self, job_id: str) -> JobRecord:
        """The job as it stands; raises JobUnknown."""
        async with redis_errors_translated():
            found: Any = await self._redis.hgetall(self._scripts.key("job", job_id))
        if not found:
            raise JobUnknown(f"there is no job {job_id[:64]!r}")
        return record_from_fields(found)

    async def find_many(self, ids: Iterable[str]) -> dict[str, JobRecord]:
        """Those of the jobs that there are, in the order that was asked for."""
        asked = list(ids)
        async with redis_errors_translated(), self._redis.pipeline(transaction=False) as questions:
            for job_id in asked:
                questions.hgetall(self._scripts.key("job", job_id))
            answers = await questions.execute()
        found = zip(asked, answers, strict=True)
        return {job_id: record_from_fields(fields) for job_id, fields in found if fields}
