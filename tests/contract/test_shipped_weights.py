"""Shipped weights: hashes, size, held-out scores, report and provenance."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from service.domain.estimator import Domain, EstimatorId
from service.domain.media import Flag
from training.evaluation.report_provenance import read_held_out_metrics
from training.export import ExportTarget
from training.export_run import export_run
from training.loop.options import Ablation
from training.runs import open_run

SHIPPED = Path(__file__).parents[2] / "weights" / "mini"
SCRATCH = ("tracks", "embeddings", "evaluation")
LIMIT_BYTES = 16_000_000


def read_files() -> dict[str, bytes]:
    return {
        file.relative_to(SHIPPED).as_posix(): file.read_bytes()
        for file in sorted(SHIPPED.rglob("*"))
        if file.is_file() and file.relative_to(SHIPPED).parts[0] not in SCRATCH
    }


def test_file_hashes_match_the_model_card() -> None:
    card = (SHIPPED / "README.md").read_text()
    hashes = {
        name: digest for digest, name in re.findall(r"^\| `(\w{64})` \| (\S+) \|$", card, re.M)
    }
    assert hashes == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in read_files().items()
        if name != "README.md"
    }


def test_weights_are_small_and_contain_no_local_paths() -> None:
    assert sum(map(len, read_files().values())) <= LIMIT_BYTES
    for name, content in read_files().items():
        if not name.endswith((".safetensors", ".png")):
            assert not re.search(rb'"/\w+/|/(home|root|tmp)/', content), name


def test_held_out_ccc_meets_the_targets() -> None:
    evidence = read_held_out_metrics(open_run(SHIPPED))
    assert evidence is not None, "the report is of other weights, or not held out"
    assert evidence["subjects"] >= 20
    assert evidence["ccc"]["mean"] >= 0.85
    assert min(evidence["ccc"]["valence"], evidence["ccc"]["arousal"]) >= 0.80


def test_report_has_every_ablation_and_several_seeds() -> None:
    report = json.loads((SHIPPED / "report.json").read_text())
    assert set(report["ablations"]) == set(Ablation)
    assert len(report["seeds"]["runs"]) >= 2


def test_export_states_training_held_out_scores_and_that_it_has_seen_drawings(
    tmp_path: Path,
) -> None:
    target = ExportTarget(repository=tmp_path, estimator=EstimatorId("mini", 1))
    manifest = export_run(SHIPPED, target)
    held_out = read_held_out_metrics(open_run(SHIPPED))
    assert held_out is not None
    assert (manifest.document["preset"], manifest.document["training"]) == ("mini", "trained")
    assert manifest.document["held_out"] == held_out
    assert manifest.domain is Domain.DRAWN
    assert manifest.flags == {Flag.WEIGHTS_SYNTHETIC, Flag.WEIGHTS_UNMEASURED}
    assert [(each.metric, each.valence, each.arousal) for each in manifest.figures] == [
        ("ccc", held_out["ccc"]["valence"], held_out["ccc"]["arousal"])
    ]
