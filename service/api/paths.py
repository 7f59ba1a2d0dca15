"""Where everything is."""

from __future__ import annotations

from typing import Final

JOBS_PATH: Final = "/v1/jobs"
JOB_PATH: Final = f"{JOBS_PATH}/{{job_id}}"
CANCEL_PATH: Final = f"{JOB_PATH}:cancel"
RETRY_PATH: Final = f"{JOB_PATH}:retry"
EVENTS_PATH: Final = f"{JOB_PATH}/events"
RESULT_PATH: Final = f"{JOB_PATH}/result"
WEBSOCKET_PATH: Final = "/v1/live"
