"""Drawn crops, against crops cut by the service's detection and alignment."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from service.domain.array_types import UInt8Array
from service.faces.finder import open_face_finder
from training.synthetic.camera import Camera
from training.synthetic.dataset_spec import ClipSpec, DatasetSpec
from training.synthetic.performance import Performance
from training.synthetic.recording_writer import write_recording
from training.synthetic.renderer import PerformanceRenderer

FACE_MODELS = Path(__file__).parents[3] / ".runtime" / "faces"


def read_crop(file: Path) -> UInt8Array:
    crop = cv2.imread(str(file))
    assert crop is not None
    return crop.astype(np.uint8)


def test_service_crops_match_drawn_crops(tmp_path: Path) -> None:
    clip = ClipSpec(actor=500_000, name="actor", split_folder="Test_Set", rate="25")
    for folder, as_served in (("drawn", False), ("served", True)):
        spec = DatasetSpec(seed=5, seconds=4, rates=("25",), clips=False, as_served=as_served)
        write_recording(tmp_path / folder, spec, clip, FACE_MODELS)
    differences = [
        np.abs(read_crop(served).astype(int) - read_crop(drawn)).mean()
        for served in tmp_path.glob("served/cropped_aligned/actor/*.jpg")
        if (drawn := tmp_path / "drawn/cropped_aligned/actor" / served.name).exists()
    ]
    assert len(differences) > 60
    # unrelated faces differ by more than 30 levels
    assert float(np.median(differences)) < 12


def test_default_finder_finds_the_visible_faces() -> None:
    times = np.arange(0, 4, 0.16)
    visible_count = found_count = 0
    for seed in range(20, 28):
        performance = Performance.from_seed(seed, seconds=4.0)
        renderer = PerformanceRenderer(performance, Camera.from_seed(performance.seed))
        finder = open_face_finder(FACE_MODELS, None)
        moments = zip(
            times,
            performance.expressions.sample(times),
            performance.is_visible_at(times),
            strict=True,
        )
        for seconds, expression, visible in moments:
            face = next(iter(finder.find(renderer.render_frame(expression, float(seconds)))), None)
            visible_count += bool(visible)
            found_count += bool(visible) and face is not None
    assert found_count >= 0.97 * visible_count > 100
