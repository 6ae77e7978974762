"""The small file beside a model's weights."""

import json

import pytest

from napari_spa.core.quality import Calibration, Term
from napari_spa.errors import CheckpointError
from napari_spa.io.models.formats import calibration_path, read_calibration, save_calibration
from napari_spa.io.models.load import load_model

CALIBRATION = Calibration(1.25, {"agreement": Term(0.8, 0.1, 0.5), "edge": Term(0.1, 0.2, -0.25)})


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_calibration(calibration_path(path), CALIBRATION, "a" * 64, {"error": 0.1})
    return path


def test_it_comes_back_as_it_was(weights):
    assert read_calibration(weights, "a" * 64) == CALIBRATION


def test_it_counts_for_its_own_weights_only(weights):
    assert read_calibration(weights, "b" * 64) is None
    assert read_calibration(weights.with_name("other.safetensors"), "a" * 64) is None


@pytest.mark.parametrize(
    "change",
    [
        {"terms": {"agreement": [0.8, 0.0, 0.5]}},
        {"terms": {"unheard of": [0.8, 0.1, 0.5]}},
        {"terms": {"agreement": [0.8, 0.1]}},
        {"terms": [1]},
        {"offset": None},
        {"weights": None, "offset": []},
    ],
)
def test_a_damaged_one_is_named(weights, change):
    path = calibration_path(weights)
    content = json.loads(path.read_text()) | change
    content["weights"] = "a" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="delete it"):
        read_calibration(weights, "a" * 64)
    path.write_text(json.dumps(content)[:-5])
    with pytest.raises(CheckpointError, match="delete it"):
        read_calibration(weights, "a" * 64)


def test_a_copy_without_its_calibration_is_not_calibrated(tmp_path):
    packaged = load_model("spa-tiny")
    assert packaged.calibration is not None  # else fit it: python -m napari_spa.train.calibrate
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(packaged.path.read_bytes())
    assert load_model(copy).calibration is None
