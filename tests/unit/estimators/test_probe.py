"""Probes of served models: fixed inputs, and the deviation of an answer."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.model_signatures import EXPORTED_MODELS, FUSION, ModelSignature
from service.estimators.probe import (
    CPU_TOLERANCE,
    Summary,
    build_probe_inputs,
    measure_deviation,
    summarize_outputs,
)


@pytest.mark.parametrize("slot", EXPORTED_MODELS, ids=lambda slot: slot.name)
def test_probe_fits_the_signature_and_varies(slot: ModelSignature) -> None:
    inputs = build_probe_inputs(slot)
    assert [array.ndim for array in inputs] == [len(tensor.shape) for tensor in slot.inputs]
    for array, tensor in zip(inputs, slot.inputs, strict=True):
        assert all(
            size in (-1, found) for size, found in zip(tensor.shape, array.shape, strict=True)
        )
    assert len(np.unique(inputs[0])) > 50


def test_sums_cover_every_value() -> None:
    output = np.linspace(-1, 1, 100, dtype=np.float32).reshape(50, 2)
    expected = summarize_outputs([output])
    for place in np.ndindex(output.shape):
        changed = output.copy()
        changed[place] += 0.1
        assert measure_deviation(expected, summarize_outputs([changed])) > CPU_TOLERANCE


def test_noise_of_another_processor_is_tolerated_and_no_number_is_not() -> None:
    generator = np.random.default_rng(0)
    output = generator.normal(size=(32, 2)).astype(np.float32)
    expected = summarize_outputs([output, output])
    noise = generator.normal(scale=1e-6, size=output.shape).astype(np.float32)
    assert measure_deviation(expected, summarize_outputs([output + noise, output])) < CPU_TOLERANCE
    output[0, 0] = np.nan
    damaged = summarize_outputs([output, output])
    assert measure_deviation(expected, damaged) == float("inf")
    assert measure_deviation(damaged, expected) == float("inf")


@pytest.mark.parametrize("answer", [(), ((0.0,) * 16,), ((0.0,) * 15, (0.0,) * 16)])
def test_an_answer_of_another_form_deviates(answer: Summary) -> None:
    """As of a manifest that someone has edited."""
    expected = summarize_outputs([np.zeros(32, np.float32)] * 2)
    assert measure_deviation(expected, answer) == float("inf")
    assert measure_deviation(answer, expected) == float("inf")


def test_the_same_probe_at_every_call() -> None:
    first, second = build_probe_inputs(FUSION), build_probe_inputs(FUSION)
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert [float(array.ravel()[1]) for array in first] == [13 / 128 - 1, (13 + 17) / 128 - 1, 1.0]
