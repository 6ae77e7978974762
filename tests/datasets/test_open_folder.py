"""Unit tests of napari_spa.datasets: one tiny folder of each layout."""

from __future__ import annotations

import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from napari_spa.datasets import open_folder, refuge2
from napari_spa.errors import DataError, InputError

IMAGE = (np.arange(24 * 32).reshape(24, 32) % 251).astype(np.uint8)


def square(size: int) -> np.ndarray:
    mask = np.zeros(IMAGE.shape, bool)
    mask[8 : 8 + size, 8 : 8 + size] = True
    return mask


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, array.astype(np.uint8) * 255 if array.dtype == bool else array)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write(tmp_path / "images" / f"{name}.png", IMAGE)
        write(tmp_path / "raters" / "tight" / f"{name}.png", square(4))
    write(tmp_path / "raters" / "loose" / "a.tif", square(8))
    (tmp_path / "split.csv").write_text("name,split\na,train\nb,val\n")
    return tmp_path


def test_plain_folder(plain: Path) -> None:
    folder = open_folder(plain)
    assert folder.names() == ["a", "b"]
    assert folder.names("val") == ["b"]
    assert folder.names("test") == []
    case = folder.read("a")
    assert case.raters == ("loose", "tight")
    np.testing.assert_array_equal(case.image, IMAGE)
    np.testing.assert_array_equal(case.masks, [square(8), square(4)])
    assert folder.read("b").raters == ("tight",)


def test_plain_folder_without_a_split_table_gives_all(plain: Path) -> None:
    (plain / "split.csv").unlink()
    assert open_folder(plain).names("val") == ["a", "b"]


def test_alpha_of_a_mask_is_not_the_target(plain: Path) -> None:
    rgba = np.zeros((*IMAGE.shape, 4), np.uint8)
    rgba[..., 3] = 255
    rgba[square(4), 0] = 255
    write(plain / "raters" / "tight" / "b.png", rgba)
    np.testing.assert_array_equal(open_folder(plain).read("b").masks[0], square(4))


def test_broken_plain_folders_are_one_sentence(plain: Path) -> None:
    write(plain / "raters" / "loose" / "a.tif", square(4)[:5])
    with pytest.raises(DataError, match="the mask of loose for a has"):
        open_folder(plain).read("a")
    (plain / "raters" / "tight" / "b.png").unlink()
    with pytest.raises(DataError, match="no rater marked b"):
        open_folder(plain).read("b")
    (plain / "raters" / "tight" / "a.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be read"):
        open_folder(plain).read("a")
    (plain / "split.csv").write_text("file,part\na,train\n")
    with pytest.raises(DataError, match="columns name and split"):
        open_folder(plain)


def test_two_images_of_one_name_are_refused(plain: Path) -> None:
    write(plain / "images" / "a.tif", IMAGE)
    with pytest.raises(DataError, match="same name"):
        open_folder(plain)


def test_refuge2(tmp_path: Path) -> None:
    colour = np.stack([IMAGE] * 3, axis=-1)
    for part, name in [("Training-400", "g0001"), ("Test-400", "T0001")]:
        case = tmp_path / part / name
        write(case / f"{name}_cropped.jpg", colour)
        for rater in range(1, 8):
            write(case / f"{name}_seg_cup_{rater}_cropped.jpg", square(4 + rater))
            write(case / f"{name}_seg_disc_{rater}_cropped.jpg", square(14))
    folder = open_folder(tmp_path)
    assert folder.names() == ["T0001", "g0001"]
    assert folder.names("train") == ["g0001"]
    assert folder.names("val") == ["T0001"], "published without a validation part"
    case = folder.read("g0001")
    assert case.image.shape == (*IMAGE.shape, 3)
    assert case.raters == tuple(f"rater{k}" for k in range(1, 8))
    for rater, mask in enumerate(case.masks, 1):
        wrong = np.count_nonzero(mask ^ square(4 + rater))
        assert wrong <= 8, "JPEG ringing must not add to the mask"
    disc = refuge2(tmp_path, target="disc").read("g0001").masks
    assert disc.shape[0] == 7
    assert abs(int(disc[0].sum()) - 14 * 14) <= 16


@pytest.mark.parametrize("parts", [("",), ("train", "val")])
def test_lidc_crops(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        root = tmp_path / part
        write(root / "images" / "LIDC-0001" / "z-1.0_c0.png", IMAGE)
        for reader in range(4):
            write(root / "gt" / "LIDC-0001" / f"z-1.0_c0_l{reader}.png", square(3 * reader))
    folder = open_folder(tmp_path)
    first = "LIDC-0001/z-1.0_c0"
    if parts == ("",):
        assert folder.names("val") == [first], "no parts on disk: all of them"
    else:
        assert folder.names("train") == [first]
        assert folder.names("val") == [f"val/{first}"]
    case = folder.read(folder.names("val")[0])
    assert case.raters == ("reader1", "reader2", "reader3", "reader4")
    assert case.masks.sum(axis=(1, 2)).tolist() == [0, 9, 36, 81]


def test_qubiq(tmp_path: Path) -> None:
    import nibabel

    def save(path: Path, array: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array.T.astype(np.float32), np.eye(4)), path)

    for part, name in [("Training", "case01"), ("Validation", "case02")]:
        save(tmp_path / part / name / "image.nii.gz", IMAGE)
        for task, size in [("task01", 4), ("task02", 9)]:
            for rater in (1, 2):
                path = tmp_path / part / name / f"{task}_seg0{rater}.nii.gz"
                save(path, square(size + rater))
    folder = open_folder(tmp_path)
    assert folder.names("train") == ["case01_task01", "case01_task02"]
    assert folder.names("val") == ["case02_task01", "case02_task02"]
    case = folder.read("case02_task02")
    np.testing.assert_array_equal(case.image, IMAGE)
    np.testing.assert_array_equal(case.masks, [square(10), square(11)])
    assert case.raters == ("rater01", "rater02")
    save(tmp_path / "Training" / "case01" / "image.nii.gz", np.ones((9, 24, 32)))
    with pytest.raises(DataError, match="2D images"):
        folder.read("case01_task01")


def test_qubiq_without_nibabel_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = tmp_path / "case01"
    case.mkdir()
    (case / "image.nii.gz").write_bytes(b"")
    (case / "task01_seg01.nii.gz").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    folder = open_folder(tmp_path)
    assert folder.names() == ["case01_task01"]
    with pytest.raises(DataError, match="install nibabel"):
        folder.read("case01_task01")


def test_an_unknown_folder_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images/NAME\.ext"):
        open_folder(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        open_folder(tmp_path / "none")
