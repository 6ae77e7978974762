"""Unit tests of napari_spa.io.files."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from napari_spa.errors import DataError
from napari_spa.io.files import write_table


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"
    rows = [
        {"object": 1, "name": "cup, “left”", "unit": "µm", "note": 'two\n"lines"'},
        {"object": np.uint16(2), "name": None, "unit": "nm", "note": ""},
    ]
    write_table(path, rows)
    assert read(path) == [
        {"object": "1", "name": "cup, “left”", "unit": "µm", "note": 'two\n"lines"'},
        {"object": "2", "name": "", "unit": "nm", "note": ""},
    ]
    assert path.read_bytes().startswith(b"object,name,unit,note\n1,")


@pytest.mark.parametrize(
    "value", [0.1, 1 / 3, 1e-300, 2.0, -math.pi, math.inf, np.float64(0.1), np.float32(0.1)]
)
def test_a_float_comes_back_exactly(tmp_path: Path, value: float) -> None:
    write_table(tmp_path / "a.csv", [{"x": value}])
    assert float(read(tmp_path / "a.csv")[0]["x"]) == float(value)


def test_columns_are_the_union_in_a_stable_order(tmp_path: Path) -> None:
    rows = [{"b": 1, "a": 2}, {"c": 3, "a": 4}]
    write_table(tmp_path / "a.csv", rows, columns=["z", "a"])
    assert (tmp_path / "a.csv").read_text() == "z,a,b,c\n,2,1,\n,4,,3\n"


def test_no_rows_give_the_header(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", [], columns=["object", "area"])
    assert (tmp_path / "a.csv").read_text() == "object,area\n"


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_table(tmp_path / f"{name}.csv", [{"x": 1 / 7, "y": "µ"}])
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", [{"x": 1}])

    class Unwritable:
        def __str__(self) -> str:
            raise OSError("disk full")

    with pytest.raises(DataError, match="cannot write"):
        write_table(tmp_path / "a.csv", [{"x": 2}, {"x": Unwritable()}])
    assert read(tmp_path / "a.csv") == [{"x": "1"}]
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", "  =", "\uff1d"])
def test_text_that_a_spreadsheet_would_compute_is_text(tmp_path: Path, start: str) -> None:
    name = f'{start}HYPERLINK("http://example.org")'
    write_table(tmp_path / "a.csv", [{"image": name, "x": -1.5, "y": np.int64(-2), "@c": None}])
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as stream:
        header, row = csv.reader(stream)
    assert header == ["image", "x", "y", "'@c"]
    assert row == [f"'{name}", "-1.5", "-2", ""]


@pytest.mark.parametrize("name", ["a=b", "cell-1", "'quoted", "", " ", "1-2"])
def test_other_text_stays(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / "a.csv", [{"image": name, "x": 1}])
    assert read(tmp_path / "a.csv")[0]["image"] == name
