import pytest
from prometheus_client import CollectorRegistry

from service.errors import StreamsFull
from service.live.admission import MIN_RESULTS, Admission
from service.settings import Settings
from service.telemetry.metrics import Metrics


def admission() -> Admission:
    return Admission(Settings(max_streams=4), Metrics(CollectorRegistry()))


def be_late(admission: Admission) -> None:
    for _ in range(MIN_RESULTS):
        admission.observe(1.0)


def test_nobody_is_let_in_beside_streams_that_are_late() -> None:
    gate = admission()
    with gate.stream():
        be_late(gate)
        with pytest.raises(StreamsFull) as refusal, gate.stream():
            pass
    assert refusal.value.retry_seconds


def test_lateness_that_may_have_gone_with_a_stream_keeps_nobody_out() -> None:
    gate = admission()
    with gate.stream():
        with gate.stream():
            be_late(gate)
        with gate.stream():
            pass
