"""Tests of benchmarks/profile_transfer.py: who learns what, on which images, what is kept."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import profile_transfer as module
import pytest
from profile_transfer import (
    Agreement,
    TransferConfig,
    TransferRow,
    summarise_transfer,
    transfer,
    wider_box,
    write_transfer,
)

from napari_spa.core.measures import dice, pick_nearest
from napari_spa.datasets import open_folder
from napari_spa.errors import DataError, InputError, SpaError
from napari_spa.evaluate.measures import EvaluateConfig, choose_names, seeded
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine import preference as learning
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.session.session import RefinementSession

from .conftest import disc

PROTOCOL = EvaluateConfig(split=None, rounds=3, engine=EngineConfig(samples=8))
CONFIG = TransferConfig(images=(1, 2), orders=1, protocol=PROTOCOL)


@pytest.fixture
def five(tmp_path: Path):
    """Five images; ``late`` marked nothing on three of them."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    for number in range(5):
        image = rng.integers(0, 60, (40, 56)).astype(np.uint8)
        for rater, radius in [("tight", 6), ("loose", 9), ("late", 7)]:
            mask = disc(18 + number, 20 + 3 * number, radius)
            if rater == "late" and number < 3:
                mask[:] = False
            image[mask] += 50
            path = folder / "raters" / rater / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            iio.imwrite(path, mask.astype(np.uint8) * 255)
        path = folder / "images" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        iio.imwrite(path, image)
    return open_folder(folder)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def test_profiles_are_tested_on_images_that_taught_none(model, five, work: Path) -> None:
    config = replace(CONFIG, images=(1,))
    tested = list(transfer(model, five, config, work=work))
    assert tested
    taught = {p.parent.name: PreferenceProfile.load(p) for p in work.glob("order-1/*/after-1.json")}
    assert {name: profile.images for name, profile in taught.items()} == dict.fromkeys(
        ("tight", "loose", "late"), 1
    )
    assert len(tested) <= 4
    for one in tested:
        users = {row.user for row in one.rows}
        keys = {(row.teacher, row.images, row.user) for row in one.rows}
        assert keys == {
            (teacher, images, user)
            for teacher, images in [("", 0), ("tight", 1), ("loose", 1), ("late", 1)]
            for user in users
        }
        assert len(one.rows) == len(keys)
        assert len(one.agreements) == len(users) * (len(users) - 1) // 2


def test_a_rater_works_as_a_person_does_with_one_session(model, five, work: Path) -> None:
    list(transfer(model, five, CONFIG, work=work))
    kept = PreferenceProfile.load(work / "order-1" / "loose" / "after-2.json")
    assert kept.images == 2

    order = module.seeded(PROTOCOL, "order", 1).permutation(5)
    session = RefinementSession(model, config=PROTOCOL.engine)
    for index in order[:2]:
        case = five.read(str(index))
        marked = case.masks[case.masks.any(axis=(1, 2))]
        rng = module.seeded(PROTOCOL, case.name, 0)
        point = module.place_click(module.agreed_area(marked), "uniform", rng)
        session.set_image(case.image)
        proposal = session.start([point])
        wanted = case.masks[case.raters.index("loose")]
        for _ in range(2):
            offered = [candidate.mask for candidate in proposal.candidates]
            nearest = pick_nearest(offered, wanted)
            if dice(offered[nearest], wanted) <= dice(proposal.mask, wanted):
                break  # what is right is accepted
            proposal = session.pick(nearest)
        session.accept()
    assert session.profile is not None
    # The name of a remembered object has the time in it.
    mine, its = (
        re.sub(r'"object": "[0-9a-f]+"', "", profile.to_json())
        for profile in (session.profile, kept)
    )
    assert mine == its


def test_a_rater_may_click_until_they_are_content(model, five, work: Path, monkeypatch) -> None:
    """They click into the largest error, as deep as they can, and pick nothing."""
    labels: list[int] = []
    click = RefinementSession.click

    def spy(session, point, label):
        labels.append(label)
        return click(session, point, label)

    monkeypatch.setattr(RefinementSession, "click", spy)
    monkeypatch.setattr(RefinementSession, "pick", None)
    config = replace(CONFIG, images=(1,), clicks_until=0.99)
    list(transfer(model, five, config, work=work / "strict"))
    assert 0 < len(labels) <= 3 * 2
    plan = json.loads((work / "strict" / "plan.json").read_text())
    assert plan["user"] == "clicks to 0.99"
    labels.clear()
    list(transfer(model, five, replace(config, clicks_until=0.0), work=work / "content"))
    assert not labels  # whatever was shown first was good enough
    kept = PreferenceProfile.load(work / "content" / "order-1" / "loose" / "after-1.json")
    assert (kept.evidence, len(kept.sizes)) == (0, 1)


def test_it_goes_on_where_it_was_stopped(model, five, work: Path, monkeypatch) -> None:
    config = replace(CONFIG, images=(1,), orders=2)
    whole = list(transfer(model, five, config))
    running = transfer(model, five, config, work=work)
    assert next(running) == whole[0]
    running.close()
    once = replace(config, orders=1)
    assert list(transfer(model, five, once, work=work)) == [t for t in whole if t.rows[0].order < 2]
    assert list(transfer(model, five, config, work=work)) == whole

    def refuse(*_: object) -> None:
        raise AssertionError("it is done already")

    monkeypatch.setattr(module.RefinementSession, "start", refuse)
    assert list(transfer(model, five, config, work=work)) == whole
    with pytest.raises(InputError, match="other settings"):
        transfer(model, five, replace(config, box=True), work=work)
    monkeypatch.setattr(learning, "REACH", 2.0)
    with pytest.raises(InputError, match="other settings"):
        transfer(model, five, config, work=work)


def test_an_image_that_cannot_be_read_may_be_the_first(model, five) -> None:
    first = choose_names(five, PROTOCOL)[seeded(PROTOCOL, "order", 1).permutation(5)[0]]
    five.paths[first].write_bytes(b"broken")
    config = replace(CONFIG, images=(1,))
    tested = list(transfer(model, five, config, failed=lambda *_: None))
    assert {row.teacher for one in tested for row in one.rows} >= {"", "tight", "loose"}


def test_what_cannot_be_read_is_left_out(model, five) -> None:
    five.paths["4"].write_bytes(b"broken")
    config = replace(CONFIG, images=(1,), orders=2)
    with pytest.raises(SpaError):
        list(transfer(model, five, config))
    failed = []
    tested = list(transfer(model, five, config, failed=lambda name, _: failed.append(name)))
    assert failed == ["4"]
    assert {row.image for one in tested for row in one.rows} <= {"0", "1", "2", "3"}


def test_impossible_experiments_are_refused(model, five) -> None:
    with pytest.raises(DataError, match="too few"):
        transfer(model, five, replace(CONFIG, images=(1, 5)))
    with pytest.raises(InputError, match="1 image or more"):
        transfer(model, five, replace(CONFIG, images=(0,)))
    with pytest.raises(InputError, match="orders must be 1 or more"):
        transfer(model, five, replace(CONFIG, orders=0))


def test_a_box_is_a_tenth_wider_and_stays_inside() -> None:
    mask = np.zeros((50, 50), dtype=bool)
    mask[10:30, 25:45] = True
    assert wider_box(mask) == (8, 23, 31, 46)
    mask[:, :] = True
    assert wider_box(mask) == (0, 0, 49, 49)


def rows_of(images: list[str]) -> tuple[list[TransferRow], list[Agreement]]:
    """Own 0.1 above none, b's for a 0.05 below, c's for a far above; c agrees with a."""
    rows, agreements = [], []
    for number, image in enumerate(images):
        none = 0.5 + 0.02 * number
        rows.append(TransferRow(image, 0, 1, 0, "", "a", none))
        rows.append(TransferRow(image, 0, 1, 5, "a", "a", none + 0.1))
        rows.append(TransferRow(image, 0, 1, 5, "b", "a", none - 0.05))
        rows.append(TransferRow(image, 0, 1, 5, "c", "a", 1.0))
        agreements += [Agreement(image, 0, "a", "b", 0.8), Agreement(image, 0, "a", "c", 0.95)]
    return rows, agreements


def test_effects_are_paired_and_leave_out_raters_who_agree(tmp_path: Path) -> None:
    rows, agreements = rows_of(["x", "y", "z"])
    effects = {(e.what, e.user): e.value for e in summarise_transfer(rows, agreements)}
    for user in ("", "a"):
        assert effects["none", user].mean == pytest.approx(0.52)
        assert effects["own - none", user].mean == pytest.approx(0.1)
        assert effects["own - none", user].low == pytest.approx(0.1)
        assert effects["other - none", user].mean == pytest.approx(-0.05)
        assert effects["own - other", user].high == pytest.approx(0.15)
        assert effects["own", user].images == 3
    write_transfer(rows, agreements, tmp_path, facts={"data": "made up"})
    text = (tmp_path / "transfer.md").read_text()
    assert "| 5 | 0.520 (" in text
    assert "+10.00 (+10.00, +10.00) | -5.00 (-5.00, -5.00) | +15.00" in text
    assert "mean Dice between two raters: 0.875" in text


def test_tested_images_come_back_from_disk_as_they_were(model, five, work: Path) -> None:
    tested = next(transfer(model, five, replace(CONFIG, images=(1,)), work=work))
    (path,) = work.glob("order-1/*.tested.json")
    content = json.loads(path.read_text())
    assert [TransferRow(**row) for row in content["rows"]] == list(tested.rows)
    case = five.read(tested.rows[0].image)
    pair = tested.agreements[0]
    first, second = (case.masks[case.raters.index(r)] for r in (pair.first, pair.second))
    assert pair.dice == dice(first, second)


def test_it_runs_as_a_script(five, model, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("napari_spa.io.models.load.load_model", lambda *_, **__: model)
    options = ["--split", "all", "--images", "1", "--orders", "1", "--limit", "1", "--rounds", "2"]
    call = ["x", str(tmp_path / "data"), "-o", str(tmp_path / "r")]
    monkeypatch.setattr("sys.argv", [*call, *options])
    assert module.main() == 0
    assert (tmp_path / "r" / "transfer.md").read_text() in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", call)
    assert module.main() == 2
    assert "too few" in capsys.readouterr().err
