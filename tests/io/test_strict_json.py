"""JSON of any shape gives values that can be written again, or a few words."""

import json
import os

import pytest

from napari_spa.errors import DataError
from napari_spa.io.files import JsonError, parse_json, read_json, read_small


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        "{'a': 1}",
        "nul",
        '"\x00"',
        "\ud800",
        b"\xff\xfe",
        "[" * 100_000,
        '{"a":' * 500,
    ],
)
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(JsonError):
        parse_json(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 400, "9" * 9999])
def test_numbers_that_are_none_are_refused_or_null(number: str) -> None:
    with pytest.raises(JsonError, match="finite"):
        parse_json(f'{{"a": [{number}]}}')
    assert parse_json(f'{{"a": [{number}]}}', unknown_as_null=True) == {"a": [None]}


def test_depth_is_bounded_and_what_is_allowed_can_be_written() -> None:
    deepest = "[" * 64 + "]" * 64
    assert json.dumps(parse_json(deepest)) == deepest
    with pytest.raises(JsonError, match="deeply"):
        parse_json(f"[{deepest}]")


def test_numbers_and_names_come_back() -> None:
    content = {"seed": 2**64 - 1, "x": [0.1, -1e300, 1e-320], "ü": None, "t": True}
    assert parse_json(json.dumps(content)) == content
    raw = '{"caf\udce9.png": 1}'.encode("utf-8", "surrogateescape")
    assert parse_json(raw) == {"caf\udce9.png": 1}


def test_a_file_has_a_largest_size(tmp_path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
    with pytest.raises(DataError, match="larger than"):
        read_small(path, largest=4)


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes have names on POSIX only")
def test_devices_pipes_and_folders_are_no_files(tmp_path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in ("/dev/zero", pipe, tmp_path):
        with pytest.raises(DataError):
            read_small(path)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_a_name_that_cannot_be_is_one_sentence(tmp_path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        read_small(tmp_path / name)
    assert len(str(caught.value)) <= 1010
