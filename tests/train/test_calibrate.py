"""From known objects to the small file beside the weights, by one command."""

import json

import imageio.v3 as iio
import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.errors import DataError
from napari_spa.io.models.formats import save_model
from napari_spa.io.models.load import load_model
from napari_spa.refine.session.session import RefinementSession
from napari_spa.train import calibrate
from napari_spa.train.calibrate import PlayedRound, even_shares, main, measure

SIGNS = {"agreement": 0.8}


@pytest.fixture
def data(tmp_path):
    """Three sets of three images of discs; the network learnt from none."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :56]
    for name in ("a", "b", "c"):
        for part in ("images", "masks"):
            (tmp_path / "data" / name / part).mkdir(parents=True)
        for k in range(3):
            labels = np.zeros((48, 56), np.uint8)
            for number in (1, 2):
                row, column = rng.integers(12, 36), 14 + 28 * (number - 1)
                labels[(y - row) ** 2 + (x - column) ** 2 < rng.integers(25, 90)] = number
            noise = rng.integers(0, 60, labels.shape)
            iio.imwrite(tmp_path / "data" / name / "images" / f"{k}.png", _u8(noise, labels))
            iio.imwrite(tmp_path / "data" / name / "masks" / f"{k}.png", labels)
    return tmp_path / "data"


def _u8(noise, labels):
    return (noise + 120 * (labels > 0)).astype(np.uint8)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_model(make_model().spa, path, {})
    return path


def test_one_command_writes_what_the_model_is_used_with(data, weights, tmp_path, capsys):
    kept = tmp_path / "rounds.jsonl"
    arguments = [str(weights), str(data), "--per", "3", "--rounds", str(kept)]
    assert main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["objects"] == 9
    assert said["rounds"] >= 9
    assert 0 <= said["error"] <= 1
    written = weights.with_name("mine.calibration.json")
    assert said["calibration"] == str(written)
    before = written.read_bytes()
    model = load_model(weights)
    assert model.calibration is not None
    session = RefinementSession(model)
    session.set_image(iio.imread(data / "a" / "images" / "0.png"))
    shown = session.start(points=[(20, 14)])
    assert shown.calibrated
    assert shown.quality == pytest.approx(model.calibration.expect(shown.signs))
    assert shown.uncertainty == pytest.approx(1 - shown.quality)
    # Gone on with, nothing is played twice; of other weights nothing is taken.
    rounds = kept.read_text()
    assert main(arguments) == 0
    assert kept.read_text() == rounds
    assert written.read_bytes() == before
    assert calibrate._kept(kept, "other") == []


def test_images_that_taught_the_network_are_left_out(data):
    (data / "a" / "split.csv").write_text("name,split\n0,train\n1,val\n2,train\n")
    seen = {known.image for known in calibrate.known_objects(data / "a", seen=True, per=9)}
    fresh = {known.image for known in calibrate.known_objects(data / "a", seen=False, per=9)}
    assert (seen, fresh) == ({"1"}, {"0", "1", "2"})


@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_listed_image_without_its_file_is_one_sentence(data, part):
    (data / "a" / "split.csv").write_text("name,split\n0,val\n")
    (data / "a" / part / "0.png").unlink()
    with pytest.raises(DataError, match=rf"{part} holds no file named 0\."):
        list(calibrate.known_objects(data / "a", seen=True, per=9))


def test_what_is_no_data_is_one_sentence(weights, tmp_path, capsys):
    assert main([str(weights), str(tmp_path / "nothing")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(weights), str(tmp_path / "empty")]) == 2
    assert "holds no data set" in capsys.readouterr().err


def played(name, real, image="x"):
    return PlayedRound("w", name, image, 1, 1, SIGNS, real)


def test_each_set_counts_the_same():
    rounds = [played("a", 0.5)] * 3 + [played("b", 0.9)]
    np.testing.assert_allclose(even_shares(rounds), [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    found = measure(rounds, np.full(4, 0.9))
    assert found["error"] == pytest.approx(0.2)


def test_errors_of_bins_forgive_what_evens_out():
    real = np.tile([0.6, 0.8], 100)
    rounds = [played("a", float(value)) for value in real]
    found = measure(rounds, np.full(200, 0.7))
    assert found["error"] == pytest.approx(0.1)
    assert found["error_of_bins"] < 0.01
    ordered = measure(rounds, real)
    assert ordered["error"] == 0
    assert ordered["rank_correlation"] == pytest.approx(1)
