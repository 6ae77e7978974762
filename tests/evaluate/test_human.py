"""Tests of a study with people: logs as the docks write them, in; rows and a table out."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from napari_spa.cli import main
from napari_spa.core.plane import Plane
from napari_spa.core.types import Click, LocalMask, MixtureParameters, Prompts
from napari_spa.datasets import open_folder
from napari_spa.errors import DataError
from napari_spa.evaluate.human import human_rows, human_table, read_outlines
from napari_spa.io.event_log import RecordLog
from napari_spa.io.models.registry import ModelIdentity
from napari_spa.refine.annotation.objects import Part
from napari_spa.refine.engine.view import FieldOfView
from napari_spa.refine.log.journal import ImageFacts, Journal
from napari_spa.refine.session.acts import Decision
from napari_spa.refine.session.state import SessionState, Timeline

from .conftest import disc

SHAPE = (40, 56)
PLANE = Plane((0, 1), (0, 0))
MIXTURE = MixtureParameters(np.ones(1), np.zeros((1, 2)), np.ones((1, 2)))
VIEW = FieldOfView(0, 0, 40, 56)
MODEL = ModelIdentity("tiny", "0" * 64, "both", "mixture", 4)


def decide(act: str, number: int, time: float) -> Decision:
    pick = 1 if act == "pick" else None
    prompts = Prompts((Click(5.0, 5.0),))
    return Decision(act, number, 7, pick, prompts, ((3, 4, 0.5),), MIXTURE, VIEW, (0, 1), time)


class Person:
    """Annotates through the journal, as a dock does."""

    def __init__(self, path: Path, image: str = "") -> None:
        self.log = RecordLog(path)
        self.now = 0.0
        self.journal = Journal(self.log, clock=lambda: self.now)
        image = image or path.name.removesuffix(".spa.jsonl")
        self.journal.begin(ImageFacts(image, SHAPE, "uint8"), MODEL)

    def show(self, *decisions: Decision) -> None:
        state = SessionState(VIEW, decisions[-1].prompts, MIXTURE, MIXTURE, decisions)
        self.journal.shown(1, PLANE, Timeline(state), {"image": "x", "look": {}})

    def accept(self, mask: np.ndarray, decisions: tuple[Decision, ...], time: float) -> None:
        self.now = time
        local = LocalMask.crop(mask)
        part = Part(PLANE, "edited", len(decisions), 0.1, decisions, local.region, int(mask.sum()))
        self.journal.accept(1, part, local, "protect")

    def begin(self, mask: np.ndarray) -> None:
        first = decide("start", 1, 100.0)
        self.show(first)
        self.accept(mask, (first,), 101.0)


@pytest.fixture
def logs(folder: Path, tmp_path: Path) -> Path:
    """Ann picks and clicks on b.png, taking one round back; then reads a.png blind."""
    ann = tmp_path / "ann"
    person = Person(ann / "b.png.spa.jsonl")
    first, second, third = (
        decide("start", 1, 100.0),
        decide("pick", 2, 104.0),
        decide("click", 2, 110.0),
    )
    person.show(first)
    person.show(first, second)
    person.show(first)  # taken back
    person.show(first, third)
    person.accept(disc(18, 14, 6) | disc(20, 44, 6), (first, third), 111.5)
    person.log.close()
    person = Person(ann / "a.png.spa.jsonl")
    first = decide("start", 1, 200.0)
    person.show(first)
    person.journal.blind(1, 1, (2, 0, 1))
    person.accept(disc(14, 14, 5), (first,), 203.0)
    person.log.close()
    return ann


def test_each_round_is_a_row_with_what_was_done_and_how_long_it_took(logs, folder) -> None:
    rows = human_rows(read_outlines([logs]), open_folder(folder))
    b = [row for row in rows if row.image == "b.png"]
    assert [(r.round, r.act, r.seconds) for r in b] == [
        (1, "pick", 4.0),
        (2, "click", 6.0),
        (3, "accept", 1.5),
    ]
    assert {(r.user, r.method, r.clicks, r.target) for r in b} == {
        ("ann", "tiny", "human", "majority")
    }
    assert [math.isnan(r.dice) for r in b] == [True, True, False]
    assert b[-1].dice == 1, "with what two of three raters marked"
    (a,) = [row for row in rows if row.image == "a.png"]
    assert (a.method, a.act, a.seconds) == ("tiny blind", "accept", 3.0)


def test_the_table_sums_up_a_person(logs, folder) -> None:
    table = human_table(human_rows(read_outlines([logs]), open_folder(folder)))
    lines = {(row[0], row[1]): row[2:] for row in table.rows}
    assert set(lines) == {("ann", "tiny"), ("ann", "tiny blind")}
    assert lines["ann", "tiny"][:5] == ("1", "11.50", "3.00", "1.00", "1.00")
    assert lines["ann", "tiny blind"][:5] == ("1", "3.00", "1.00", "0.00", "0.00")


def test_one_command_writes_the_report_of_a_study(logs, folder, tmp_path: Path, capsys) -> None:
    report = tmp_path / "study"
    assert main(["evaluate", str(folder), "--from-log", str(logs), "-o", str(report)]) == 0
    shown = capsys.readouterr().out
    assert "| ann | tiny | 1 | 11.50 | 3.00 | 1.00 | 1.00 | 1.000 |" in shown
    with (report / "rows.csv").open(newline="") as stream:
        acts = [(row["user"], row["image"], row["act"]) for row in csv.DictReader(stream)]
    assert ("ann", "b.png", "pick") in acts
    assert len(acts) == 4
    assert "People: time and rounds" in (report / "index.html").read_text()


def test_without_data_there_is_no_dice(logs) -> None:
    rows = human_rows(read_outlines(sorted(logs.iterdir())))
    assert all(math.isnan(row.dice) for row in rows)
    assert {row.target for row in rows} == {"accepted"}
    assert {row.user for row in rows} == {"ann"}


@pytest.mark.parametrize("given", ["logs", "files", "here"])
def test_people_whose_folders_have_the_same_name_are_told_apart(
    tmp_path: Path, monkeypatch, given: str
) -> None:
    for name in ("ann/logs", "ben/logs", "cleo"):
        person = Person(tmp_path / name / "a.png.spa.jsonl")
        person.begin(disc(14, 14, 5))
        person.log.close()
    monkeypatch.chdir(tmp_path / "ann" / "logs")
    paths = [Path(), tmp_path / "ann" / "logs", tmp_path / "ben" / "logs", tmp_path / "cleo"]
    if given == "files":
        paths = [path / "a.png.spa.jsonl" for path in paths]
    people = [outline.participant for outline in read_outlines(paths[given == "logs" :])]
    assert people == ["ann/logs", "ben/logs", "cleo"]
    assert read_outlines([Path()])[0].participant == "logs"


def test_images_of_one_name_in_two_folders_are_two(folder, tmp_path: Path) -> None:
    names = ("one/b.png", "two/b.png", "a.b", "b.ome.tif")
    for number, name in enumerate(names):
        person = Person(tmp_path / "ann" / f"{number}.spa.jsonl", name)
        person.begin(disc(18, 14, 6) | disc(20, 44, 6))
        person.log.close()
    (folder / "images" / "b.png").rename(folder / "images" / "b.ome.png")
    for rater in (folder / "raters").iterdir():
        (rater / "b.png").rename(rater / "b.ome.png")
    rows = human_rows(read_outlines([tmp_path / "ann"]), open_folder(folder))
    assert [row.image for row in rows] == list(names)
    assert [math.isnan(row.dice) for row in rows] == [True, True, False, False], "a.b is a's"
    assert human_table(rows).rows[0][2] == "4"


def test_an_object_accepted_again_is_one_with_all_its_rounds(folder, tmp_path: Path) -> None:
    person = Person(tmp_path / "ann" / "b.png.spa.jsonl")
    person.begin(disc(5, 5, 3))
    first, second = decide("start", 1, 100.0), decide("click", 2, 200.0)
    person.journal.reopen(1, PLANE, (first,))
    person.show(first, second)
    person.accept(disc(18, 14, 6) | disc(20, 44, 6), (first, second), 203.0)
    person.log.close()
    rows = human_rows(read_outlines([tmp_path / "ann"]), open_folder(folder))
    said = [(row.round, row.act, row.seconds) for row in rows]
    assert said == [(1, "accept", 1.0), (2, "click", 0.0), (3, "accept", 3.0)]
    (line,) = human_table(rows).rows
    assert (line[2], line[6], line[7]) == ("1", "1.00", "1.000"), "one object, one click, Dice 1"


def test_what_cannot_be_read_is_one_sentence(logs, tmp_path: Path) -> None:
    (tmp_path / "nobody").mkdir()
    with pytest.raises(DataError, match="holds no decision log"):
        read_outlines([tmp_path / "nobody"])
    path = logs / "b.png.spa.jsonl"
    path.write_text(path.read_text().replace('"act": "pick"', '"acted": "pick"'))
    with pytest.raises(DataError, match="is damaged"):
        read_outlines([path])
