"""Every format through every reader: what is opened, what is said, what is never invented."""

import json
import re
import sys
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_spa.errors import ImageWarning, InputError
from napari_spa.io.images import (
    arrays,
    faults,
    image_parts,
    list_images,
    open_image,
    read_image,
    read_label_stack,
)

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 250, (40, 30)).astype(np.uint8)
DEEP = RNG.integers(0, 4000, (40, 30)).astype(np.uint16)
STACK = RNG.integers(0, 4000, (5, 40, 30)).astype(np.uint16)
COLOURS = RNG.integers(0, 250, (40, 30, 3)).astype(np.uint8)
LABELS = (np.indices((40, 30)).sum(axis=0) // 9).astype(np.uint8)


def pixels(path):
    return np.asarray(open_image(path).levels[0])


# -- several images in one file ------------------------------------------------


def test_images_of_one_shape_are_one_more_axis(tmp_path):
    with tifffile.TiffWriter(tmp_path / "positions.ome.tif", ome=True) as writer:
        for plane in STACK[:3]:
            writer.write(plane, metadata={"axes": "YX"})
    np.testing.assert_array_equal(pixels(tmp_path / "positions.ome.tif"), STACK[:3])


def test_of_images_of_several_shapes_the_largest_is_opened_and_the_others_are_told(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(GREY[::4, ::4], metadata=None)
        writer.write(GREY, metadata=None)
    with pytest.warns(ImageWarning, match="2 images; only the largest"):
        image = open_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.levels[0], GREY)
    assert len(image.notes) == 1


def ome_part(folder, number, count, name="part{}.ome.tif"):
    uids = [f"urn:uuid:1111111{n}-0000-4000-8000-000000000000" for n in range(count)]
    data = "".join(
        f'<TiffData FirstZ="{n}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name.format(n)}">{uids[n]}</UUID></TiffData>'
        for n in range(count)
    )
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="{uids[number]}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        f'DimensionOrder="XYZCT" Type="uint16" SizeX="30" SizeY="40" SizeZ="{count}" SizeC="1" '
        f'SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
    )
    path = folder / name.format(number)
    tifffile.imwrite(
        path, STACK[number], description=xml.encode(), metadata=None, photometric="minisblack"
    )
    return path


def test_the_parts_of_a_multi_file_ome_tiff_are_one_image(tmp_path):
    parts = [ome_part(tmp_path, number, 3) for number in range(3)]
    assert [entry.name for entry in list_images(tmp_path)] == ["part0.ome.tif"]
    np.testing.assert_array_equal(pixels(parts[0]), STACK[:3])
    assert image_parts(parts[0]) == tuple(parts)


def test_a_part_whose_others_are_missing_is_opened_alone_and_says_so(tmp_path):
    parts = [ome_part(tmp_path, number, 3) for number in range(3)]
    parts[1].unlink()
    assert len(list_images(tmp_path)) == 2
    with pytest.warns(ImageWarning, match=r"missing \(part1\.ome\.tif\)"):
        np.testing.assert_array_equal(pixels(parts[2]), STACK[2])


def test_a_part_does_not_lead_out_of_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    ome_part(tmp_path / "in", 0, 2, "../secret{}.ome.tif").rename(tmp_path / "in" / "a.ome.tif")
    assert image_parts(tmp_path / "in" / "a.ome.tif") == (tmp_path / "in" / "a.ome.tif",)


def ngff(group, image=GREY):
    axes = [{"name": a, "type": "space"} for a in "yx"]
    group.create_array("0", data=image)
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]


def test_each_field_of_a_plate_is_an_image(tmp_path):
    zarr = pytest.importorskip("zarr")
    plate = zarr.create_group(str(tmp_path / "plate.zarr"), zarr_format=2)
    plate.attrs["plate"] = {"wells": [{"path": "A/1"}], "version": "0.4"}
    well = plate.create_group("A").create_group("1")
    well.attrs["well"] = {"images": [{"path": "0"}, {"path": "1"}]}
    ngff(well.create_group("0"))
    np.testing.assert_array_equal(pixels(tmp_path / "plate.zarr"), GREY)  # one field is there
    ngff(well.create_group("1"), GREY[::-1])
    with pytest.raises(InputError, match=r"a plate of 2 fields; .* plate\.zarr/A/1/0"):
        open_image(tmp_path / "plate.zarr")
    entries = list_images(tmp_path)
    assert [entry.name for entry in entries] == ["plate.zarr/A/1/0", "plate.zarr/A/1/1"]
    np.testing.assert_array_equal(pixels(entries[1].path), GREY[::-1])


@pytest.mark.parametrize("equal", [True, False])
def test_series_as_bioformats2raw_writes_them(tmp_path, equal):
    zarr = pytest.importorskip("zarr")
    root = zarr.create_group(str(tmp_path / "a.zarr"), zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    ngff(root.create_group("0"), GREY if equal else GREY[::3])
    ngff(root.create_group("1"))
    if equal:
        np.testing.assert_array_equal(pixels(tmp_path / "a.zarr"), [GREY, GREY])
    else:
        with pytest.warns(ImageWarning, match="only the largest"):
            np.testing.assert_array_equal(pixels(tmp_path / "a.zarr"), GREY)


# -- sizes of pixels: optional, never invented ---------------------------------

OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="30" '
    'SizeY="40" SizeZ="5" SizeC="1" SizeT="1" {}><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
    "<TiffData/></Pixels></Image>{}</OME>"
)


@pytest.mark.parametrize(
    ("text", "size", "distance"),
    [
        (OME.format('PhysicalSizeX="0,5" PhysicalSizeY="0,5"', ""), None, None),
        (OME.format('PhysicalSizeX="" PhysicalSizeY="0.5"', ""), None, None),
        (OME.format('PhysicalSizeX="-1" PhysicalSizeY="inf"', ""), None, None),
        (OME.format('PhysicalSizeX="1" PhysicalSizeY="1"', "<X>a & b</X>"), None, None),
        (OME.format('PhysicalSizeX="9" PhysicalSizeXUnit="m" PhysicalSizeY="1"', ""), (1, 9e6), None),  # noqa: E501
        (OME.format('PhysicalSizeX="1" PhysicalSizeY="1" PhysicalSizeZ="2"', ""), (1, 1), 2),
        ("ImageJ=1.54f\nimages=5\nslices=5\nspacing=2,0\nunit=um\n", (0.2, 0.2), None),
        ("ImageJ=1.54f\nimages=5\nslices=5\nspacing=2.0\nunit=\\u00B5m\n", (0.2, 0.2), 2),
        ("ImageJ=1.54f\nimages=5\nslices=5\nspacing=2.0\nunit=micron\n", (0.2, 0.2), 2),
        ("ImageJ=1.54f\nimages=5\nslices=5\nspacing=2.0\nunit=parsec\n", None, None),
    ],
)  # fmt: skip
def test_a_fact_that_is_wrong_costs_itself(tmp_path, text, size, distance):
    tifffile.imwrite(
        tmp_path / "a.tif",
        STACK,
        description=text.encode(),
        metadata=None,
        photometric="minisblack",
        resolution=(5, 5),
        resolutionunit="NONE",
    )
    image = open_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.levels[0], STACK)
    assert image.info.pixel_size == (size and pytest.approx(size))
    assert image.info.plane_distance == (distance and pytest.approx(distance))


@pytest.mark.parametrize("dots", [1, 72, 96, 150, 300, 600])
@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER"])
def test_a_print_resolution_is_no_size_of_a_pixel(tmp_path, dots, unit):
    per_unit = dots if unit == "INCH" else dots / 2.54
    tifffile.imwrite(tmp_path / "a.tif", GREY, resolution=(per_unit, per_unit), resolutionunit=unit)
    assert open_image(tmp_path / "a.tif").info.pixel_size is None


# -- values as they were stored, or as the standard says they are shown --------


def test_colours_of_16_bits_keep_them(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    deep = RNG.integers(0, 4096, (20, 30, 3)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(deep))
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), deep)
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(deep, level=0, reversible=True))
    np.testing.assert_array_equal(pixels(tmp_path / "a.jp2"), deep)
    ppm = b"P6\n# a comment\n30 20\n65535\n" + deep.astype(">u2").tobytes()
    (tmp_path / "a.ppm").write_bytes(ppm)
    np.testing.assert_array_equal(pixels(tmp_path / "a.ppm"), deep)


def test_colours_of_16_bits_are_refused_rather_than_cut(tmp_path, monkeypatch):
    imagecodecs = pytest.importorskip("imagecodecs")
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.zeros((20, 30, 3), np.uint16)))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(InputError, match=r"install imagecodecs: pip install 'napari-spa\[formats"):
        open_image(tmp_path / "a.png")


def test_a_picture_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.rot90(GREY, -1))


def palette(image):
    picture = Image.fromarray(image, "P") if image.dtype == np.uint8 else None
    picture.putpalette([value for n in range(256) for value in (n, 255 - n, n // 2)])
    return picture


def test_a_palette_is_colours_in_an_image_and_numbers_in_labels(tmp_path):
    table = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2], axis=1)
    for name in ("a.png", "a.gif"):
        palette(LABELS).save(tmp_path / name)
    colours = np.ascontiguousarray(table.T * 257, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", LABELS, photometric="palette", colormap=colours)
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(pixels(tmp_path / name), table[LABELS])
    for name in ("a.png", "a.gif", "a.tif"):
        np.testing.assert_array_equal(read_label_stack(tmp_path / name, LABELS.shape), LABELS)


@pytest.mark.parametrize("software", [None, "fax"])
def test_a_mask_of_one_bit_is_read_as_it_was_written(tmp_path, software):
    mask = np.zeros((16, 24), dtype=bool)
    mask[4:9, 5:11] = True
    tifffile.imwrite(tmp_path / "a.tif", mask, software=software)
    np.testing.assert_array_equal(read_label_stack(tmp_path / "a.tif", mask.shape), mask)
    image = pixels(tmp_path / "a.tif").astype(bool)
    np.testing.assert_array_equal(image, mask if software is None else ~mask)


def test_white_is_zero_where_a_tiff_says_so(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY, photometric="miniswhite", metadata=None)
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), 255 - GREY)


def test_grey_and_opacity_is_grey(tmp_path):
    Image.fromarray(np.dstack([GREY, GREY // 2]), "LA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), GREY)


def test_inks_are_colours_and_not_opacity(tmp_path):
    Image.fromarray(COLOURS).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert pixels(tmp_path / "a.jpg").shape == (40, 30, 3)


def test_a_short_last_axis_is_channels_everywhere(tmp_path):
    for count in (1, 2):
        np.save(tmp_path / "a.npy", np.zeros((40, 30, count)))
        image = open_image(tmp_path / "a.npy")
        assert image.info.axes == ("YX" if count == 1 else "CYX")
        assert image.info.shape == (40, 30)


def test_fortran_order(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(STACK))
    np.testing.assert_array_equal(pixels(tmp_path / "a.npy"), STACK)


# -- labels that people have ---------------------------------------------------


@pytest.mark.parametrize("name", ["rgb.png", "rgba.png", "la.png", "lzw.tif", "float.tif"])
def test_labels_of_every_kind(tmp_path, name):
    path = tmp_path / name
    full = np.full_like(LABELS, 255)
    if name == "rgb.png":
        Image.fromarray(np.stack([LABELS] * 3, -1)).save(path)
    elif name == "rgba.png":
        Image.fromarray(np.stack([LABELS, LABELS, LABELS, full], -1)).save(path)
    elif name == "la.png":
        Image.fromarray(np.dstack([LABELS, full]), "LA").save(path)
    elif name == "lzw.tif":
        Image.fromarray(LABELS).save(path, compression="tiff_lzw")
    else:
        tifffile.imwrite(path, LABELS.astype(np.float32))
    np.testing.assert_array_equal(read_label_stack(path, LABELS.shape), LABELS)


def test_a_jpeg_is_black_and_white_or_refused(tmp_path):
    disc = ((np.indices((80, 80)) - 40) ** 2).sum(axis=0) < 900
    Image.fromarray(np.where(disc, 255, 0).astype(np.uint8)).save(tmp_path / "mask.jpg")
    mask = read_label_stack(tmp_path / "mask.jpg", (80, 80))
    np.testing.assert_array_equal(mask, np.where(disc, 255, 0))
    Image.fromarray(LABELS * 20).save(tmp_path / "labels.jpg")
    with pytest.raises(InputError, match="changes labels, such as JPEG; save it as PNG or TIFF"):
        read_label_stack(tmp_path / "labels.jpg", LABELS.shape)


def test_labels_in_colours_are_refused(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="save labels as numbers"):
        read_label_stack(tmp_path / "a.png", (40, 30))


def test_labels_as_short_as_colours_are_labels(tmp_path):
    labels = RNG.integers(0, 9, (8, 9, 3)).astype(np.uint8)
    np.save(tmp_path / "a.npy", labels)
    np.testing.assert_array_equal(read_label_stack(tmp_path / "a.npy", (8, 9, 3)), labels)


# -- compressed, and what is needed to read it ---------------------------------


def test_lzw_of_one_plane_and_of_many_without_any_extra(tmp_path, monkeypatch):
    planes = [Image.fromarray(GREY + n) for n in range(3)]
    planes[0].save(tmp_path / "one.tif", compression="tiff_lzw")
    options = {"compression": "tiff_lzw", "save_all": True, "append_images": planes[1:]}
    planes[0].save(tmp_path / "three.tif", **options)
    without_imagecodecs(monkeypatch)
    np.testing.assert_array_equal(pixels(tmp_path / "one.tif"), GREY)
    np.testing.assert_array_equal(pixels(tmp_path / "three.tif"), [GREY, GREY + 1, GREY + 2])
    assert read_image(tmp_path / "three.tif", index=(2,))[0].shape == GREY.shape


def test_what_pillow_cannot_decompress_names_what_it_needs(tmp_path, monkeypatch):
    pytest.importorskip("imagecodecs")
    deep = COLOURS.astype(np.uint16) * 200  # which Pillow would cut
    tifffile.imwrite(tmp_path / "a.tif", deep, compression="zstd", photometric="rgb")
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), deep)
    without_imagecodecs(monkeypatch)
    with pytest.raises(InputError, match=r"install imagecodecs: pip install 'napari-spa\[formats"):
        open_image(tmp_path / "a.tif")
    monkeypatch.setattr("napari_spa.io.images.tiff._SMALL", 0)  # and before its first pixel
    with pytest.raises(InputError, match="install imagecodecs"):
        open_image(tmp_path / "a.tif")


def without_imagecodecs(monkeypatch):
    """Have tifffile as it is where imagecodecs is not installed."""

    def missing(key, *_):
        raise ValueError(f"{key!r} requires the 'imagecodecs' package")

    class Codecs(dict):
        def __getitem__(self, key):
            return super().__getitem__(key) if key in (1, 8, 32946) else missing(key)

    known = dict.fromkeys((1,), None)
    known |= {key: tifffile.TIFF.DECOMPRESSORS[key] for key in (8, 32946)}
    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", Codecs(known))


def test_each_extra_that_a_sentence_names_brings_the_package():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    for package, extra in faults.EXTRAS.items():
        sentence = str(faults.needs_extra(Path("a.xyz"), package))
        assert f"install {package}: pip install 'napari-spa[{extra}]'" in sentence
        assert any(re.match(rf"{package}\b", needed) for needed in extras[extra]), package


# -- volumes -------------------------------------------------------------------


def test_a_pair_of_header_and_pixels_is_one_image(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Pair(STACK.T, np.diag([2, 3, 5, 1])), tmp_path / "a.hdr")
    assert [entry.name for entry in list_images(tmp_path)] == ["a.hdr"]
    for name in ("a.hdr", "a.img"):
        image = open_image(tmp_path / name)
        np.testing.assert_array_equal(image.levels[0], STACK)
        assert image.info.pixel_size == pytest.approx((3000, 2000))
    assert image_parts(tmp_path / "a.hdr") == (tmp_path / "a.hdr", tmp_path / "a.img")
    (tmp_path / "a.img").unlink()
    with pytest.raises(InputError, match=r"the other file of the pair, a\.img, is missing"):
        open_image(tmp_path / "a.hdr")


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd", "a.nhdr"])
def test_formats_of_itk(tmp_path, name):
    itk = pytest.importorskip("SimpleITK")
    volume = itk.GetImageFromArray(STACK)
    volume.SetSpacing((0.5, 0.25, 2.0))
    itk.WriteImage(volume, str(tmp_path / name))
    assert [entry.name for entry in list_images(tmp_path)] == [name]
    image = open_image(tmp_path / name)
    np.testing.assert_array_equal(image.levels[0], STACK)
    assert image.info.pixel_size == pytest.approx((250, 500))
    assert image.info.plane_distance == pytest.approx(2000)
    assert len(image_parts(tmp_path / name)) == (2 if name[-2:] in ("hd", "dr") else 1)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:60])
    with pytest.raises(InputError, match="cannot be read"):
        open_image(tmp_path / name)


@pytest.mark.parametrize("suffix", ["czi", "lif", "nd2", "oib"])
def test_a_microscopes_own_file_is_listed_with_what_it_needs(tmp_path, monkeypatch, suffix):
    (tmp_path / f"a.{suffix}").write_bytes(b"whatever")
    monkeypatch.setitem(sys.modules, "bioio", None)
    (entry,) = list_images(tmp_path)
    with pytest.raises(InputError, match=r"install bioio.* pip install|\(pip install bioio"):
        open_image(entry.path)


# -- what a stranger sends -----------------------------------------------------


@pytest.mark.parametrize("place", ["compressor", "filters"])
@pytest.mark.parametrize("codec", ["pickle", "msgpack2", "json2", "vlen-array", "unheard-of"])
def test_a_zarr_codec_that_is_not_allowed_is_refused(tmp_path, place, codec):
    pytest.importorskip("zarr")
    facts = {
        "zarr_format": 2,
        "shape": [40, 30],
        "chunks": [40, 30],
        "dtype": "|u1",
        "order": "C",
        "fill_value": 0,
        "compressor": None,
        "filters": None,
    }
    facts[place] = {"id": codec} if place == "compressor" else [{"id": codec}]
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / ".zarray").write_text(json.dumps(facts))
    (tmp_path / "a.zarr" / "0.0").write_bytes(b"\x80\x04N.")
    with pytest.raises(InputError, match=r"a\.zarr"):
        pixels(tmp_path / "a.zarr")


def test_the_codecs_of_an_array_are_looked_at_before_its_chunks():
    class Codec:
        def __init__(self, name):
            self.codec_id = name

        def to_dict(self):
            return {"name": self.codec_id, "configuration": {"codecs": [{"name": "pickle"}]}}

    class V2:
        zarr_format, compressor, filters = 2, Codec("pickle"), (Codec("delta"),)

    class V3:
        zarr_format, codecs = 3, (Codec("sharding_indexed"),)

    class Array:
        def __init__(self, facts):
            self.metadata = facts

    for facts in (V2, V3):
        with pytest.raises(ValueError, match="its codec pickle is not allowed"):
            arrays._check(Array(facts))


def test_pixels_above_the_limit_are_not_unpacked(tmp_path, monkeypatch):
    nibabel, zarr = pytest.importorskip("nibabel"), pytest.importorskip("zarr")
    big = np.zeros((1, 600, 700), np.uint16)  # 0.84 MB
    np.savez_compressed(tmp_path / "a.npz", big)
    np.save(tmp_path / "a.npy", big)
    Image.fromarray(big[0]).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", big, compression="zlib")
    nibabel.save(nibabel.Nifti1Image(big, np.eye(4)), tmp_path / "a.nii.gz")
    zarr.create_array(str(tmp_path / "a.zarr"), data=big, chunks=big.shape)
    paths = sorted(tmp_path.iterdir())
    for path in paths:
        assert pixels(path).any() == False  # noqa: E712  opened and read
    monkeypatch.setenv(faults.LIMIT_VARIABLE, "0.0005")
    for path in paths:
        with pytest.raises(InputError, match=r"0\.0 GB and the limit is 0\.0005 GB"):
            pixels(path)


def test_a_header_that_claims_too_much_is_not_believed(tmp_path):
    header = np.lib.format.magic(1, 0)
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (900000, 900000), }"
    text = text.ljust(117) + b"\n"
    content = header + len(text).to_bytes(2, "little") + text
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match="cut short"):
        open_image(tmp_path / "a.npy")
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(InputError, match="the limit is 4 GB"):
        open_image(tmp_path / "a.npz")


def test_a_page_that_claims_more_strips_than_there_are_costs_no_memory(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, compression="zlib", rowsperstrip=1)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(2**30)
    with pytest.raises(InputError, match="cut short, or damaged"):
        open_image(path)


def test_an_array_longer_than_can_be_counted_is_damaged(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(str(tmp_path / "a.zarr"), shape=(2**70, 8, 9), chunks=(1, 8, 9), dtype="u1")
    with pytest.raises(InputError, match=r"claims .* pixels; it is damaged"):
        open_image(tmp_path / "a.zarr")


def test_whatever_a_library_raises_is_one_sentence(tmp_path):
    class Odd(Exception):
        pass

    for error in (Odd("x\ny"), AssertionError(), ImportError("z"), MemoryError(), RecursionError()):
        with pytest.raises(InputError) as caught, faults.reading(tmp_path / "a.tif"):
            raise error
        assert str(caught.value).startswith(f"{tmp_path / 'a.tif'} cannot be read as an image: ")
        assert "\n" not in str(caught.value)


def test_folders_that_link_to_each_other_are_gone_through_once(tmp_path):
    for name in "abcdefgh":
        (tmp_path / name).mkdir()
        Image.fromarray(GREY).save(tmp_path / name / "x.png")
    for name in "abcdefgh":
        for other in "abcdefgh":
            (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
    names = [entry.name for entry in list_images(tmp_path, recursive=True)]
    assert len(names) == 8


def test_nothing_is_said_of_an_ordinary_file(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(tmp_path / "a.png").notes == ()
