"""Tests of tables of prompts: as people and their programs write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_spa.batch.plan import read_prompts
from napari_spa.batch.task import ObjectPrompt
from napari_spa.errors import InputError


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "prompts.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_lines_of_one_object_are_its_points(tmp_path):
    path = table(
        tmp_path,
        "image,object,row,col,label\n"
        "b.tif,2,10,20.5,1\n"
        "a.png,1,1,2,\n"
        "b.tif,1,5,6,1\n"
        "b.tif,2,11,21,0\n",
    )
    assert read_prompts(path) == {
        "b.tif": (
            ObjectPrompt(1, ((5.0, 6.0),), (1,)),
            ObjectPrompt(2, ((10.0, 20.5), (11.0, 21.0)), (1, 0)),
        ),
        "a.png": (ObjectPrompt(1, ((1.0, 2.0),), (1,)),),
    }
    assert list(read_prompts(path)) == ["b.tif", "a.png"]


def test_label_and_slice_need_not_be_there(tmp_path):
    found = read_prompts(table(tmp_path, "image,object,row,col\na.tif,1,3,4\n"))
    assert found == {"a.tif": (ObjectPrompt(1, ((3.0, 4.0),), (1,)),)}


def test_slices_of_an_object_are_apart(tmp_path):
    path = table(
        tmp_path,
        'image,object,slice,row,col\na.tif,1,"0,5",3,4\na.tif,1,"0, 4",3,4\na.tif,1,"0,5",7,8\n',
    )
    four, five = read_prompts(path)["a.tif"]
    assert four.index == (0, 4)
    assert five.index == (0, 5)
    assert five.points == ((3.0, 4.0), (7.0, 8.0))


@pytest.mark.parametrize("line", ["5", "5.0", " 5 "])
def test_a_slice_as_programs_write_it(tmp_path, line):
    found = read_prompts(table(tmp_path, f"image,object,row,col,slice\na.tif,1,3,4,{line}\n"))
    assert found["a.tif"][0].index == (5,)


def test_excel_in_german(tmp_path):
    path = table(
        tmp_path,
        "Image;Object;Row;Col;Label;Slice\r\nZellen é.tif;1;12,5;7;1;0,5\r\n\r\n;;;;;\r\n",
        "utf-8-sig",
    )
    assert read_prompts(path) == {"Zellen é.tif": (ObjectPrompt(1, ((12.5, 7.0),), (1,), (0, 5)),)}


def test_tabs_and_more_columns(tmp_path):
    path = table(tmp_path, "note\timage\tobject\trow\tcol\nhm, well\ta.tif\t1\t3.5\t4e1\n")
    assert read_prompts(path)["a.tif"][0].points == ((3.5, 40.0),)


@pytest.mark.parametrize("name", ["sub/a.tif", "sub\\a.tif", "./sub/a.tif", '"sub/a.tif"'])
def test_images_in_folders(tmp_path, name):
    assert list(read_prompts(table(tmp_path, f"image,object,row,col\n{name},1,3,4\n"))) == [
        "sub/a.tif"
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("a.tif,1,x,4", "line 3: row is 'x'; write a number"),
        ("a.tif,1,3,", "line 3: col is empty; write a number"),
        ("a.tif,1,3", "line 3: col is empty"),
        ('a.tif,1,"3,5",4', "line 3: row is '3,5'"),
        ("a.tif,1,nan,4", "line 3: row is 'nan'"),
        ("a.tif,1,1e999,4", "line 3: row is '1e999'"),
        ("a.tif,0,3,4", "line 3: object is '0'; write a whole number from 1 to 4,294,967,295"),
        ("a.tif,4294967296,3,4", "line 3: object is '4294967296'"),
        ("a.tif,cell,3,4", "line 3: object is 'cell'"),
        ("a.tif,1.5,3,4", "line 3: object is '1.5'"),
        (",1,3,4", "line 3: image is empty; write the file name"),
        ("a.tif,1,3,4,2", "line 3: label is '2'; write 1 (object) or 0 (background)"),
        ("a.tif,1,3,4,1,-1", "line 3: slice is '-1'; write a whole number from 0"),
        ("a.tif,1,3,4,1,z", "line 3: slice is 'z'"),
        ('a.tif,1,3,4,1,"1,"', "line 3: slice is '1,'"),
    ],
)
def test_what_is_wrong_with_a_line(tmp_path, line, sentence):
    path = table(tmp_path, f"image,object,row,col,label,slice\nb.tif,1,1,1,1,\n{line}\n")
    with pytest.raises(InputError) as raised:
        read_prompts(path)
    assert sentence in str(raised.value)


def test_decimal_marks_must_not_be_mixed(tmp_path):
    path = table(tmp_path, "image;object;row;col\na.tif;1;3,5;4\na.tif;2;3.5;4\n")
    with pytest.raises(InputError, match=r"line 3: row is '3.5'; write all numbers with the same"):
        read_prompts(path)


def test_thousands_are_not_guessed(tmp_path):
    path = table(tmp_path, "image;object;row;col\na.tif;1;1.234,5;4\n")
    with pytest.raises(InputError, match=r"line 2: row is '1\.234,5'"):
        read_prompts(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty; it needs the columns image, object, row, col"),
        ("image,object,row,col\n\n", "asks for nothing"),
        ("image,row,col\na.tif,1,2\n", "has no column object"),
        ("a.tif,1,2,3\n", "its first line must name the columns"),
        ("image,object,row,col,row\na.tif,1,2,3,4\n", "has the column row twice"),
    ],
)
def test_what_is_wrong_with_a_table(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        read_prompts(table(tmp_path, text))


def test_another_encoding(tmp_path):
    path = table(tmp_path, "image,object,row,col\nä.tif,1,2,3\n", "latin-1")
    with pytest.raises(InputError, match="save it as 'CSV UTF-8'"):
        read_prompts(path)


def test_no_table(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_prompts(tmp_path / "none.csv")


@given(st.binary(max_size=120))
def test_anything_is_read_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "prompts.csv"
    path.write_bytes(b"image,object,row,col\n" + content)
    try:
        found = read_prompts(path)
    except InputError:
        return
    assert all(prompt.points for prompts in found.values() for prompt in prompts)
