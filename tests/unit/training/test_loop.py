from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_world import QUICK, TINY, write_world

from training.data.layout import read_dataset
from training.data.samples import Source
from training.data.tracks import Tracks
from training.loop.backbones import BackbonePart, Material, Regression
from training.loop.checkpoint import Checkpoint, load_optimizer_state, optimizer_state
from training.loop.errors import RunOfOtherChoices, RunUnfinished
from training.loop.fitting import CHECKPOINT, METRICS, WEIGHTS
from training.loop.journal import Journal
from training.loop.options import Ablation, Decay, Options, Schedule, ablate
from training.loop.pace import Pace
from training.loop.ranks import Ranks
from training.loop.training import Start, train
from training.networks.log_mel import LogMel
from training.presets import PAPER, build_networks
from training.runs import CURVES, Run, begin_run, open_run

ALONE = Ranks(rank=0, size=1, device=torch.device("cpu"))
FEW = replace(QUICK, folds=(0, 4))
SCRIPT = """
import sys, torch
from pathlib import Path
from dataclasses import replace
sys.path.insert(0, sys.argv[1])
from toy_world import QUICK, TINY
from training.loop.journal import Journal
from training.loop.ranks import join_ranks
from training.loop.training import train
torch.set_num_threads(1)
with join_ranks("cpu") as ranks:
    train(Path(sys.argv[2]), Path(sys.argv[3]), preset=TINY, options=replace(QUICK, folds=(0, 4)),
          ranks=ranks, journal=Journal(None))
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


class Interrupted(Exception):
    """Stands in for a second kill, in the middle of an epoch."""


class Interrupting(Journal):
    """Interrupts after the first step of an epoch."""

    def __init__(self, title: str) -> None:
        super().__init__(None)
        self._title = title

    def follow(self, steps: Iterable[object], *, total: int, title: str) -> Iterator[object]:
        for step in steps:
            yield step
            if title == self._title:
                raise Interrupted


def teach(
    world: Path,
    folder: Path,
    options: Options = FEW,
    start: Start | None = None,
    journal: Journal | None = None,
) -> Run:
    return train(
        world,
        folder,
        preset=TINY,
        options=options,
        ranks=ALONE,
        journal=journal or Journal(None),
        start=start,
    )


@pytest.fixture(scope="module")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training that nothing interrupted."""
    return teach(world, tmp_path_factory.mktemp("run"))


def weights(folder: Path) -> dict[str, bytes]:
    """Every trained number of a run, to the bit."""
    return {
        f"{file.parent.name} {key}": value.numpy().tobytes()
        for file in sorted(folder.glob(f"*/{WEIGHTS}"))
        for key, value in load_file(file).items()
    }


def run_script(world: Path, folder: Path, *launch: str) -> subprocess.Popen[bytes]:
    arguments = [str(Path(__file__).parent), str(world), str(folder)]
    file = folder.with_suffix(".py")
    file.write_text(SCRIPT)
    return subprocess.Popen([sys.executable, *launch, str(file), *arguments])


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_run_leaves_weights_metrics_curves_and_its_choices(run: Run) -> None:
    for part in ("visual_backbone", "audio_backbone", "fold_0", "fold_4"):
        records = (run.folder / part / METRICS).read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in records] == list(range(len(records)))
        assert (run.folder / part / WEIGHTS).is_file()
    assert (run.folder / CURVES).read_bytes().startswith(b"\x89PNG")
    assert len((run.folder / METRICS).read_text().splitlines()) == 2 + 2 + 3 + 3
    assert open_run(run.folder).preset == TINY
    assert open_run(run.folder).options == FEW


def test_what_is_killed_at_any_step_ends_as_if_it_had_not_been(
    world: Path, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    process = run_script(world, folder)
    backbone = folder / "visual_backbone" / CHECKPOINT
    wait_until(lambda: backbone.is_file(), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "fold_0").exists()
    with pytest.raises(Interrupted):
        teach(world, folder, journal=Interrupting("fold 0 epoch 1"))
    assert not (folder / "fold_0" / WEIGHTS).exists()
    resumed = teach(world, folder)
    assert weights(run.folder) == weights(folder)
    for part, records in run.histories().items():
        again = resumed.histories()[part]
        assert [{**r, "seconds": 0} for r in records] == [{**r, "seconds": 0} for r in again]


def test_a_finished_run_is_left_as_it_is(world: Path, run: Run) -> None:
    before = weights(run.folder)
    checkpoint = (run.folder / "fold_0" / CHECKPOINT).stat().st_mtime_ns
    teach(world, run.folder)
    assert before == weights(run.folder)
    assert checkpoint == (run.folder / "fold_0" / CHECKPOINT).stat().st_mtime_ns


def test_other_choices_do_not_go_on_with_a_run(world: Path, run: Run) -> None:
    with pytest.raises(RunOfOtherChoices, match="another options"):
        teach(world, run.folder, replace(FEW, frames_per_window=5))


def test_two_processes_share_one_training(world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    assert run_script(world, folder, *launch).wait(timeout=150) == 0
    run = open_run(folder)
    assert set(run.histories()) == {"visual backbone", "audio backbone", "fold 0", "fold 4"}
    networks = run.load_networks()
    assert all(value.isfinite().all() for value in networks.visual.state_dict().values())


def test_an_ablation_takes_the_backbones_of_the_full_run(
    world: Path, run: Run, tmp_path: Path
) -> None:
    options = replace(FEW, folds=(0,), ablation=Ablation.FACE_ONLY)
    ablated = teach(world, tmp_path, options, Start(backbones=run.folder))
    assert {
        key: value for key, value in weights(run.folder).items() if "backbone" in key.split()[0]
    }.items() <= weights(ablated.folder).items()
    assert (ablated.folder / "embeddings").samefile(run.folder / "embeddings")
    other_seed = teach(
        world, tmp_path / "seed", replace(FEW, folds=(0,), seed=5), Start(backbones=run.folder)
    )
    differing = weights(other_seed.folder).items() ^ weights(run.folder).items()
    assert {key.split()[0] for key, _ in differing} >= {"fold_0"}
    assert not any("backbone" in key.split()[0] for key, _ in differing)
    other_folds = replace(options, deal_seed=1)
    with pytest.raises(RunOfOtherChoices, match="other folds"):
        teach(world, tmp_path / "other", other_folds, Start(backbones=run.folder))


def test_without_la_se_only_the_voice_s_backbone_can_be_taken(
    world: Path, run: Run, tmp_path: Path
) -> None:
    options = replace(FEW, folds=(0,), ablation=Ablation.NO_LA_SE)
    ablated = teach(world, tmp_path, options, Start(backbones=run.folder))
    full, taught = weights(run.folder), weights(ablated.folder)
    audio = {key: value for key, value in full.items() if key.startswith("audio")}
    assert audio.items() <= taught.items()
    assert not any("attention" in key for key in taught if key.startswith("visual"))


def test_an_unfinished_run_says_what_is_missing(run: Run, tmp_path: Path) -> None:
    begun = begin_run(
        tmp_path,
        preset=run.preset,
        options=run.options,
        plan=run.plan,
        facts={"data": {}, "initial": {}},
    )
    with pytest.raises(RunUnfinished, match="visual_backbone"):
        begun.load_networks()


def test_ablations_leave_out_what_they_name() -> None:
    assert not ablate(PAPER, Ablation.NO_LA_SE).visual.attention
    assert ablate(PAPER, Ablation.NO_TCN).fusion.visual.kernel == 1
    assert ablate(PAPER, Ablation.NO_TCN).fusion.audio.kernel == 1
    assert ablate(PAPER, Ablation.NO_TRANSFORMER).fusion.encoder.layers == 0
    assert ablate(PAPER, None) == ablate(PAPER, Ablation.FACE_ONLY) == PAPER


def test_without_tcn_a_frame_depends_on_others_through_attention_alone() -> None:
    preset = ablate(ablate(TINY, Ablation.NO_TCN), Ablation.NO_TRANSFORMER)
    fold = build_networks(preset, seed=0).fusion.folds[0]
    visual, audio = torch.randn(1, 20, 512), torch.randn(1, 20, 128)
    mask = torch.ones(1, 20, dtype=torch.bool)
    before = fold(visual, audio, mask)
    visual[:, 7] += 1
    moved = (before != fold(visual, audio, mask)).any(dim=-1)[0]
    assert moved.nonzero().flatten().tolist() == [7]


def test_pace_warms_up_falls_on_a_plateau_and_stops() -> None:
    schedule = Schedule(
        epochs=99, learning_rate=1.0, warm_up_epochs=4, plateau_epochs=2, stop_epochs=6
    )
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    pace = Pace(optimizer, schedule, 1.0)
    rates: list[float] = []
    for epoch in range(99):
        rates.append(pace.learning_rate)
        pace.step(epoch, min(epoch, 5) / 10)
        if pace.is_over:
            break
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1])


def test_pace_follows_a_cosine_to_its_end() -> None:
    schedule = Schedule(
        epochs=8, learning_rate=1.0, warm_up_epochs=2, stop_epochs=1, decay=Decay.COSINE
    )
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    pace = Pace(optimizer, schedule, 1.0)
    rates: list[float] = []
    for epoch in range(8):
        rates.append(pace.learning_rate)
        pace.step(epoch, 0.5)
        assert not pace.is_over
    assert rates == pytest.approx([0.5, 1, 1, 0.933, 0.75, 0.5, 0.25, 0.067], abs=1e-3)


def test_pace_goes_on_from_its_state() -> None:
    def fresh() -> Pace:
        parameter = torch.nn.Parameter(torch.zeros(1))
        return Pace(torch.optim.Adam([parameter]), Schedule(epochs=9, learning_rate=1.0), 1.0)

    whole, first, second = fresh(), fresh(), fresh()
    scores = [0.1, 0.3, 0.2, 0.2, 0.25, 0.2, 0.1, 0.2, 0.3, 0.1, 0.2, 0.2, 0.1]
    for epoch, ccc in enumerate(scores):
        whole.step(epoch, ccc)
        (first if epoch < 7 else second).step(epoch, ccc)
        if epoch == 6:
            second.load(json.loads(json.dumps(first.state())))
    assert whole.state() == second.state()


def test_a_checkpoint_gives_back_what_it_was_given(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    point = Checkpoint(epochs=3, pace={"best": -float("inf")}, history=[{"epoch": 0}])
    point.model, point.optimizer = dict(model.state_dict()), optimizer_state(optimizer)
    point.save(tmp_path / "a")
    again = Checkpoint.load(tmp_path / "a")
    assert (again.epochs, again.pace, again.history) == (3, point.pace, point.history)
    assert all(torch.equal(value, again.model[key]) for key, value in point.model.items())
    other = torch.optim.Adam(model.parameters())
    load_optimizer_state(other, again.optimizer)
    restored = optimizer_state(other)
    assert all(torch.equal(value, restored[key]) for key, value in point.optimizer.items())
    assert restored["0.step"].dtype == point.optimizer["0.step"].dtype
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_a_backbone_with_weights_of_its_own_thaws_from_its_end(world: Path, tmp_path: Path) -> None:
    recordings = read_dataset(world)[:2]
    tracks = Tracks(tmp_path, LogMel(TINY.log_mel).eval())
    source = Source(modality="visual", tracks=tracks, rate_hz=25)
    model = Regression(build_networks(TINY, 0).visual, "visual", 512)
    material = Material(training=recordings, validation=recordings, source=source)
    part = BackbonePart(
        model, material, options=replace(QUICK, unfreeze_epochs=2), ranks=ALONE, gradually=True
    )

    def open_at(epoch: int) -> set[str]:
        part.thaw(epoch)
        named = [name for name, value in model.named_parameters() if value.requires_grad]
        return {name.split(".")[1] for name in named if name.startswith("backbone")}

    end = {"attention", "bn2", "fc", "features"}
    assert open_at(1) == end
    assert not model.backbone.layer4[0].bn1.training
    assert open_at(2) == end | {"layer4"}
    assert model.backbone.layer4[0].bn1.training
    assert open_at(99) == end | {"layer4", "layer3", "layer2"}
