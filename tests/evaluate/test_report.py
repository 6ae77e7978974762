"""Unit tests of the report: made-up rows in, files out."""

from __future__ import annotations

import csv
from pathlib import Path

import imageio.v3 as iio
import pytest

from napari_spa.errors import DataError
from napari_spa.evaluate.report import to_markdown, write_report
from napari_spa.evaluate.statistics import differences, summarise

from .test_statistics import row, rows


def test_files_hold_what_was_measured(tmp_path: Path) -> None:
    summaries, found = write_report(rows(), tmp_path / "report", facts={"model": "tiny"})
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"rows.csv", "summary.csv", "differences.csv", "report.md", "dice.png"}
    with (tmp_path / "report" / "rows.csv").open(newline="") as stream:
        read = list(csv.DictReader(stream))
    assert len(read) == len(rows())
    assert float(read[0]["dice"]) == pytest.approx(rows()[0].dice)
    assert read[0]["pairwise_dice"] == "", "no value is an empty cell, not nan"
    with (tmp_path / "report" / "summary.csv").open(newline="") as stream:
        read = list(csv.DictReader(stream))
    assert len(read) == len(summaries)
    assert float(read[0]["low"]) == pytest.approx(summaries[0].value.low, abs=1e-6)
    with (tmp_path / "report" / "differences.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == len(found)


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_report(rows(), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_markdown_has_means_intervals_and_points() -> None:
    text = to_markdown(summarise(rows()), differences(rows()), {"data": "made up"})
    assert "* data: made up" in text
    line = next(line for line in text.splitlines() if line.startswith("| spa | both | 0.645 ("))
    assert line.count("(") == 3
    assert "| spa - frozen | both | +0.00 (+0.00, +0.00) | +2.00 (+2.00, +2.00) |" in text


def test_the_plot_shows_a_line_for_each_method_and_head(tmp_path: Path) -> None:
    one = [r for r in rows() if r.method == "spa"]
    write_report(one, tmp_path / "one")
    two = [*rows(), *(row(r.image, r.user, "spa", r.round, 0.9, "logit") for r in one)]
    write_report(two, tmp_path / "two")
    first, second = (iio.imread(tmp_path / name / "dice.png") for name in ("one", "two"))
    assert first.shape[0] > 400
    coloured = [(pixels[..., :3].std(axis=-1) > 30).sum() for pixels in (first, second)]
    assert coloured[1] > 1.5 * coloured[0] > 0


def test_an_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_report(rows(), tmp_path / "file")
