"""Buckets of the histograms, and the closed sets of label values that metrics have."""

from __future__ import annotations

from typing import Final

from service.domain.clip import EXTRACTION_STAGES

REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, for durations of requests."""
CONNECTION_END_REASONS: Final = (
    *("request_too_slow", "head_too_large", "request_malformed"),
    *("connections_exhausted", "evicted", "answer_stalled", "client_timeout"),
)
"""Reasons why the gateway ends a connection: an error code, `evicted` or `client_timeout`."""
JOB_BUCKETS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 150.0, 300.0, 900.0, 1800.0, 3600.0)
"""Seconds, for durations of background work."""
SPEED_BUCKETS: Final = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds of clip per second of work."""

STREAM_BUCKETS: Final = (
    *(0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0),
    *(2.5, 5.0, 10.0, 20.0, 40.0),
)
"""Seconds: the lower buckets for provisional results, the upper ones for final results."""
STREAM_QUANTILES: Final = ("0.5", "0.95", "0.99")
RESULT_KINDS: Final = ("provisional", "final")
DROP_REASONS: Final = ("overload", "unreadable")
FACE_STATES: Final = ("found", "missing")
MAX_MODELS: Final = 16
"""Versions of models that have series; beyond them those of the one unused longest are removed."""

STAGES: Final = (
    "upload",
    *EXTRACTION_STAGES,
    "embed_faces",
    "embed_voice",
    "fuse",
    "publish",
)
JOB_OUTCOMES: Final = (
    "succeeded",
    "failed",
    "retried",
    "released",
    "superseded",
    "cancelled",
)
"""Outcomes of an attempt at a job; the first two end the job."""
INITIAL_ROUTES: Final = (
    ("POST", "/v1/jobs", "202"),
    ("GET", "/v1/jobs/{job_id}", "200"),
    ("GET", "/v1/jobs/{job_id}/result", "200"),
    ("GET", "/v1/models", "200"),
    ("GET", "/v1/models/{model}", "200"),
    ("GET", "/health/live", "200"),
    ("GET", "/health/ready", "200"),
    ("GET", "/metrics", "200"),
)
GRPC_METHODS: Final = (
    "circumplex.v1.AnnotationService/StreamingAnnotate",
    *(
        f"circumplex.v1.JobService/{name}"
        for name in (
            *("SubmitJob", "GetJob", "ListJobs", "WatchJob"),
            *("CancelJob", "RetryJob", "DeleteJob", "GetResult"),
        )
    ),
    "circumplex.v1.ModelService/ListModels",
    "circumplex.v1.ModelService/GetModel",
)
