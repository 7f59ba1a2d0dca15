"""Admission of streams by the latency of the present ones."""

from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry

from service.domain.estimator import EstimatorId
from service.errors import QuotaExceeded, TooManyStreams
from service.settings import Settings
from service.streaming.admission import MIN_RESULTS, AdmissionControl
from service.telemetry.metrics import Metrics

MODEL = EstimatorId("mini", 1)


def make_admission(**update: int) -> AdmissionControl:
    settings = Settings(max_streams=4).model_copy(update=update)
    return AdmissionControl(settings, Metrics(CollectorRegistry()))


def count_admitted(admission: AdmissionControl, stack: ExitStack, *client_ids: str) -> int:
    """Admit streams of these clients until one is refused; returns their number."""
    for count, client_id in enumerate(client_ids):
        try:
            stack.enter_context(admission.admit(client_id, MODEL))
        except (TooManyStreams, QuotaExceeded):
            return count
    return len(client_ids)


def observe_late_results(admission: AdmissionControl) -> None:
    for _ in range(MIN_RESULTS):
        admission.observe_lateness(1.0)


def test_new_stream_is_refused_while_others_are_late() -> None:
    admission = make_admission()
    with admission.admit("a", MODEL):
        observe_late_results(admission)
        with pytest.raises(TooManyStreams) as refusal, admission.admit("a", MODEL):
            pass
    assert refusal.value.retry_seconds


def test_latency_of_a_stream_is_discarded_when_it_ends() -> None:
    admission = make_admission()
    with admission.admit("a", MODEL):
        with admission.admit("a", MODEL):
            observe_late_results(admission)
        with admission.admit("a", MODEL):
            pass


def test_one_client_cannot_take_the_places_of_others() -> None:
    admission = make_admission()
    with ExitStack() as stack:
        assert count_admitted(admission, stack, *["a"] * 9) == 4
        assert count_admitted(admission, stack, "b") == 1
        assert count_admitted(admission, stack, "b") == 0  # it has one
        assert count_admitted(admission, stack, "c", "d") == 1
    with ExitStack() as stack:
        assert count_admitted(admission, stack, "b", "c", "d", "e", "f") == 4


def test_a_gateway_of_one_stream_has_no_place_beyond_it() -> None:
    admission = make_admission(max_streams=1)
    with ExitStack() as stack:
        assert count_admitted(admission, stack, "a", "b") == 1


def test_late_streams_of_one_client_do_not_keep_others_out() -> None:
    admission = make_admission()
    with admission.admit("a", MODEL), admission.admit("a", MODEL):
        observe_late_results(admission)
        with pytest.raises(TooManyStreams), admission.admit("a", MODEL):
            pass
        with admission.admit("b", MODEL):
            pass


def test_streams_of_a_client_can_be_limited() -> None:
    admission = make_admission(max_streams_per_client=2)
    with admission.admit("a", MODEL), admission.admit("a", MODEL):
        with pytest.raises(QuotaExceeded) as refusal, admission.admit("a", MODEL):
            pass
        with admission.admit("b", MODEL):
            pass
    assert refusal.value.retry_seconds


def test_open_streams_are_counted_by_model() -> None:
    settings, metrics = Settings(max_streams=4), Metrics(CollectorRegistry())
    admission, other = AdmissionControl(settings, metrics), EstimatorId("mini", 2)

    def read_counts() -> list[float | None]:
        read = metrics.registry.get_sample_value
        return [read("circumplex_streams", {"model": str(model)}) for model in (MODEL, other)]

    with admission.admit("a", MODEL), admission.admit("b", MODEL):
        with admission.admit("c", other):
            assert read_counts() == [2, 1]
        assert read_counts() == [2, 0]
    assert read_counts() == [0, 0]
