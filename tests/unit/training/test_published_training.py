"""Training on a frozen published network, and export of the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from toy_dataset import QUICK_OPTIONS, TINY_PRESET, TOY_RECORDINGS, write_dataset

from service.domain.estimator import EstimatorId
from service.estimators.repository import EstimatorRepository
from tests.unit.importers import published_networks as published
from training.data.files import load_tensors
from training.export import ExportTarget, load_model
from training.export_run import export_run
from training.importers.backbone import read_backbone, write_backbone
from training.importers.import_backbone import import_backbone
from training.importers.layouts import BackboneKind
from training.loop.distributed import Ranks
from training.loop.errors import OptionNotApplicable, RunConfigMismatch
from training.loop.fitting import WEIGHTS_FILE
from training.loop.options import Ablation, TrainingOptions
from training.loop.run_logger import RunLogger
from training.loop.train_run import InitialWeights, train_run
from training.networks.visual_architectures import PublishedConfig
from training.runs import TrainingRun, open_run
from training.serving import ServedVisualBackbone

OPTIONS = replace(
    QUICK_OPTIONS,
    backbone=replace(QUICK_OPTIONS.backbone, epochs=1),
    fold=replace(QUICK_OPTIONS.fold, epochs=1),
    calibration_share=0.0,
    frames_per_window=1,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mobilefacenet")
    onnx.save(published.build_mobilefacenet(batch_norms=True), str(folder / "network.onnx"))
    return write_backbone(
        import_backbone(BackboneKind.MOBILEFACENET, folder / "network.onnx"), folder
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    short = tuple(
        replace(each, rows=4, rows_without_crop=(0,), unannotated_rows=())
        for each in TOY_RECORDINGS
    )
    return write_dataset(tmp_path_factory.mktemp("data"), short)


def train(
    data: Path, folder: Path, initial: InitialWeights, options: TrainingOptions = OPTIONS
) -> TrainingRun:
    return train_run(
        data,
        folder,
        preset=TINY_PRESET,
        options=options,
        ranks=Ranks(rank=0, size=1, device=torch.device("cpu")),
        logger=RunLogger(None),
        initial=initial,
    )


def test_a_frozen_network_is_trained_upon_resumed_and_served_as_it_was_published(
    data: Path, backbone: Path, tmp_path: Path
) -> None:
    frozen = InitialWeights(visual=backbone, freeze_visual=True)
    run = train(data, tmp_path / "run", frozen)
    assert run.preset.visual == PublishedConfig(architecture="mobilefacenet", frozen=True)
    weights = run.backbone_folder("visual") / WEIGHTS_FILE
    trained, public = load_tensors(weights), load_tensors(backbone)
    assert public.keys() == {k.removeprefix("backbone.") for k in trained if "head" not in k}
    assert all(torch.equal(trained[f"backbone.{key}"], value) for key, value in public.items())
    written = weights.stat().st_mtime_ns
    train(data, tmp_path / "run", frozen)
    assert weights.stat().st_mtime_ns == written
    with pytest.raises(RunConfigMismatch, match="another preset"):
        train(data, tmp_path / "run", replace(frozen, freeze_visual=False))
    target = ExportTarget(repository=tmp_path / "models", estimator=EstimatorId("mine", 1))
    manifest = export_run(tmp_path / "run", target)
    file = EstimatorRepository(target.repository).model_file(manifest.id, "visual_backbone")
    crops = torch.randint(0, 256, (3, 3, 112, 112), generator=torch.Generator().manual_seed(0))
    published_backbone = ServedVisualBackbone(read_backbone(backbone).build_visual()).eval()
    with torch.inference_mode():
        served, expected = load_model(file)(crops.byte()), published_backbone(crops.byte())
    torch.testing.assert_close(served, expected, rtol=1e-4, atol=1e-4)
    assert open_run(tmp_path / "run").preset == run.preset


def test_what_a_network_does_not_have_cannot_be_frozen_or_removed(
    data: Path, backbone: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionNotApplicable, match="IResNet"):
        train(data, tmp_path / "a", InitialWeights(freeze_visual=True))
    ablated = replace(OPTIONS, ablation=Ablation.NO_LA_SE)
    with pytest.raises(OptionNotApplicable, match="LA-SE"):
        train(data, tmp_path / "b", InitialWeights(visual=backbone), ablated)
