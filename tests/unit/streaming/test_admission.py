"""Admission of streams by the latency of the present ones."""

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
    admission = make_admission()
    with admission.admit():
        observe_late_results(admission)
        with pytest.raises(TooManyStreams) as refusal, admission.admit():
            pass
    assert refusal.value.retry_seconds


def test_latency_of_a_stream_is_discarded_when_it_ends() -> None:
    admission = make_admission()
    with admission.admit():
        with admission.admit():
            observe_late_results(admission)
        with admission.admit():
            pass
