"""Tests of the baselines: what each learns from, and that a killed training goes on as if not."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from tiny_model import make_model

from napari_spa.datasets import open_folder
from napari_spa.errors import CheckpointError, DataError, InputError
from napari_spa.io.models.formats import save_model
from napari_spa.io.models.load import load_model
from napari_spa.train.baselines import (
    BASELINES,
    PROMPTED,
    WHOLE_IMAGE,
    load_baseline,
    split_name,
    train_method,
)
from napari_spa.train.baselines.loop import (
    BaselineConfig,
    BaselineRun,
    Compute,
    RatedBatch,
    read_examples,
)
from napari_spa.train.baselines.networks import (
    draw_rater,
)

CPU = Compute(torch.device("cpu"))
CONFIG = BaselineConfig(steps=4, batch=2, check_every=2, size=64)


@pytest.fixture
def folder(tmp_path: Path):
    """Six discs, marked tightly and loosely; one only by the loose rater."""
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[:48, :48]
    for index in range(6):
        distance = (rows - 20 - index) ** 2 + (columns - 22) ** 2
        image = rng.integers(0, 60, (48, 48)).astype(np.uint8)
        image[distance <= 81] += 120
        for rater, radius in (("tight", 7), ("loose", 10)):
            if (rater, index) == ("tight", 5):
                continue
            path = tmp_path / "data" / "raters" / rater / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            iio.imwrite(path, (distance <= radius**2).astype(np.uint8) * 255)
        path = tmp_path / "data" / "images" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        iio.imwrite(path, image)
    return open_folder(tmp_path / "data")


@pytest.fixture
def backbone(tmp_path: Path) -> str:
    save_model(make_model().spa, tmp_path / "tiny.safetensors", {})
    return str(tmp_path / "tiny.safetensors")


def curve(run: Path) -> list[list[str]]:
    with (run / "curve.csv").open(newline="") as stream:
        return list(csv.reader(stream))


@pytest.mark.parametrize("name", BASELINES)
def test_every_method_trains_and_loads(name: str, folder, backbone: str, tmp_path: Path) -> None:
    facts = train_method(name, folder, tmp_path / "run", CONFIG, backbone=backbone, compute=CPU)
    assert facts["steps"] == 4
    assert facts["parameters"] >= facts["trained"] > 0
    assert [row[0] for row in curve(tmp_path / "run")] == ["step", "2", "4"]
    network = load_baseline(tmp_path / "run", load_model(backbone, device="cpu"))
    before = make_model().spa if name in PROMPTED else None
    changed = [
        key
        for key, value in network.state_dict().items()
        if before is None or not torch.equal(value, before.state_dict().get(key[4:], value + 1))
    ]
    assert changed, "it learnt something"
    if name in WHOLE_IMAGE:
        answer = network.predict(torch.zeros(2, 3, 64, 64))
        assert answer.shape == (2, 64, 64)
        assert ((answer >= 0) & (answer <= 1)).all()
        assert torch.equal(answer, network.predict(torch.zeros(2, 3, 64, 64)))


def test_what_stays_as_it_is_while_tuning() -> None:
    start = make_model().spa.state_dict()
    adapters = PROMPTED["msa-click"](make_model().spa)
    moved = [name for name, p in adapters.named_parameters() if p.requires_grad]
    assert moved
    assert all(name.startswith("adapters.") for name in moved)
    boxes = PROMPTED["medsam-box"](make_model().spa)
    kept = [name for name, p in boxes.named_parameters() if not p.requires_grad]
    assert kept
    assert all("prompt_encoder" in name for name in kept)
    ours = PROMPTED["spa"](make_model().spa)
    assert all(p.requires_grad for p in ours.parameters())
    assert {name[4:] for name in ours.state_dict()} == set(start)


def test_adapters_begin_as_nothing() -> None:
    plain, adapted = make_model().spa, PROMPTED["msa-click"](make_model().spa).spa
    pixels = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(plain.encode(pixels).tokens, adapted.encode(pixels).tokens)


def test_training_again_does_nothing(folder, backbone: str, tmp_path: Path) -> None:
    first = train_method("unet", folder, tmp_path / "run", CONFIG, backbone=backbone, compute=CPU)
    stamp = (tmp_path / "run" / "last.pt").stat().st_mtime_ns
    again = train_method("unet", folder, tmp_path / "run", CONFIG, backbone=backbone, compute=CPU)
    assert again == json.loads(json.dumps(first))
    assert (tmp_path / "run" / "last.pt").stat().st_mtime_ns == stamp
    facts = tmp_path / "run" / "facts.json"
    del again["precision"]  # as an earlier version wrote it
    facts.write_text(json.dumps(again))
    earlier = train_method("unet", folder, tmp_path / "run", CONFIG, backbone=backbone, compute=CPU)
    assert earlier == again
    other = replace(CONFIG, seed=1)
    with pytest.raises(InputError, match="another seed"):
        train_method("unet", folder, tmp_path / "run", other, backbone=backbone, compute=CPU)


@pytest.mark.parametrize("name", ["mh-unet", "mrnet", "probunet", "msa-click"])
def test_half_the_precision_learns_nearly_the_same(
    name: str, folder, backbone: str, tmp_path: Path
) -> None:
    config = replace(CONFIG, precision="bfloat16")
    for run, how in (("exact", CONFIG), ("reduced", config)):
        train_method(name, folder, tmp_path / run, how, backbone=backbone, compute=CPU)
    exact, reduced = (np.array(curve(tmp_path / run)[1:], float) for run in ("exact", "reduced"))
    assert not np.array_equal(exact, reduced)
    np.testing.assert_allclose(exact[:, 1], reduced[:, 1], rtol=0.05)
    network = load_baseline(tmp_path / "reduced", load_model(backbone, device="cpu"))
    assert {each.dtype for each in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["probunet", "spa", "msa-click"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_training_goes_on_to_the_same_curve_and_weights(
    name: str, workers: int, folder, backbone: str, tmp_path: Path, monkeypatch
) -> None:
    compute = Compute(CPU.device, workers)
    train_method(name, folder, tmp_path / "whole", CONFIG, backbone=backbone, compute=CPU)

    class Stopped(Exception):
        pass

    def stop(step: int, figures: dict[str, float]) -> None:
        raise Stopped

    broken = replace(compute, progress=stop)
    with pytest.raises(Stopped):
        train_method(name, folder, tmp_path / "parts", CONFIG, backbone=backbone, compute=broken)
    assert len(curve(tmp_path / "parts")) == 2
    train_method(name, folder, tmp_path / "parts", CONFIG, backbone=backbone, compute=compute)
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")
    whole, parts = (
        load_baseline(tmp_path / run, load_model(backbone, device="cpu")).state_dict()
        for run in ("whole", "parts")
    )
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_killed_hard_it_goes_on_to_the_same_curve(folder, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=40, check_every=4, patience=99)
    train_method("unet", folder, tmp_path / "whole", config, backbone="", compute=CPU)
    program = (
        "import sys, torch; from dataclasses import replace; from pathlib import Path\n"
        "from napari_spa.datasets import open_folder\n"
        "from napari_spa.train.baselines import train_method\n"
        "from napari_spa.train.baselines.loop import BaselineConfig, Compute\n"
        "config = BaselineConfig(steps=40, batch=2, check_every=4, size=64, patience=99)\n"
        "train_method('unet', open_folder(sys.argv[1]), Path(sys.argv[2]), config, backbone='',"
        " compute=Compute(torch.device('cpu')))\n"
    )
    run = tmp_path / "parts"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "data"), str(run)], env=environment
    )
    try:
        deadline = time.monotonic() + 200
        while not (run / "curve.csv").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    train_method("unet", folder, run, config, backbone="", compute=CPU)
    assert curve(run) == curve(tmp_path / "whole")


def test_it_stops_when_the_score_no_longer_rises(folder, tmp_path: Path) -> None:
    class Flat:
        rate = 1e-3

        def __init__(self) -> None:
            self.network = torch.nn.Linear(1, 1)
            self.scores = iter([0.5, 0.7, 0.6, 0.6, 0.9])
            self.seen: list[torch.Tensor] = []

        def draw(self, rng):
            return (torch.ones(1),)

        def loss(self, batch, generator):
            return self.network(batch[0]).mean()

        def score(self) -> float:
            self.seen.append(self.network.weight.detach().clone())
            return next(self.scores)

    task = Flat()
    config = replace(CONFIG, steps=100, check_every=1, patience=2)
    state = BaselineRun(task, tmp_path, config, {}, CPU).train()
    assert (state.step, state.best_step, state.best_score) == (4, 2, 0.7)
    assert torch.equal(task.network.weight, task.seen[1]), "the best weights, not the last"


def test_patients_are_not_divided_and_raters_are_chosen(folder) -> None:
    config = BaselineConfig(split=None, size=32)
    examples = read_examples(folder, config)
    assert examples.raters == ("loose", "tight")
    assert len(examples.learnt) + len(examples.aside) == 6
    known = {e.name: e.known.tolist() for e in (*examples.learnt, *examples.aside)}
    assert known["5"] == [True, False]
    folder.patients = {str(index): "ab"[index % 2] for index in range(6)}
    examples = read_examples(folder, config)
    parts = [{folder.patients[e.name] for e in part} for part in (examples.learnt, examples.aside)]
    assert not parts[0] & parts[1]
    folder.patients = {}
    assert read_examples(folder, replace(config, only="tight")).raters == ("tight",)
    assert len(read_examples(folder, replace(config, only="tight")).learnt) == 4
    assert read_examples(folder, replace(config, without="tight")).raters == ("loose",)
    with pytest.raises(DataError, match="no rater nobody marked anything; they are loose, tight"):
        read_examples(folder, replace(config, only="nobody"))
    folder.patients = dict.fromkeys(map(str, range(6)), "one")
    with pytest.raises(DataError, match="too few to train on"):
        read_examples(folder, config)
    folder.paths = {"5": folder.paths["5"]}  # marked by one
    with pytest.raises(DataError, match="0 images are too few"):
        read_examples(folder, replace(config, without="loose"))


def test_what_a_batch_is_fused_to() -> None:
    masks = torch.zeros(1, 3, 2, 2)
    masks[0, 0, 0], masks[0, 1, 0, 0], masks[0, 2] = 1, 1, 1
    batch = RatedBatch(torch.zeros(1, 3, 2, 2), masks, torch.tensor([[1.0, 1.0, 0.0]]))
    assert batch.majority().tolist() == [[[[1.0, 1.0], [0.0, 0.0]]]], "an unknown rater has no vote"
    fused = batch.fused(torch.tensor([[3.0, 1.0, 0.0]]))
    assert fused.tolist() == [[[[1.0, 0.75], [0.0, 0.0]]]]
    drawn = {tuple(draw_rater(batch).flatten().tolist()) for _ in range(40)}
    assert drawn == {(1, 1, 0, 0), (1, 0, 0, 0)}


@pytest.mark.parametrize("name", ["unet", "mrnet", "mh-unet", "probunet", "transunet"])
def test_it_can_learn_a_small_object(name: str) -> None:
    """Objects of 3 % of the image, and a background that the network becomes sure of."""
    torch.manual_seed(0)
    network = WHOLE_IMAGE[name](2, 32)
    bright = torch.zeros(4, 1, 32, 32)
    for index in range(4):
        bright[index, 0, 4 * index : 4 * index + 6, 12:18] = 1
    batch = RatedBatch(
        bright.expand(-1, 3, -1, -1) * 2 - 1, bright.expand(-1, 2, -1, -1), torch.ones(4, 2)
    )
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(80):
        optimiser.zero_grad()
        network.loss(batch).backward()
        optimiser.step()
    probability = network.eval().predict(batch.pixels)
    found, wanted = probability > 0.5, bright[:, 0] > 0
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.9
    assert probability[~wanted].mean() < 0.1


def test_names_and_damage_are_one_sentence(folder, backbone: str, tmp_path: Path) -> None:
    assert split_name("unet@tight") == ("unet", "tight", None)
    assert split_name("spa~loose") == ("spa", None, "loose")
    with pytest.raises(InputError, match="sam-click cannot be trained; choose of spa"):
        split_name("sam-click")
    with pytest.raises(DataError, match="no finished training"):
        load_baseline(tmp_path)
    run = tmp_path / "run"
    train_method("ls-unet", folder, run, CONFIG, backbone=backbone, compute=CPU)
    (run / "weights.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError):
        load_baseline(run)
    (run / "last.pt").write_bytes(b"PK\x03\x04 cut")
    (run / "facts.json").unlink()
    with pytest.raises(CheckpointError, match="damaged"):
        train_method("ls-unet", folder, run, CONFIG, backbone=backbone, compute=CPU)
    with pytest.raises(InputError, match="steps must be 1 or more"):
        replace(CONFIG, steps=0).check()
    with pytest.raises(InputError, match="multiple of 64"):
        replace(CONFIG, size=100).check()


def test_without_monai_it_says_what_to_install(monkeypatch) -> None:
    from napari_spa.errors import ModelError

    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    with pytest.raises(ModelError, match=r"pip install napari-spa\[evaluate\]"):
        WHOLE_IMAGE["unet"](1, 32)
