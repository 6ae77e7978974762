"""DICOM as the standard has it: facts in functional groups, copies, gaps, no preamble."""

import numpy as np
import pytest

from napari_spa.errors import ImageWarning, InputError
from napari_spa.io.images import list_images, open_image

pydicom = pytest.importorskip("pydicom")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid  # noqa: E402

PLANES = np.random.default_rng(3).integers(0, 4000, (5, 20, 30)).astype(np.uint16)
SERIES = generate_uid()


def dataset(plane, **facts):
    data, meta = Dataset(), FileMetaDataset()
    meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta, data.SeriesInstanceUID, data.Modality = meta, SERIES, "CT"
    data.Rows, data.Columns = plane.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = plane.tobytes()
    for name, value in facts.items():
        setattr(data, name, value)
    return data


def write(folder, places, **facts):
    """Write a series whose slices lie at these places, in this order of files."""
    folder.mkdir(exist_ok=True)
    for number, place in enumerate(places):
        data = dataset(
            PLANES[int(place) % 5],
            ImagePositionPatient=[0, 0, 2 * place],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[0.5, 0.25],
            **facts,
        )
        data.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def group(**facts):
    outer, inner = Dataset(), Dataset()
    sequence = facts.pop("sequence")
    for name, value in facts.items():
        setattr(inner, name, value)
    setattr(outer, sequence, [inner])
    return outer


def enhanced(path, places, times=None):
    shared = Dataset()
    for part in (
        group(sequence="PixelMeasuresSequence", PixelSpacing=[0.5, 0.25], SliceThickness=9),
        group(sequence="PixelValueTransformationSequence", RescaleSlope=1, RescaleIntercept=-1024),
        group(sequence="PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    ):
        shared.update(part)
    frames = []
    for number, place in enumerate(places):
        frame = group(sequence="PlanePositionSequence", ImagePositionPatient=[0, 0, 2 * place])
        if times is not None:
            frame.update(
                group(sequence="TemporalPositionSequence", TemporalPositionIndex=times[number])
            )
        frames.append(frame)
    data = dataset(PLANES[list(places)], NumberOfFrames=len(places))
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = frames
    data.save_as(path, enforce_file_format=True)


def test_an_enhanced_file_is_what_its_functional_groups_say(tmp_path):
    enhanced(tmp_path / "a.dcm", (4, 2, 3, 1, 0))
    image = open_image(tmp_path / "a.dcm")
    assert image.info.axes == "ZYX"
    assert image.info.pixel_size == pytest.approx((500, 250))
    assert image.info.plane_distance == pytest.approx(2000)
    np.testing.assert_array_equal(image.levels[0], PLANES.astype(int) - 1024)


def test_frames_at_one_place_are_times_by_their_index(tmp_path):
    enhanced(tmp_path / "a.dcm", (1, 0, 1, 0), times=(2, 2, 1, 1))
    image = open_image(tmp_path / "a.dcm")
    assert image.info.axes == "TZYX"
    assert image.shape == (2, 2, 20, 30)


def test_copies_of_a_slice_are_one(tmp_path):
    folder = write(tmp_path / "scan", (0, 1, 2))
    for path in sorted(folder.iterdir()):
        (folder / f"copy of {path.name}").write_bytes(path.read_bytes())
    image = open_image(folder)
    assert image.info.axes == "ZYX"
    np.testing.assert_array_equal(image.levels[0], PLANES[:3])


def test_a_gap_is_told(tmp_path):
    with pytest.warns(ImageWarning, match="scan lacks about 2 of its slices"):
        image = open_image(write(tmp_path / "scan", (0, 1, 2, 5, 6)))
    assert image.info.plane_distance == pytest.approx(2000)
    assert image.shape[0] == 5


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, lambda stored: 4095 - stored),
        ({"BitsStored": 16}, lambda stored: 65535 - stored),
        ({"PixelRepresentation": 1, "BitsStored": 16}, lambda stored: -1 - stored),
        ({"RescaleSlope": 2, "RescaleIntercept": 10}, lambda stored: (4095 - stored) * 2 + 10),
    ],
)
def test_black_is_the_least_value_always(tmp_path, facts, expected):
    data = dataset(PLANES[0], PhotometricInterpretation="MONOCHROME1", **facts)
    data.HighBit = data.BitsStored - 1
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    levels = open_image(tmp_path / "a.dcm").levels
    np.testing.assert_array_equal(levels[0], expected(PLANES[0].astype(int)))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("name", ["a.dcm", "1.2.840", "IM0001"])
def test_without_a_preamble(tmp_path, syntax, name):
    data = dataset(PLANES[0])
    del data.file_meta
    pydicom.dcmwrite(
        tmp_path / name,
        data,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=True,
        enforce_file_format=False,
    )
    assert (tmp_path / name).read_bytes()[:2] == b"\x08\x00"
    assert [entry.name for entry in list_images(tmp_path)] == [name]
    np.testing.assert_array_equal(open_image(tmp_path / name).levels[0], PLANES[0])


def test_a_damaged_file_costs_itself_in_a_folder(tmp_path):
    folder = write(tmp_path / "scan", (0, 1, 2))
    content = (folder / "1.dcm").read_bytes()
    (folder / "bad.dcm").write_bytes(content[:200] + b"\xff\x13" + content[203:])
    (folder / "text.dcm").write_bytes(b"this is text")
    entries = list_images(folder)
    assert entries[0].name == "0.dcm"
    np.testing.assert_array_equal(open_image(entries[0].path).levels[0], PLANES[:3])
    with pytest.raises(InputError, match=r"text\.dcm cannot be read as an image"):
        open_image(folder / "text.dcm")


def test_jpeg_lossless_opens_or_names_what_brings_it(tmp_path, monkeypatch):
    """Most compressed CT; what the sentence names is in the extra (see test_formats)."""
    data = dataset(PLANES[0])
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    data["PixelData"].is_undefined_length = True
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    from pydicom.pixels.decoders import JPEGLosslessSV1Decoder

    monkeypatch.setattr(JPEGLosslessSV1Decoder, "_available", {})
    with pytest.raises(InputError, match=r"install pylibjpeg: pip install 'napari-spa\[formats\]'"):
        open_image(tmp_path / "a.dcm")
