"""The link that leads to the next page of a list (RFC 8288).

Where everything is.
"""

from __future__ import annotations

from typing import Final

from fastapi import Request


def format_next_link(request: Request, token: str) -> str:
    """The header `Link`: the same list, from there on; relative, whatever proxies are between."""
    url = request.url.include_query_params(page_token=token)
    return f'<{url.path}?{url.query}>; rel="next"'


JOBS_PATH: Final = "/v1/jobs"
JOB_PATH: Final = f"{JOBS_PATH}/{{job_id}}"
CANCEL_PATH: Final = f"{JOB_PATH}:cancel"
RETRY_PATH: Final = f"{JOB_PATH}:retry"
EVENTS_PATH: Final = f"{JOB_PATH}/events"
RESULT_PATH: Final = f"{JOB_PATH}/result"
WEBSOCKET_PATH: Final = "/v1/live"
