"""Odd images and broken files, through the command line and the session: an answer or a
sentence, and nothing left behind."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_spa import RefinementSession, SpaError, load_model
from napari_spa.errors import InputError
from napari_spa.refine.engine.config import EngineConfig

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(40, 50)).astype(np.float32)
INSIDE = [(20, 25)]


def with_values(*values: float) -> np.ndarray:
    image = NOISE.copy()
    image.ravel()[::7][: len(values)] = values
    return image


USABLE = {
    "some NaN": with_values(np.nan, np.nan),
    "some infinite": with_values(np.inf, -np.inf),
    "constant": np.full((40, 50), 7.0),
    "one pixel": np.ones((1, 1)),
    "one row": RNG.normal(size=(1, 60)),
    "3 x 20000": RNG.integers(0, 255, (3, 20_000)).astype(np.uint8),
    "uint16": RNG.integers(0, 65_535, (40, 50)).astype(np.uint16),
    "int16 Hounsfield": RNG.integers(-1024, 3071, (40, 50)).astype(np.int16),
    "tiny floats": NOISE * 1e-30,
    "huge floats": NOISE.astype(np.float64) * 1e300,
    "float16": NOISE.astype(np.float16),
    "int64": (NOISE * 1e12).astype(np.int64),
    "uint64": np.full((40, 50), 2**64 - 1, np.uint64),
    "bool": NOISE > 0,
    "4 channels": RNG.integers(0, 255, (40, 50, 4)).astype(np.uint8),
    "2 channels": RNG.normal(size=(40, 50, 2)),
    "1 channel": RNG.normal(size=(40, 50, 1)),
    "not contiguous": np.asfortranarray(NOISE)[::2, ::-1],
    "read only": np.broadcast_to(np.float32(1), (40, 50)),
}
UNUSABLE = {
    "all NaN": np.full((40, 50), np.nan),
    "empty": np.ones((0, 50)),
    "complex": NOISE + 1j,
    "text": np.array([["a", "b"]]),
    "a line": np.ones(50),
    "4D": np.ones((2, 2, 40, 50)),
}


@pytest.fixture(scope="module")
def model(model_file: str):
    return load_model(model_file, device="cpu")


def start_of(image: np.ndarray) -> tuple[int, int]:
    height, width = image.shape[:2]
    return height // 2, width // 2


@pytest.mark.parametrize("name", USABLE)
def test_a_session_answers(model, name: str) -> None:
    image = USABLE[name]
    session = RefinementSession(model, config=EngineConfig(samples=8))
    session.set_image(image)
    proposal = session.start(points=[start_of(image)])
    assert proposal.mask.shape == image.shape[:2]
    assert np.isfinite(proposal.probability).all()
    assert np.isfinite(proposal.uncertainty)
    if proposal.candidates:
        proposal = session.pick(0)
        assert np.isfinite(proposal.probability).all()
    assert session.accept().mask.shape == image.shape[:2]


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_session_refuses_and_stays_as_it_was(model, name: str) -> None:
    session = RefinementSession(model, config=EngineConfig(samples=8))
    session.set_image(NOISE)
    before = session.start(points=INSIDE)
    with pytest.raises(InputError) as caught:
        session.set_image(UNUSABLE[name])
    assert "\n" not in str(caught.value)
    assert session.proposal is before
    assert session.sampler.shape == (40, 50)


@pytest.mark.parametrize(
    "prompts",
    [
        {"points": [(20, 2500)]},
        {"points": [(-3, 2)]},
        {"points": [(np.nan, 2)]},
        {"points": [(1, 2, 3)]},
        {"points": [("a", "b")]},
        {"points": INSIDE, "labels": [1, 0]},
        {"points": INSIDE, "labels": []},
        {"points": INSIDE, "labels": [2]},
        {"points": [], "labels": []},
        {"points": INSIDE, "box": (0, 0, 0, 0)},
        {"points": INSIDE, "box": (1, 2, 3)},
        {"points": INSIDE, "mask": np.ones((3, 3))},
        {"points": INSIDE, "mask": np.zeros((40, 50))},
    ],
    ids=str,
)
def test_prompts_that_cannot_be(model, prompts: dict) -> None:
    session = RefinementSession(model, config=EngineConfig(samples=8))
    session.set_image(NOISE)
    with pytest.raises(InputError) as caught:
        session.start(**prompts)
    assert "\n" not in str(caught.value)
    assert session.proposal is None


@pytest.mark.parametrize("name", USABLE)
def test_the_command_line_answers(run, model_file, tmp_path: Path, name: str) -> None:
    image = np.ascontiguousarray(USABLE[name])
    np.save(tmp_path / "image.npy", image)
    row, column = start_of(image)
    call = ["--point", f"{row},{column}", "--model", model_file, "-o", tmp_path / "mask.tif"]
    if name == "2 channels":  # neither grey nor colours: which of them, is to be said
        call += ["--slice", 1]
    answer = run("segment", tmp_path / "image.npy", *call, "--json")
    assert answer.status == 0, answer.err
    assert answer.json["area"] >= 0


@pytest.mark.parametrize("name", UNUSABLE)
def test_the_command_line_refuses(refuses, model_file, tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "image.npy", UNUSABLE[name])
    call = ["--point", "1,1", "--model", model_file, "-o", tmp_path / "mask.tif"]
    refuses("segment", tmp_path / "image.npy", *call)
    assert not (tmp_path / "mask.tif").exists()


class _Runs:
    """A pickle that would run code."""

    def __reduce__(self):
        return (Path.touch, (Path("ran.txt"),))


@pytest.mark.parametrize("kind", ["cut", "text", "empty", "code", "other", "folder", "missing"])
def test_a_corrupt_model_is_one_sentence(
    refuses, model_file, image_file, tmp_path: Path, monkeypatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = Path(model_file).read_bytes()
    path = tmp_path / ("model.pth" if kind in ("code", "other") else "model.safetensors")
    match kind:
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "text":
            path.write_text("this is no model")
        case "empty":
            path.write_bytes(b"")
        case "code":
            path.write_bytes(pickle.dumps({"state_dict": _Runs()}))
        case "other":
            torch.save({"layer.weight": torch.ones(3)}, path)
        case "folder":
            path.mkdir()
    sentence = refuses(
        "segment", image_file, "--point", "35,45", "--model", path, "-o", tmp_path / "mask.tif"
    )
    assert str(path) in sentence
    left = {p.name for p in tmp_path.iterdir()} - {path.name}
    assert left == {"image.png"}, "nothing ran, nothing was written"


def test_every_error_is_ours(model) -> None:
    assert issubclass(InputError, SpaError)
    with pytest.raises(SpaError):
        load_model("no-such-model")
