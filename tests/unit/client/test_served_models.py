"""Documents of other versions of the service, in the Python client."""

from __future__ import annotations

from typing import Any

from circumplex_client import ClipResult, Job, ServedModel
from circumplex_client.live import StreamAccepted
from circumplex_client.v1 import annotation_pb2 as pb

JOB: dict[str, Any] = {
    "id": "one",
    "state": "queued",
    "progress": {"fraction": None, "frames_done": 0, "frames_total": None, "eta_seconds": None},
    "choices": {"faces": "primary", "video_stream": None, "audio_stream": None},
    "attempts": 0,
    "created_at": "2026-11-30T12:00:00Z",
    "priority": "bulk",
    "clip": {"filename": None},
    "error": None,
    "links": {},
}
FACE: dict[str, list[float]] = {
    name: [] for name in ("left", "top", "width", "height", "score", *"xywh")
}
FRAMES: dict[str, Any] = {
    **{name: [] for name in ("index", "time", "valence", "arousal", "valence_std", "arousal_std")},
    **{name: [] for name in ("valence_smoothed", "arousal_smoothed", "observed", "missing")},
    "face": FACE,
}
RESULT: dict[str, Any] = {
    "media": {},
    "provenance": {},
    "flags": [],
    "track": None,
    "tracks": [],
    "frames": FRAMES,
}
MODEL: dict[str, Any] = {
    "id": "net@2",
    "name": "net",
    "version": 2,
    "is_current": True,
    "is_default": False,
    "state": "unavailable",
    "error": {"code": "model_not_served", "detail": "damaged", "retryable": False},
}


def test_an_older_service_names_no_model() -> None:
    assert Job.from_json(JOB).model is None
    result = ClipResult.from_json(RESULT)
    assert (result.model, result.domain) == (None, None)
    accepted = StreamAccepted.from_proto(pb.ConfigAck(stream_id="one"))
    assert (accepted.model, accepted.domain, accepted.model_summary) == (None, None, "")


def test_fields_of_a_newer_service_are_ignored() -> None:
    choices = {**JOB["choices"], "of_tomorrow": True}
    assert Job.from_json({**JOB, "model": "net@2", "choices": choices}).model == "net@2"
    assert (
        ServedModel.from_json({**MODEL, "of_tomorrow": True, "versions": ["net@2"]}).id == "net@2"
    )


def test_a_model_whose_manifest_is_damaged_has_no_description() -> None:
    model = ServedModel.from_json(MODEL)
    assert (model.domain, model.classes, model.licences, model.summary) == (None, [], None, "")
    assert model.error is not None
