"""Each format holds exactly the objects, read back with another library than the one that wrote."""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import nibabel
import numpy as np
import pytest
import roifile
import shapely
import SimpleITK
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from napari_spa.core.objects import mask_outlines
from napari_spa.errors import Cancelled
from napari_spa.io.export import FORMATS, ExportRequest, export_image, free_name
from napari_spa.io.export.volumes import Labelled, of_file
from napari_spa.io.images import ImageFile, ImageInfo, open_image
from napari_spa.io.projects.classes import ObjectClass, ObjectNote

HUGE = 70_123  # more than 16 bits hold
TOUCHING = np.zeros((24, 30), np.uint32)
TOUCHING[2:12, 2:12], TOUCHING[2:12, 12:20] = 1, HUGE  # side by side
TOUCHING[5:8, 4:7] = 0  # a hole,
TOUCHING[6, 5] = 3  # an object in it,
TOUCHING[8, 7] = 0  # and a pixel that touches the hole with a corner
TOUCHING[20:22, 0:3] = TOUCHING[22:24, 3:5] = 1  # two more parts, which touch with corners


def silent(share, message):
    pass


def labelled(labels, axes="YX", **facts):
    size = facts.pop("pixel_size", None)
    distance = facts.pop("plane_distance", None)
    info = ImageInfo(axes, labels.shape[-2:], size, plane_distance=distance)
    return Labelled("cells", ImageFile(Path(), (labels,), info), **facts)


def export(folder, image, *formats, **wanted):
    classes = wanted.pop("classes", ())
    request = ExportRequest(folder, formats, **wanted)
    return export_image(image, request, silent, classes=classes)


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "logs"])
def test_each_form_says_how_far_it_is_and_can_be_stopped_in_its_midst(
    stack, tmp_path, kind, monkeypatch
):
    monkeypatch.setattr("napari_spa.io.export.volumes._PIECE", 4000)
    told = []

    def progress(share, words):
        told.append((share, words))
        if stopping and 0.5 < share < 1:
            raise Cancelled("stopped.")

    image, request = labelled(stack, "TZYX"), ExportRequest(tmp_path / "out", ("logs", kind))
    stopping = True
    with pytest.raises(Cancelled):
        export_image(image, request, progress)
    if FORMATS[kind].suffix and kind != "png":
        assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
    told.clear()
    stopping = False
    export_image(image, replace(request, replace=True), progress)
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert len({share for share in shares if share >= 0.5}) > 1
    assert told[-1][1] == FORMATS[kind].title


def test_a_large_plane_can_be_stopped_too(tmp_path):
    shares = []
    labels = labelled(np.ones((1100, 40), np.uint8))
    request = ExportRequest(tmp_path, ("ome-zarr",))
    export_image(labels, request, lambda share, words: shares.append(share))
    assert len(set(shares)) > 2
    found = open_image(tmp_path / "cells-labels.zarr").levels[0]
    np.testing.assert_array_equal(np.asarray(found), labels.labels.levels[0])


@pytest.fixture
def stack():
    """A ball with a hollow inside, touching a box; time before depth."""
    z, y, x = np.mgrid[:14, :20, :26]
    far = (z - 6) ** 2 + (y - 9) ** 2 + (x - 9) ** 2
    labels = np.zeros((2, 14, 20, 26), np.uint32)
    labels[0][(far < 30) & (far >= 6)] = 1
    labels[0, 3:9, 5:15, 15:24] = HUGE
    labels[1, 4:7, 4:9, 4:12] = 2
    return labels


# ------------------------------------------------------------------ outlines


def shape_of(polygons):
    return shapely.MultiPolygon(
        [(polygon[0][:, ::-1], [hole[:, ::-1] for hole in polygon[1:]]) for polygon in polygons]
    )


def drawn(shape, extent):
    rows, columns = np.indices(extent)
    return shapely.contains_xy(shape, columns + 0.5, rows + 0.5)


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_are_valid_and_exact(mask):
    shape = shape_of(mask_outlines(mask))
    assert shape.is_valid, shapely.is_valid_reason(shape)
    assert shape.area == mask.sum()
    np.testing.assert_array_equal(drawn(shape, mask.shape), mask)


def test_outlines_have_no_corner_more_than_it_takes():
    mask = np.zeros((40, 50), bool)
    mask[3:30, 5:45] = True
    ((ring,),) = mask_outlines(mask, (100, 200))
    assert sorted(map(tuple, ring.tolist())) == [(103, 205), (103, 245), (130, 205), (130, 245)]


@pytest.mark.parametrize(("facts", "name"), [({}, "cells"), ({"file_name": "a.png"}, "a.png")])
def test_coco_names_the_file_that_loaders_look_for(tmp_path, facts, name):
    report = export(tmp_path, labelled(TOUCHING, **facts), "coco")
    (image,) = json.loads((tmp_path / report.names[0]).read_text())["images"]
    assert image["file_name"] == name


def test_geojson_holds_objects_classes_and_planes(tmp_path, stack):
    notes = {1: ObjectNote("the large one", "cell"), HUGE: ObjectNote()}
    image = labelled(TOUCHING, notes=notes)
    export(tmp_path, image, "geojson", classes=[ObjectClass("cell", "#102030")])
    content = json.loads((tmp_path / "cells-outlines.geojson").read_text())
    found = {}
    for feature in content["features"]:
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        assert shape.is_valid
        found[int(feature["properties"]["metadata"]["object"])] = drawn(shape, TOUCHING.shape)
        assert "plane" not in feature["geometry"]
    assert set(found) == {1, 3, HUGE}
    for number, mask in found.items():
        np.testing.assert_array_equal(mask, number == TOUCHING)
    said = content["features"][0]["properties"]
    assert said["name"] == "the large one"
    assert said["classification"] == {"name": "cell", "color": [16, 32, 48]}
    assert len({feature["id"] for feature in content["features"]}) == 3

    export(tmp_path / "deep", labelled(stack, "TZYX"), "geojson")
    content = json.loads((tmp_path / "deep" / "cells-outlines.geojson").read_text())
    again = np.zeros_like(stack)
    for feature in content["features"]:
        plane = feature["geometry"]["plane"]
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        mask = drawn(shape, stack.shape[-2:])
        again[plane["t"], plane["z"]][mask] = int(feature["properties"]["name"])
    np.testing.assert_array_equal(again, stack)


def roi_mask(roi, extent):
    """Draw a ROI as ImageJ does: what an odd number of its rings surrounds."""
    rings = roi.coordinates(multi=True) if roi.composite else [roi.coordinates()]
    inside = np.zeros(extent, bool)
    for ring in rings:
        inside ^= drawn(shapely.Polygon(ring), extent)
    return inside


def test_imagej_rois_hold_objects_and_planes(tmp_path, stack):
    image = labelled(TOUCHING, notes={1: ObjectNote("a/b", "cell")})
    export(tmp_path, image, "rois", classes=[ObjectClass("cell", "#102030")])
    rois = roifile.roiread(tmp_path / "cells-rois.zip")
    assert [roi.name for roi in rois] == ["00001 a_b", "00003", f"{HUGE}"]
    for roi, number in zip(rois, (1, 3, HUGE), strict=True):
        np.testing.assert_array_equal(roi_mask(roi, TOUCHING.shape), number == TOUCHING)
        assert roi.position == 0
    assert rois[0].stroke_color == bytes((255, 16, 32, 48))

    export(tmp_path / "z", labelled(stack[0], "ZYX"), "rois")
    again = np.zeros_like(stack[0])
    for roi in roifile.roiread(tmp_path / "z" / "cells-rois.zip"):
        again[roi.position - 1][roi_mask(roi, stack.shape[-2:])] = int(roi.name.split("-")[0])
    np.testing.assert_array_equal(again, stack[0])

    export(tmp_path / "tz", labelled(stack, "TZYX"), "rois")
    again = np.zeros_like(stack)
    for roi in roifile.roiread(tmp_path / "tz" / "cells-rois.zip"):
        mask = roi_mask(roi, stack.shape[-2:])
        again[roi.t_position - 1, roi.z_position - 1][mask] = int(roi.name.split("-")[0])
    np.testing.assert_array_equal(again, stack)


def test_rois_of_large_images_are_right_or_refused(tmp_path):
    labels = np.zeros((4, 70_000), np.uint8)
    labels[1:3, 69_000:69_900] = 1
    export(tmp_path, labelled(labels), "rois")
    (roi,) = roifile.roiread(tmp_path / "cells-rois.zip")
    left, top = roi.coordinates().min(axis=0)
    right, bottom = roi.coordinates().max(axis=0)
    assert (left, top, right, bottom) == (69_000, 1, 69_900, 3)
    labels[2, 69_500] = labels[0, 69_950] = 1
    labels[1, 69_950] = 0
    report = export(tmp_path, labelled(labels), "rois", "geojson", replace=True)
    assert "choose GeoJSON" in report.problems[0][1]
    assert (tmp_path / "cells-outlines.geojson").exists()


# ------------------------------------------------------------------ numbers


def test_png_holds_sixteen_bits_and_says_where_they_end(tmp_path, stack):
    small = np.where(TOUCHING == HUGE, 65_535, TOUCHING)
    export(tmp_path, labelled(small), "png")
    with Image.open(tmp_path / "cells-labels.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), small)
    report = export(tmp_path / "huge", labelled(TOUCHING), "png", "labels")
    assert report.problems == [
        ("cells", f"PNG holds numbers up to 65535, and cells has {HUGE}; choose TIFF.")
    ]
    np.testing.assert_array_equal(iio.imread(tmp_path / "huge" / "cells-labels.tif"), TOUCHING)
    export(tmp_path, labelled(stack % 60_000, "TZYX"), "png", replace=True)
    plane = iio.imread(tmp_path / "cells-labels" / "plane-0000-0006.png")
    np.testing.assert_array_equal(plane, stack[0, 6] % 60_000)
    assert len(list((tmp_path / "cells-labels").iterdir())) == 28


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("YX", (20, 26)), ("ZYX", (14, 20, 26)), ("TYX", (3, 20, 26)), ("TZYX", (2, 14, 20, 26))],
)
def test_nifti_holds_labels_of_any_axes(tmp_path, axes, shape):
    rng = np.random.default_rng(zlib.crc32(axes.encode()))
    labels = rng.choice(np.array([0, 1, HUGE], np.uint32), shape)
    image = labelled(labels, axes, pixel_size=(2.0, 3.0), plane_distance=5.0)
    export(tmp_path, image, "nifti")
    path = tmp_path / "cells-labels.nii.gz"
    again = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    np.testing.assert_array_equal(again.reshape(shape), labels)
    np.testing.assert_allclose(nibabel.load(path).header.get_zooms()[:2], (0.003, 0.002))
    back = open_image(path)
    assert back.info.axes == axes
    np.testing.assert_allclose(back.info.pixel_size, (2.0, 3.0), rtol=1e-6)


def test_nifti_lies_where_its_image_lies(tmp_path, stack):
    turn = np.array([[0, -0.5, 0, 10], [0.7, 0, 0, -20], [0, 0, 2, 30], [0, 0, 0, 1.0]])
    voxels = np.zeros((26, 20, 14), np.int16)
    image = nibabel.Nifti1Image(voxels, turn)
    image.header.set_xyzt_units("mm")
    image.header["cal_max"] = 7
    nibabel.save(image, tmp_path / "ct.nii.gz")
    itk = SimpleITK.GetImageFromArray(voxels.transpose().copy())
    itk.SetOrigin((1.0, 2.0, 3.0))
    itk.SetSpacing((0.5, 0.6, 2.0))
    itk.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    SimpleITK.WriteImage(itk, str(tmp_path / "ct.nrrd"))
    for name in ("ct.nii.gz", "ct.nrrd"):
        export(tmp_path / name[3:], labelled(stack[0], "ZYX", source=tmp_path / name), "nifti")
        path = tmp_path / name[3:] / "cells-labels.nii.gz"
        one, other = (SimpleITK.ReadImage(str(p)) for p in (tmp_path / name, path))
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(other), stack[0])
        np.testing.assert_allclose(other.GetOrigin(), one.GetOrigin(), atol=1e-5)
        np.testing.assert_allclose(other.GetSpacing(), one.GetSpacing(), atol=1e-6)
        np.testing.assert_allclose(other.GetDirection(), one.GetDirection(), atol=1e-6)
        assert nibabel.load(path).header.get_intent()[0] == "label"


# ------------------------------------------------------------------ meshes


def test_meshes_are_closed_and_where_the_objects_are(tmp_path, stack):
    image = labelled(stack, "TZYX", pixel_size=(2.0, 3.0), plane_distance=5.0)
    export(tmp_path, image, "stl")
    folder = tmp_path / "cells-meshes"
    names = ["object00001-t0000.stl", "object00002-t0001.stl", f"object{HUGE}-t0000.stl"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for name, time, number in zip(names, (0, 1, 0), (1, 2, HUGE), strict=True):
        mesh = trimesh.load(folder / name)
        mask = stack[time] == number
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        volume = mask.sum() * 2 * 3 * 5
        assert 0.75 * volume < mesh.volume < 1.05 * volume  # corners are cut
        z, y, x = (np.nonzero(mask)[axis] for axis in range(3))
        low = np.array([x.min() * 3, y.min() * 2, z.min() * 5])
        half = np.array([1.5, 1, 2.5])
        high = np.array([x.max() * 3, y.max() * 2, z.max() * 5])
        np.testing.assert_allclose(mesh.bounds, [low - half, high + half])


def test_a_mesh_of_a_medical_image_lies_in_its_space_with_its_outside_outside(tmp_path, stack):
    mirrored = np.diag([-1.0, 2.0, 3.0, 1.0])
    mirrored[:3, 3] = 100, 0, -50
    nibabel.save(
        nibabel.Nifti1Image(np.zeros((26, 20, 14), np.int16), mirrored), tmp_path / "ct.nii"
    )
    image = labelled(stack[0], "ZYX", source=tmp_path / "ct.nii")
    export(tmp_path, image, "stl")
    mesh = trimesh.load(tmp_path / "cells-meshes" / f"object{HUGE}.stl")
    assert mesh.volume > 0
    middle = np.array([19.0, 9.5, 5.5])
    np.testing.assert_allclose(mesh.centroid, middle * (-1, 2, 3) + (100, 0, -50), atol=0.1)


# ------------------------------------------------------------------ a single image


def test_files_of_one_image_lie_side_by_side(tmp_path, stack):
    log = tmp_path / "log.jsonl"
    log.write_text("{}\n")
    image = labelled(stack, "TZYX", log=log, notes={1: ObjectNote("", "cell")})
    kinds = ("labels", "png", "nifti", "ome-zarr", "coco", "rois", "geojson", "tables", "logs")
    folder = tmp_path / "out"
    report = export(folder, image, *kinds, values=("objects", "classes"))
    assert [kind for kind, _ in report.problems] == ["cells"]  # PNG holds no such number
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        *("cells-classes.json", "cells-classes.nii.gz", "cells-classes.tif", "cells-coco.json"),
        *("cells-labels.nii.gz", "cells-labels.tif", "cells-objects.csv"),
        *("cells-outlines.geojson", "cells-rois.zip", "cells-slices.csv", "cells.spa.jsonl"),
    ]
    request = ExportRequest(folder, kinds)
    assert free_name(request, "cells") == "cells-2"
    assert free_name(request, "others") == "others"


def test_a_label_image_of_any_program_can_be_exported(tmp_path):
    iio.imwrite(tmp_path / "mask.png", (TOUCHING % 251).astype(np.uint8))
    iio.imwrite(tmp_path / "cell.png", np.full((*TOUCHING.shape, 3), 9, np.uint8))
    image = of_file(tmp_path / "mask.png", tmp_path / "cell.png")
    export(tmp_path / "out", image, "tables", "labels")
    np.testing.assert_array_equal(
        iio.imread(tmp_path / "out" / "cell.png-labels.tif"), TOUCHING % 251
    )
    assert "intensity_mean_0" in (tmp_path / "out" / "cell.png-objects.csv").read_text()
