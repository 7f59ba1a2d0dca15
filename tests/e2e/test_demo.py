"""The demo, `python -m deploy.demo`, as `make demo` runs it, in an unusual folder and network."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from deploy.demo import ACTOR_SEED, OWN_CLIP_COMMAND
from service.embedded.stack import settings_to_environment
from service.results.plot import BLOCKS
from service.settings import Settings
from training.synthetic.clip import create_demo_performance

ROOT = Path(__file__).resolve().parents[2]
MIN_CCC = 0.5
"""For one actor of ten seconds; over many actors the shipped weights reach more."""
UNUSUAL_NAME = "Grüße mit  Leerzeichen & 'Zitat' (日本)"
DEAD_PROXIES = {
    "http_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "NO_PROXY": " .example.org,[::1]:80,",
}


def test_demo_annotates_its_clip_and_writes_every_output(
    triton_dir: Path, shipped_repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / UNUSUAL_NAME
    shutil.copytree(shipped_repository, folder / "models")
    settings = Settings(
        runtime_dir=triton_dir.parent,
        face_models_dir=triton_dir.parent / "faces",
        model_repository=folder / "models",
    )
    completed = subprocess.run(
        [sys.executable, "-m", "deploy.demo"],
        cwd=folder,
        env=os.environ
        | DEAD_PROXIES
        | settings_to_environment(settings)
        | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    out = folder / "out"
    with av.open(str(out / "demo.mp4")) as container:
        frames = sum(1 for _ in container.decode(video=0))
        codecs = {stream.codec_context.name for stream in container.streams}
    assert {"h264", "aac"} == codecs
    result = json.loads((out / "demo.json").read_bytes())
    rows = list(csv.reader((out / "demo.csv").read_text().splitlines()))
    assert len(result["frames"]["index"]) == frames == len(rows) - 1
    assert (out / "demo.png").read_bytes().startswith(b"\x89PNG")
    estimate = np.array([result["frames"][name] for name in ("valence", "arousal")])
    truth = create_demo_performance(seed=ACTOR_SEED).truth_at(np.array(result["frames"]["time"])).T
    for name, x, y in zip(("valence", "arousal"), estimate, truth, strict=True):
        (xx, xy), (_, yy) = cast("NDArray[np.float64]", np.cov(x, y, bias=True))
        ccc = 2 * xy / (xx + yy + (x.mean() - y.mean()) ** 2)
        assert ccc > MIN_CCC
        assert f"CCC of {name} with the truth, {frames} frames: {ccc:.3f}" in completed.stdout
    assert any(block in completed.stdout for block in BLOCKS)
    assert result["provenance"]["training"] == "trained"
    assert "untrained" not in completed.stdout
    lines = completed.stdout.splitlines()
    (model_line,) = (line for line in lines if line.startswith("Model mini@"))
    assert all(caveat in model_line for caveat in result["model"]["caveats"])
    assert f"  {OWN_CLIP_COMMAND}" == lines[-1]
