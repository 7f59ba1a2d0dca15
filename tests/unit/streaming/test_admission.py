import pytest
from prometheus_client import CollectorRegistry

from service.errors import TooManyStreams
from service.settings import Settings
from service.streaming.admission import MIN_RESULTS, AdmissionControl
from service.telemetry.metrics import Metrics


def make_admission() -> AdmissionControl:
    return AdmissionControl(Settings(max_streams=4), Metrics(CollectorRegistry()))


def observe_late_results(admission: AdmissionControl) -> None:
    for _ in range(MIN_RESULTS):
        admission.observe_lateness(1.0)


def test_new_stream_is_refused_while_others_are_late() -> None:
    gate = make_admission()
    with gate.admit():
        observe_late_results(gate)
        with pytest.raises(TooManyStreams) as refusal, gate.admit():
            pass
    assert refusal.value.retry_seconds


def test_lateness_is_forgotten_when_a_stream_ends() -> None:
    gate = make_admission()
    with gate.admit():
        with gate.admit():
            observe_late_results(gate)
        with gate.admit():
            pass
