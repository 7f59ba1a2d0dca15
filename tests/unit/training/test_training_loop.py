"""The training loop: interruption and resumption, ablations, schedules, checkpoints."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from toy_dataset import QUICK_OPTIONS, TINY_PRESET, write_dataset

from training.data.errors import CropUnreadable
from training.data.files import load_tensors
from training.data.layout import read_dataset
from training.data.samples import SampleSource
from training.data.spectra_cache import SpectraCache
from training.loop.backbone_training import BackboneData, BackboneTask, FrameRegressor
from training.loop.checkpoint import (
    TrainingCheckpoint,
    flatten_optimizer_state,
    load_optimizer_state,
)
from training.loop.distributed import Ranks
from training.loop.errors import RunConfigMismatch, RunIncomplete
from training.loop.fitting import CHECKPOINT_FILE, METRICS_FILE, WEIGHTS_FILE
from training.loop.lr_schedule import LearningRateSchedule
from training.loop.options import Ablation, Decay, TrainingOptions, TrainingSchedule, apply_ablation
from training.loop.run_logger import RunLogger
from training.loop.train_run import InitialWeights, train_run
from training.networks.iresnet import IResNet, IResNetConfig, ResidualBlock
from training.networks.log_mel import LogMel
from training.networks.visual_architectures import list_unfreeze_stages
from training.presets import PAPER, build_networks
from training.runs import CURVES_FILE, TrainingRun, open_run, start_or_resume_run

T = TypeVar("T")

SINGLE_RANK = Ranks(rank=0, size=1, device=torch.device("cpu"))
TWO_FOLD_OPTIONS = replace(QUICK_OPTIONS, folds=(0, 4))
TRAINING_SCRIPT = """
import sys, torch
from pathlib import Path
from dataclasses import replace
sys.path.insert(0, sys.argv[1])
from toy_dataset import QUICK_OPTIONS, TINY_PRESET
from training.loop.run_logger import RunLogger
from training.loop.distributed import join_ranks
from training.loop.train_run import train_run
torch.set_num_threads(1)
with join_ranks("cpu") as ranks:
    train_run(Path(sys.argv[2]), Path(sys.argv[3]), preset=TINY_PRESET,
              options=replace(QUICK_OPTIONS, folds=(0, 4)),
              ranks=ranks, logger=RunLogger(None))
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("world"))


class Interrupted(Exception):
    """Simulates a kill in the middle of an epoch."""


class InterruptingRunLogger(RunLogger):
    """Logger that interrupts after the first step of an epoch."""

    def __init__(self, title: str) -> None:
        super().__init__(None)
        self._title = title

    def track_progress(self, steps: Iterable[T], *, total: int, title: str) -> Iterator[T]:
        for step in steps:
            yield step
            if title == self._title:
                raise Interrupted


def train_tiny_run(
    data: Path,
    folder: Path,
    options: TrainingOptions = TWO_FOLD_OPTIONS,
    initial: InitialWeights | None = None,
    logger: RunLogger | None = None,
) -> TrainingRun:
    return train_run(
        data,
        folder,
        preset=TINY_PRESET,
        options=options,
        ranks=SINGLE_RANK,
        logger=logger or RunLogger(None),
        initial=initial,
    )


@pytest.fixture(scope="module")
def run(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A run that was not interrupted."""
    return train_tiny_run(dataset_root, tmp_path_factory.mktemp("run"))


def read_weights(folder: Path) -> dict[str, bytes]:
    """Read the bytes of all trained weights of a run."""
    return {
        f"{file.parent.name} {key}": value.numpy().tobytes()
        for file in sorted(folder.glob(f"*/{WEIGHTS_FILE}"))
        for key, value in load_tensors(file).items()
    }


def run_script(data: Path, folder: Path, *launch: str) -> subprocess.Popen[bytes]:
    arguments = [str(Path(__file__).parent), str(data), str(folder)]
    file = folder.with_suffix(".py")
    file.write_text(TRAINING_SCRIPT)
    return subprocess.Popen([sys.executable, *launch, str(file), *arguments])


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the process ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_run_writes_weights_metrics_curves_and_options(run: TrainingRun) -> None:
    for part in ("visual_backbone", "audio_backbone", "fold_0", "fold_4"):
        records = (run.folder / part / METRICS_FILE).read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in records] == list(range(len(records)))
        assert (run.folder / part / WEIGHTS_FILE).is_file()
    assert (run.folder / CURVES_FILE).read_bytes().startswith(b"\x89PNG")
    assert len((run.folder / METRICS_FILE).read_text().splitlines()) == 2 + 2 + 3 + 3
    assert open_run(run.folder).preset == TINY_PRESET
    assert open_run(run.folder).options == TWO_FOLD_OPTIONS


def test_killed_training_resumes_to_the_same_weights(
    dataset_root: Path, run: TrainingRun, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    process = run_script(dataset_root, folder)
    backbone = folder / "visual_backbone" / CHECKPOINT_FILE
    wait_until(lambda: backbone.is_file(), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "fold_0").exists()
    with pytest.raises(Interrupted):
        train_tiny_run(dataset_root, folder, logger=InterruptingRunLogger("fold 0 epoch 1"))
    assert not (folder / "fold_0" / WEIGHTS_FILE).exists()
    resumed = train_tiny_run(dataset_root, folder)
    assert read_weights(run.folder) == read_weights(folder)
    for part, records in run.read_histories().items():
        again = resumed.read_histories()[part]
        assert [{**r, "seconds": 0} for r in records] == [{**r, "seconds": 0} for r in again]


def test_a_finished_run_is_not_changed(dataset_root: Path, run: TrainingRun) -> None:
    before = read_weights(run.folder)
    checkpoint = (run.folder / "fold_0" / CHECKPOINT_FILE).stat().st_mtime_ns
    train_tiny_run(dataset_root, run.folder)
    assert before == read_weights(run.folder)
    assert checkpoint == (run.folder / "fold_0" / CHECKPOINT_FILE).stat().st_mtime_ns


def test_run_is_not_resumed_with_other_options(dataset_root: Path, run: TrainingRun) -> None:
    with pytest.raises(RunConfigMismatch, match="another options"):
        train_tiny_run(dataset_root, run.folder, replace(TWO_FOLD_OPTIONS, frames_per_window=5))


def test_run_is_not_resumed_with_other_crops(
    dataset_root: Path, run: TrainingRun, tmp_path: Path
) -> None:
    other = shutil.copytree(dataset_root, tmp_path / "other")
    train_tiny_run(other, run.folder)
    crops = other / "cropped_aligned" / "train0"
    shutil.copy(crops / "00001.jpg", crops / "00002.jpg")
    with pytest.raises(RunConfigMismatch, match="another media"):
        train_tiny_run(other, run.folder)


def test_a_broken_crop_is_found_before_anything_is_trained(
    dataset_root: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(dataset_root, tmp_path / "other")
    (other / "cropped_aligned" / "train5" / "00040.jpg").write_bytes(b"")
    with pytest.raises(CropUnreadable, match="00040"):
        train_tiny_run(other, tmp_path / "run")
    assert not (tmp_path / "run" / "visual_backbone").exists()


def test_two_processes_train_one_run(dataset_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    assert run_script(dataset_root, folder, *launch).wait(timeout=150) == 0
    run = open_run(folder)
    assert set(run.read_histories()) == {"visual backbone", "audio backbone", "fold 0", "fold 4"}
    networks = run.load_networks()
    assert all(value.isfinite().all() for value in networks.visual.state_dict().values())


def test_an_ablation_copies_the_backbones_of_the_full_run(
    dataset_root: Path, run: TrainingRun, tmp_path: Path
) -> None:
    options = replace(TWO_FOLD_OPTIONS, folds=(0,), ablation=Ablation.FACE_ONLY)
    ablated = train_tiny_run(dataset_root, tmp_path, options, InitialWeights(backbones=run.folder))
    assert {
        key: value
        for key, value in read_weights(run.folder).items()
        if "backbone" in key.split()[0]
    }.items() <= read_weights(ablated.folder).items()
    assert (ablated.folder / "embeddings").samefile(run.folder / "embeddings")
    other_seed = train_tiny_run(
        dataset_root,
        tmp_path / "seed",
        replace(TWO_FOLD_OPTIONS, folds=(0,), seed=5),
        InitialWeights(backbones=run.folder),
    )
    differing = read_weights(other_seed.folder).items() ^ read_weights(run.folder).items()
    assert {key.split()[0] for key, _ in differing} >= {"fold_0"}
    assert not any("backbone" in key.split()[0] for key, _ in differing)
    other_folds = replace(options, deal_seed=1)
    with pytest.raises(RunConfigMismatch, match="other folds"):
        train_tiny_run(
            dataset_root, tmp_path / "other", other_folds, InitialWeights(backbones=run.folder)
        )


def test_ablation_without_la_se_reuses_only_the_audio_backbone(
    dataset_root: Path, run: TrainingRun, tmp_path: Path
) -> None:
    options = replace(TWO_FOLD_OPTIONS, folds=(0,), ablation=Ablation.NO_LA_SE)
    ablated = train_tiny_run(dataset_root, tmp_path, options, InitialWeights(backbones=run.folder))
    full_weights, ablated_weights = read_weights(run.folder), read_weights(ablated.folder)
    audio = {key: value for key, value in full_weights.items() if key.startswith("audio")}
    assert audio.items() <= ablated_weights.items()
    assert not any("attention" in key for key in ablated_weights if key.startswith("visual"))


def test_an_incomplete_run_names_the_missing_part(run: TrainingRun, tmp_path: Path) -> None:
    incomplete = start_or_resume_run(
        tmp_path,
        preset=run.preset,
        options=run.options,
        plan=run.plan,
        metadata={"data": {}, "initial": {}},
    )
    with pytest.raises(RunIncomplete, match="visual_backbone"):
        incomplete.load_networks()


def test_ablations_remove_their_component() -> None:
    without_la_se = apply_ablation(PAPER, Ablation.NO_LA_SE)
    assert without_la_se == replace(PAPER, visual=IResNetConfig(attention=False))
    assert apply_ablation(PAPER, Ablation.NO_TCN).fusion.visual.kernel == 1
    assert apply_ablation(PAPER, Ablation.NO_TCN).fusion.audio.kernel == 1
    assert apply_ablation(PAPER, Ablation.NO_TRANSFORMER).fusion.encoder.layers == 0
    assert apply_ablation(PAPER, None) == apply_ablation(PAPER, Ablation.FACE_ONLY) == PAPER


def test_without_tcn_frames_depend_on_each_other_only_through_attention() -> None:
    preset = apply_ablation(apply_ablation(TINY_PRESET, Ablation.NO_TCN), Ablation.NO_TRANSFORMER)
    fold = build_networks(preset, seed=0).fusion.folds[0]
    visual, audio = torch.randn(1, 20, 512), torch.randn(1, 20, 128)
    mask = torch.ones(1, 20, dtype=torch.bool)
    before = fold(visual, audio, mask)
    visual[:, 7] += 1
    moved = (before != fold(visual, audio, mask)).any(dim=-1)[0]
    assert moved.nonzero().flatten().tolist() == [7]


def test_schedule_warms_up_decays_on_a_plateau_and_stops() -> None:
    schedule = TrainingSchedule(
        epochs=99, learning_rate=1.0, warm_up_epochs=4, plateau_epochs=2, stop_epochs=6
    )
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    pace = LearningRateSchedule(optimizer, schedule, 1.0)
    rates: list[float] = []
    for epoch in range(99):
        rates.append(pace.learning_rate)
        pace.step(epoch, min(epoch, 5) / 10)
        if pace.should_stop:
            break
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1])


def test_schedule_follows_a_cosine() -> None:
    schedule = TrainingSchedule(
        epochs=8, learning_rate=1.0, warm_up_epochs=2, stop_epochs=1, decay=Decay.COSINE
    )
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    pace = LearningRateSchedule(optimizer, schedule, 1.0)
    rates: list[float] = []
    for epoch in range(8):
        rates.append(pace.learning_rate)
        pace.step(epoch, 0.5)
        assert not pace.should_stop
    assert rates == pytest.approx([0.5, 1, 1, 0.933, 0.75, 0.5, 0.25, 0.067], abs=1e-3)


def test_schedule_resumes_from_its_state() -> None:
    def fresh() -> LearningRateSchedule:
        parameter = torch.nn.Parameter(torch.zeros(1))
        return LearningRateSchedule(
            torch.optim.Adam([parameter]), TrainingSchedule(epochs=9, learning_rate=1.0), 1.0
        )

    whole, first, second = fresh(), fresh(), fresh()
    scores = [0.1, 0.3, 0.2, 0.2, 0.25, 0.2, 0.1, 0.2, 0.3, 0.1, 0.2, 0.2, 0.1]
    for epoch, ccc in enumerate(scores):
        whole.step(epoch, ccc)
        (first if epoch < 7 else second).step(epoch, ccc)
        if epoch == 6:
            second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert whole.state_dict() == second.state_dict()


def test_checkpoint_round_trips(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()  # pyright: ignore[reportUnknownMemberType]  # untyped closure
    saved = TrainingCheckpoint(epochs=3, pace={"best": -float("inf")}, history=[{"epoch": 0}])
    saved.model, saved.optimizer = dict(model.state_dict()), flatten_optimizer_state(optimizer)
    saved.save(tmp_path / "a")
    loaded = TrainingCheckpoint.load(tmp_path / "a")
    assert (loaded.epochs, loaded.pace, loaded.history) == (3, saved.pace, saved.history)
    assert all(torch.equal(value, loaded.model[key]) for key, value in saved.model.items())
    other = torch.optim.Adam(model.parameters())
    load_optimizer_state(other, loaded.optimizer)
    restored = flatten_optimizer_state(other)
    assert all(torch.equal(value, restored[key]) for key, value in saved.optimizer.items())
    assert restored["0.step"].dtype == saved.optimizer["0.step"].dtype
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_pretrained_backbone_is_unfrozen_from_its_last_layers(
    dataset_root: Path, tmp_path: Path
) -> None:
    recordings = read_dataset(dataset_root)[:2]
    spectra = SpectraCache(tmp_path, LogMel(TINY_PRESET.log_mel).eval())
    source = SampleSource(modality="visual", spectra=spectra, rate_hz=25)
    backbone = build_networks(TINY_PRESET, 0).visual
    assert isinstance(backbone, IResNet)
    model = FrameRegressor(backbone, "visual", 512)
    data = BackboneData(training=recordings, validation=recordings, source=source)
    task = BackboneTask(
        model,
        data,
        options=replace(QUICK_OPTIONS, unfreeze_epochs=2),
        ranks=SINGLE_RANK,
        stages=list_unfreeze_stages(TINY_PRESET.visual),
    )

    def trainable_at(epoch: int) -> set[str]:
        task.set_trainable(epoch)
        named = [name for name, value in model.named_parameters() if value.requires_grad]
        return {name.split(".")[1] for name in named if name.startswith("backbone")}

    last_stage = {"attention", "bn2", "fc", "features"}
    assert trainable_at(1) == last_stage
    assert not first_block(backbone).bn1.training
    assert trainable_at(2) == last_stage | {"layer4"}
    assert first_block(backbone).bn1.training
    assert trainable_at(99) == last_stage | {"layer4", "layer3", "layer2"}


def first_block(backbone: IResNet) -> ResidualBlock:
    block = backbone.layer4[0]
    assert isinstance(block, ResidualBlock)
    return block
