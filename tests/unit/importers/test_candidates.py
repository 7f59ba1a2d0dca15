"""Candidates of a checkpoint: wrappers of training programs, averages, and colliding names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from training.importers.candidates import WeightsCandidate, choose_candidate, find_candidates
from training.importers.checkpoint_file import read_checkpoint
from training.importers.errors import WeightsAmbiguous, WeightsNotFound
from training.importers.layouts import KeyLayout

State = dict[str, Tensor]
STATE: State = {
    f"{layer}.{leaf}": torch.arange(4.0) + 10 * number
    for number, layer in enumerate(("conv1", "layer1.0.conv1", "layer1.1.conv1", "fc"))
    for leaf in ("weight", "bias")
}
AVERAGE: State = {key: value + 0.5 for key, value in STATE.items()}
HEAD: State = {"fc.weight": torch.ones(2, 4), "fc.bias": torch.ones(2)}
LAYOUT = KeyLayout(
    keys={key: key for key in STATE},
    shapes=dict.fromkeys(STATE, (4,)),
    ignored_keys=re.compile(r"(?!)"),
)
OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(4), "step": torch.tensor(3.0)}}}


def add_prefix(state: State, prefix: str) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def find(content: object, folder: Path) -> list[WeightsCandidate]:
    torch.save(content, folder / "file.ckpt")
    return find_candidates(read_checkpoint(folder / "file.ckpt"), LAYOUT)


def choose(content: object, folder: Path, name: str | None = None) -> WeightsCandidate:
    return choose_candidate(find(content, folder), name)


def holds(candidate: WeightsCandidate, expected: State) -> bool:
    tensors = candidate.tensors
    return tensors.keys() == expected.keys() and all(
        torch.equal(tensors[key], expected[key]) for key in expected
    )


LIGHTNING = {"epoch": 3, "optimizer_states": [OPTIMIZER], "hyper_parameters": {"rate": 0.1}}
WRAPPED: dict[str, tuple[object, str]] = {
    "plain": (STATE, "top level"),
    "state dict": ({"state_dict": STATE, "epoch": 3}, "state_dict"),
    "model state dict": ({"model_state_dict": STATE, "optimizer": OPTIMIZER}, "model_state_dict"),
    "two mappings": ({"model": {"state_dict": STATE}}, "model/state_dict"),
    "arcface": (
        {"state_dict_backbone": STATE, "state_optimizer": OPTIMIZER}, "state_dict_backbone",
    ),
    "deepspeed": ({"module": STATE, "ds_version": "0.1"}, "module"),
    "ddp": (add_prefix(STATE, "module."), "module."),
    "compiled": (add_prefix(STATE, "_orig_mod."), "top level"),
    "compiled in ddp": (add_prefix(STATE, "module._orig_mod."), "module."),
    "lightning": (LIGHTNING | {"state_dict": add_prefix(STATE, "model.")}, "state_dict/model."),
    "lightning, net": (LIGHTNING | {"state_dict": add_prefix(STATE, "net.")}, "state_dict/net."),
    "lightning, another name": (
        LIGHTNING | {"state_dict": add_prefix(STATE, "model.visual.body.")},
        "state_dict/model.visual.body.",
    ),
    "fsdp": (
        {key.replace("layer1.", "layer1._fsdp_wrapped_module."): v for key, v in STATE.items()},
        "top level",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRAPPED)
def test_wrappers_and_prefixes_are_recognised_and_named(case: str, tmp_path: Path) -> None:
    content, name = WRAPPED[case]
    chosen = choose(content, tmp_path)
    assert holds(chosen, STATE)
    assert (chosen.name, chosen.is_averaged) == (name, False)


AVERAGED: dict[str, tuple[object, str]] = {
    "swa": (add_prefix(STATE, "module.") | {"n_averaged": torch.tensor(5)}, "module."),
    "averaged model": (
        {"averaged_model": add_prefix(STATE, "module."), "n_averaged": 5},
        "averaged_model/module.",
    ),
    "ema": ({"ema": STATE, "updates": 5}, "ema"),
    "ema of ddp": (add_prefix(STATE, "ema_model.module."), "ema_model.module."),
    "shadow": ({"shadow": STATE}, "shadow"),
    "callback": (
        LIGHTNING | {"callbacks": {"EMACallback": {"weights": STATE}}},
        "callbacks/EMACallback/weights",
    ),
}


@pytest.mark.parametrize("case", AVERAGED)
def test_an_average_alone_is_chosen_and_said_to_be_one(case: str, tmp_path: Path) -> None:
    content, name = AVERAGED[case]
    chosen = choose(content, tmp_path)
    assert holds(chosen, STATE)
    assert (chosen.name, chosen.is_averaged) == (name, True)


RAW_AND_AVERAGED: dict[str, tuple[object, str, str]] = {
    "two state dicts": (
        {"state_dict": STATE, "state_dict_ema": AVERAGE}, "state_dict", "state_dict_ema",
    ),
    "model and ema": ({"model": STATE, "ema": AVERAGE}, "model", "ema"),
    "one lightning state dict": (
        {"state_dict": add_prefix(STATE, "model.") | add_prefix(AVERAGE, "ema_model.module.")},
        "state_dict/model.",
        "state_dict/ema_model.module.",
    ),
    "online and ema": (
        add_prefix(STATE, "online_model.") | add_prefix(AVERAGE, "ema_model."),
        "online_model.",
        "ema_model.",
    ),
    "bare and ema": (STATE | add_prefix(AVERAGE, "ema."), "top level", "ema."),
    "compiled and not": (
        add_prefix(STATE, "_orig_mod.") | AVERAGE, "_orig_mod.", "top level",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RAW_AND_AVERAGED)
def test_raw_and_averaged_weights_have_to_be_chosen(case: str, tmp_path: Path) -> None:
    content, raw, averaged = RAW_AND_AVERAGED[case]
    with pytest.raises(WeightsAmbiguous) as caught:
        choose(content, tmp_path)
    assert raw in str(caught.value)
    assert averaged in str(caught.value)
    assert "--weights" in str(caught.value)
    assert holds(choose(content, tmp_path, raw), STATE)
    assert holds(choose(content, tmp_path, averaged), AVERAGE)
    with pytest.raises(WeightsNotFound, match=re.escape(raw)):
        choose(content, tmp_path, "others")


def test_a_student_and_its_teacher_have_to_be_chosen(tmp_path: Path) -> None:
    content = add_prefix(STATE, "student.backbone.") | add_prefix(AVERAGE, "teacher.backbone.")
    with pytest.raises(WeightsAmbiguous, match=r"teacher\.backbone\.; student\.backbone\."):
        choose(content, tmp_path)
    assert holds(choose(content, tmp_path, "teacher.backbone."), AVERAGE)


def test_the_same_weights_twice_need_no_choice(tmp_path: Path) -> None:
    same = {key: value.clone() for key, value in STATE.items()}
    assert holds(choose({"model": STATE, "ema": same}, tmp_path), STATE)


def test_an_average_by_pytorch_is_read(tmp_path: Path) -> None:
    network = torch.nn.Sequential()
    for name in ("conv1", "fc"):
        network.add_module(name, torch.nn.LayerNorm(4))
    layout = KeyLayout(
        keys={key: key for key in network.state_dict()},
        shapes=dict.fromkeys(network.state_dict(), (4,)),
        ignored_keys=re.compile(r"(?!)"),
    )
    torch.save({"averaged_model": AveragedModel(network).state_dict()}, tmp_path / "file")
    chosen = choose_candidate(find_candidates(read_checkpoint(tmp_path / "file"), layout), None)
    assert chosen.report.fits
    assert chosen.is_averaged
    assert chosen.report.left_out == ("n_averaged",)


@pytest.mark.parametrize("prefix", ["backbone.", "model.backbone.", "module.net.encoder."])
@pytest.mark.parametrize("own", ["fc.", "head.fc.", "classifier."])
def test_a_head_of_the_whole_model_is_not_mistaken_for_the_backbones_layer(
    prefix: str, own: str, tmp_path: Path
) -> None:
    outer = prefix.rsplit("backbone.", maxsplit=1)[0].removesuffix("net.encoder.")
    head = {f"{outer}{own}{leaf}": torch.ones(2, 4) for leaf in ("weight", "bias")}
    for content in (add_prefix(STATE, prefix) | head, head | add_prefix(STATE, prefix)):
        chosen = choose({"state_dict": content}, tmp_path)
        assert holds(chosen, STATE)
        assert sorted(chosen.report.left_out) == sorted(head)


@pytest.mark.parametrize("shape", [(2, 4), (4,)])
def test_a_head_does_not_stand_in_for_a_layer_that_the_backbone_lacks(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    headless = {key: value for key, value in STATE.items() if not key.startswith("fc.")}
    head = {f"fc.{leaf}": torch.ones(shape) for leaf in ("weight", "bias")}
    best = choose({"state_dict": add_prefix(headless, "backbone.") | head}, tmp_path)
    assert best.name == "state_dict/backbone."
    assert best.report.missing == ("fc.weight", "fc.bias")
    assert not best.report.fits


def test_own_head_in_place_of_the_backbones_layer_is_a_wrong_shape(tmp_path: Path) -> None:
    best = choose({"state_dict": add_prefix(STATE | HEAD, "model.")}, tmp_path)
    assert best.report.wrong_shape == (
        "fc.weight: (2, 4) instead of (4,)",
        "fc.bias: (2,) instead of (4,)",
    )


def test_other_networks_with_a_few_such_names_are_no_candidates(tmp_path: Path) -> None:
    others = {f"blocks.{number}.mlp.{key}": value for number in range(3) for key, value in
              {"up.weight": torch.ones(4), "down.weight": torch.ones(4)}.items()}  # fmt: skip
    (candidate,) = find(others, tmp_path)
    assert (candidate.prefix, candidate.report.matched) == ("", 0)
