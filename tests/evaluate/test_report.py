"""Unit tests of the report: made-up rows in, the paper's tables and figures out."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import imageio.v3 as iio
import pytest
from pyarrow import parquet

from napari_spa.errors import DataError
from napari_spa.evaluate import tables as paper
from napari_spa.evaluate.measures import RaterRow, Row
from napari_spa.evaluate.report import to_html, write_report
from napari_spa.evaluate.tables import Results

from .test_measures import row, rows

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
LOOK = """
addEventListener("load", () => {
  const links = [...document.querySelectorAll("nav a")];
  const seen = {
    pictures: [...document.images].map(image => image.naturalWidth),
    headings: links.map(link => document.querySelector(link.hash)?.querySelector("h2").innerText),
    links: links.map(link => link.innerText),
    tables: [...document.querySelectorAll("table")].map(table => table.offsetHeight),
    wide: document.documentElement.scrollWidth - innerWidth,
  };
  document.body.textContent = JSON.stringify(seen);
});
"""

RATERS = ("x", "y", "z")


def rater_rows(**changes) -> list[RaterRow]:
    """Six images, the target fuses x and y: x and y rise by 0.02 a round, z falls by 0.01."""
    found = []
    for image in "abcdef":
        for number in (1, 2, 3):
            for rater in RATERS:
                step = -0.01 if rater == "z" else 0.02
                row = RaterRow(
                    image, image, 0, "x+y", "spa", "picks", "central", number, rater,
                    rater != "z", 0.7 + step * number,
                )  # fmt: skip
                found.append(replace(row, **changes))
    return found


def results(played: list[Row] | None = None, agreement: list[RaterRow] | None = None) -> Results:
    return Results(rows() if played is None else played, agreement or [], {})


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def number(cell: str) -> float:
    return float(cell.split(" ")[0])


def test_files_hold_what_was_measured(tmp_path: Path) -> None:
    report = write_report(results(agreement=rater_rows()), tmp_path, facts={"model": "tiny"})
    assert report.remark is None
    assert {path.name for path in tmp_path.iterdir()} == {
        "rows.csv", "rows.parquet", "raters.csv", "raters.parquet", "summary.csv",
        "differences.csv", "tables", "figures", "report.md", "index.html",
    }  # fmt: skip
    as_csv, as_parquet = read(tmp_path / "rows.csv"), parquet.read_table(tmp_path / "rows.parquet")
    assert len(as_csv) == as_parquet.num_rows == len(rows())
    assert float(as_csv[0]["dice"]) == pytest.approx(rows()[0].dice)
    assert as_parquet["dice"].to_pylist() == [row.dice for row in rows()]
    assert as_csv[0]["similarity"] == "", "no value is an empty cell, not nan"
    assert as_parquet["similarity"].null_count == len(rows())
    summary = read(tmp_path / "summary.csv")
    assert len(summary) == len(report.summaries)
    assert float(summary[0]["low"]) == pytest.approx(report.summaries[0].value.low, abs=1e-6)
    assert len(read(tmp_path / "differences.csv")) == len(report.differences)


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    played = [replace(row, similarity=0.5 + 0.1 * row.round) for row in rows()]
    for name in "ab":
        write_report(results(played, rater_rows()), tmp_path / name, facts={"data": "made up"})
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) > 15
    for path in files:
        same = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == same.read_bytes(), path.name


def test_without_pyarrow_the_csv_is_written_and_it_is_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    report = write_report(results(), tmp_path, facts={})
    assert report.remark is not None
    assert "install pyarrow" in report.remark
    assert (tmp_path / "rows.csv").exists()
    assert not (tmp_path / "rows.parquet").exists()


def test_table_1_has_dice_after_one_and_three_rounds() -> None:
    table = paper.dice_after_rounds(results())
    assert table.header[3:] == ("after 1 round", "after 3 rounds")
    spa = next(r for r in table.rows if r[0] == "spa")
    assert [number(cell) for cell in spa[3:]] == [0.645, 0.685]
    assert all(cell.count("(") == 1 for cell in spa[3:])


def test_differences_are_in_points() -> None:
    table = paper.paired_differences(results())
    line = next(r for r in table.rows if r[0] == "spa - frozen")
    assert line[2:] == ("+0.00 (+0.00, +0.00)", "+2.00 (+2.00, +2.00)", "+4.00 (+4.00, +4.00)")


def test_table_2_parts_raters_by_whether_they_are_in_the_target() -> None:
    agreement = [*rater_rows(), *rater_rows(target="x+y+z", included=True, dice=0.1)]
    table = paper.alignment(results(agreement=agreement))
    lines = {(r[2], r[3]): r for r in table.rows}
    assert set(lines) == {("x", "included"), ("y", "included"), ("z", "excluded")}
    assert [number(cell) for cell in lines["x", "included"][4:]] == [0.72, 0.74, 0.76, 4.0]
    assert [number(cell) for cell in lines["z", "excluded"][4:]] == [0.69, 0.68, 0.67, -2.0]


def test_table_3_has_the_parts_of_the_method() -> None:
    assert paper.ablation(results()) is None
    played = [
        row("a", "x", name, round_, value)
        for name, value in (("spa", 0.9), ("spa-weights", 0.8), ("spa-n24", 0.85), ("unet", 0.5))
        for round_ in (1, 2, 3)
    ]
    table = paper.ablation(results(played))
    assert [(r[0], *r[2:]) for r in table.rows] == [
        ("spa", "x", "x", "x", "", "0.900"),
        ("spa-weights", "x", "", "x", "", "0.800"),
        ("spa-n24", "x", "x", "x", "24", "0.850"),
    ]


def test_table_4_has_each_raters_own_model_on_all_raters() -> None:
    agreement = [
        replace(r, method=f"unet@{own}", target=target, dice=0.9 if own == r.rater else 0.6)
        for r in rater_rows()
        for own in ("x", "y")
        for target in RATERS
    ]
    table = paper.own_models(results(agreement=agreement))
    assert table.header == ("model", "x", "y", "z")
    assert [[number(cell) for cell in r[1:]] for r in table.rows] == [
        [0.9, 0.6, 0.6],
        [0.6, 0.9, 0.6],
    ]


def test_failures_and_rounds_count_never_as_ten() -> None:
    # 0.52, 0.54, 0.56 + 0.05 for each image: 0.70 is reached by d (0.71 in round 3), e (0.72 in
    # round 1) and f (0.77).
    failed = paper.failures(results()).rows[0]
    assert number(failed[3]) == pytest.approx(0.5)
    needed = paper.rounds_to_reach(results()).rows[0]
    assert number(needed[3]) == pytest.approx((10 + 10 + 10 + 3 + 1 + 1) / 6, abs=0.01)
    by_rater = paper.rounds_by_rater(results())
    assert [r[3] for r in by_rater.rows] == ["x", "y"] * 2
    assert number(by_rater.rows[0][4]) == pytest.approx((10 * 4 + 3 + 1) / 6, abs=0.01)


def test_table_7_has_the_gain_of_each_round_and_of_all() -> None:
    table = paper.gains(results())
    assert table.header[3:] == ("1 to 2", "2 to 3", "first to last")
    assert [number(cell) for cell in table.rows[0][3:]] == [2.0, 2.0, 4.0]
    assert paper.gains(results([r for r in rows() if r.round == 1])) is None


def test_a_rater_left_out_is_compared_with_training_on_all() -> None:
    without = [replace(r, method="spa~x", dice=r.dice - 0.05) for r in rows() if r.method == "spa"]
    table = paper.left_out(results([*rows(), *without]))
    (line,) = table.rows
    assert (line[0], line[2]) == ("spa", "x")
    assert [number(cell) for cell in line[3:]] == [0.595, -5.0, 0.635, -5.0]
    assert all("~" not in r[0] for r in paper.dice_after_rounds(results([*rows(), *without])).rows)


def test_costs_are_those_of_trained_methods() -> None:
    facts = {"unet": {"parameters": 1200, "steps": 50, "seconds": 3.5}, "spa": {}}
    table = paper.costs(Results(rows(), [], facts))
    assert [(r[0], r[1], r[3]) for r in table.rows] == [("unet", "1200", "50")]
    assert paper.costs(results()) is None


def test_the_page_is_whole_and_its_pictures_are_there(tmp_path: Path) -> None:
    played = [replace(row, similarity=0.5 + 0.1 * row.round) for row in rows()]
    write_report(results(played, rater_rows()), tmp_path, facts={"data": "<b>made & up</b>"})
    page = (tmp_path / "index.html").read_text()
    open_tags: list[str] = []
    sources: list[str] = []
    anchors: list[str] = []
    places: list[str] = []

    class Check(HTMLParser):
        def handle_starttag(self, tag, attrs):
            values = dict(attrs)
            sources.extend(values[key] for key in ("src",) if key in values)
            anchors.extend(v for k, v in values.items() if k == "href")
            places.extend(v for k, v in values.items() if k == "id")
            if tag not in {"meta", "img"}:
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Check().feed(page)
    assert open_tags == []
    assert "<b>made" not in page
    assert len(sources) == 3
    for source in sources:
        assert iio.imread(tmp_path / source).shape[0] > 400
    for anchor in anchors:
        assert anchor[1:] in places if anchor.startswith("#") else (tmp_path / anchor).exists()
    assert "http" not in re.sub(r'lang="en"', "", page), "nothing is fetched from elsewhere"
    report = (tmp_path / "report.md").read_text()
    for line in report.splitlines():
        if line.startswith("!["):
            assert (tmp_path / line.split("(")[-1][:-1]).exists()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (hosted CI has one)")
def test_a_browser_shows_the_page(tmp_path: Path) -> None:
    """Pictures load, links lead to their tables, and a narrow window scrolls tables only."""
    played = [replace(row, similarity=0.5 + 0.1 * row.round) for row in rows()]
    write_report(results(played, rater_rows()), tmp_path, facts={"data": "<b>made & up</b>"})
    page = tmp_path / "index.html"
    page.write_text(page.read_text().replace("</body>", f"<script>{LOOK}</script></body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,800"]
    command = [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom"]
    shown = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, check=True)
    found = re.search(r"<body>(.*)</body>", shown.stdout, re.DOTALL)
    assert found is not None, shown.stderr
    seen = json.loads(found[1])
    assert len(seen["pictures"]) == 3
    assert min(seen["pictures"]) > 400
    assert seen["links"] == seen["headings"]
    assert len(seen["tables"]) == len(seen["links"]) > 5
    assert min(seen["tables"]) > 40
    assert seen["wide"] <= 0


def test_the_plot_shows_a_line_for_each_method(tmp_path: Path) -> None:
    one = [r for r in rows() if r.method == "spa"]
    write_report(results(one), tmp_path / "one", facts={})
    write_report(
        results([*one, *(replace(r, method="other", dice=0.9) for r in one)]),
        tmp_path / "two",
        facts={},
    )
    first, second = (
        iio.imread(tmp_path / name / "figures" / "dice-central.png") for name in ("one", "two")
    )
    coloured = [(pixels[..., :3].std(axis=-1) > 30).sum() for pixels in (first, second)]
    assert coloured[1] > 1.3 * coloured[0] > 0


def test_an_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_report(results(), tmp_path / "file", facts={})


def test_names_are_escaped() -> None:
    table = paper.Table("t", "<i>", "a & b", ("x",), (("<script>",),))
    assert "<script>" not in to_html([table], [], {})
