"""The list of classes: which files are read, which names are taken, where a class is in use."""

import pytest

from napari_spa.errors import DataError, InputError
from napari_spa.io.projects.classes import (
    ObjectClass,
    ObjectNote,
    count_of_class,
    make_class,
    read_classes,
    write_classes,
    write_notes,
)
from napari_spa.io.projects.paths import log_path, notes_path


def test_a_text_file_has_one_name_a_line(tmp_path):
    path = tmp_path / "names.TXT"
    path.write_bytes("\ufeffcell\r\n\r\n  Ядро, großes \r\n".encode())
    assert [one.name for one in read_classes(path)] == ["cell", "Ядро, großes"]
    write_classes(path, [ObjectClass("vessel", "#cc0000")])
    assert read_classes(path) == (ObjectClass("vessel", "#cc0000"),)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"name,colour\ncell,#ff0000\n"),
        ("a.json", b'[{"name": "cell"}]'),
        ("half.json", b'{"kind": "napari-spa classes",'),
        ("latin.txt", b"gro\xdf\n"),
        ("empty.txt", b"\n"),
    ],
)
def test_another_file_is_refused_and_what_one_is_like_is_said(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"a \.txt file with one name a line, or a file that Export"
    ):
        read_classes(path)


def test_a_name_too_long_or_taken_is_refused_as_it_is():
    assert make_class("x" * 100).name == "x" * 100
    with pytest.raises(InputError, match="at most 100 letters, not 101"):
        make_class("x" * 101)
    with pytest.raises(InputError, match="there is a class Cell already"):
        make_class("cell", among=[make_class("Cell")])


def test_objects_of_a_class_are_counted_on_the_other_images_of_a_project(tmp_path):
    cell, other = ObjectNote(class_name="cell"), ObjectNote(class_name="debris")
    for name, notes in (("a.png", {1: cell}), ("in/b.png", {1: cell, 4: cell, 5: other})):
        write_notes(notes_path(tmp_path, name), notes)
    assert count_of_class(tmp_path, "cell", but=log_path(tmp_path, "a.png")) == {"in/b.png": 2}
    assert count_of_class(tmp_path, "vessel", but=log_path(tmp_path, "a.png")) == {}
