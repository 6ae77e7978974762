"""Objects one by one for other programs: COCO, GeoJSON as QuPath reads it, and ImageJ's ROIs."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from napari_spa.core.objects import mask_outlines
from napari_spa.errors import InputError
from napari_spa.io.files import atomic_path, write_text
from napari_spa.io.projects.classes import ObjectClass, ObjectNote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_spa.core.objects import Polygon
    from napari_spa.io.export.volumes import Labelled


class CocoWriter:
    """Collect images and their objects."""

    def __init__(self, title: str, classes: Sequence[str] = ()) -> None:
        self._title = title
        self._categories = {name: number for number, name in enumerate(classes, start=1)}
        # What is of no class; the first category where there are no classes.
        self._categories[""] = len(classes) + 1
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(
        self,
        name: str,
        index: tuple[int, ...],
        labels: NDArray[np.integer],
        notes: Mapping[int, ObjectNote] = MappingProxyType({}),
    ) -> None:
        """Add a plane, (H, W), with its objects; ``index`` is the slice of a stack, else ``()``."""
        number = len(self._images) + 1
        height, width = labels.shape
        image: dict[str, Any] = {"id": number, "file_name": name, "height": height, "width": width}
        if index:
            image["slice"] = list(index)
        self._images.append(image)
        for label, top, left, mask in objects_of(labels):
            rows, columns = mask.shape
            note = notes.get(label, ObjectNote())
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": self._categories[note.class_name],
                    "object": label,
                    **({"name": note.name} if note.name else {}),
                    "bbox": [left, top, columns, rows],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": {
                        "size": [height, width],
                        "counts": _run_lengths(mask, top, left, (height, width)),
                    },
                }
            )

    def content(self) -> dict[str, Any]:
        """Return what the file holds."""
        return {
            "info": {"description": self._title},
            "images": self._images,
            "annotations": self._annotations,
            "categories": [
                {"id": number, "name": name or "object", "supercategory": ""}
                for name, number in self._categories.items()
            ],
        }


def objects_of(labels: NDArray[np.integer]) -> Iterator[tuple[int, int, int, NDArray[np.bool_]]]:
    """Yield label, first row, first column and mask within its box of each object."""
    from skimage.measure import regionprops
    from skimage.segmentation import relabel_sequential

    # In its stead small numbers: regionprops takes memory for every number up to the largest.
    small, _, original = relabel_sequential(labels)
    for found in regionprops(small):
        yield int(original[found.label]), int(found.bbox[0]), int(found.bbox[1]), found.image


def _run_lengths(mask: NDArray[np.bool_], top: int, left: int, shape: tuple[int, int]) -> list[int]:
    """Return lengths of runs of 0, 1, 0, ... down the columns of the whole plane."""
    height, width = shape
    rows, columns = np.nonzero(mask)
    places = np.sort((columns.astype(np.int64) + left) * height + rows + top)
    breaks = np.flatnonzero(np.diff(places) != 1)
    starts = places[np.concatenate([[0], breaks + 1])]
    ends = places[np.concatenate([breaks, [len(places) - 1]])] + 1
    edges = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [height * width]])
    counts: list[int] = np.diff(edges).tolist()
    return counts[:-1] if counts[-1] == 0 else counts


_NAMESPACE = uuid5(NAMESPACE_URL, "napari-spa/outlines")
_LARGEST = 32_767  # ImageJ counts the bounds of a composite in 16 bits with a sign
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0  # what a path of ImageJ is made of


def _outlined(image: Labelled) -> Iterator[tuple[dict[str, int], int, ObjectNote, list[Polygon]]]:
    """Yield each object on each plane: where that lies by axis, its number, what was said of it."""
    for index, plane in image.planes():
        at = dict(zip(image.labels.info.axes.lower(), index, strict=False))
        for number, top, left, mask in objects_of(plane):
            note = image.notes.get(number, ObjectNote())
            yield at, number, note, mask_outlines(mask, (top, left))


def write_geojson(path: Path, image: Labelled, classes: Sequence[ObjectClass]) -> None:
    """Write the objects as a GeoJSON feature collection, one annotation for each plane.

    Coordinates are (x, y) in pixels with the image's upper left corner at (0, 0), as QuPath
    counts; its ``plane`` says where in a stack an outline lies.
    """
    colours = {one.name: one.rgb for one in classes}
    features = []
    for at, number, note, polygons in _outlined(image):
        shapes = [[_closed(ring) for ring in polygon] for polygon in polygons]
        one = len(shapes) == 1
        geometry: dict[str, Any] = {
            "type": "Polygon" if one else "MultiPolygon",
            "coordinates": shapes[0] if one else shapes,
        }
        if at:
            geometry["plane"] = {"c": at.get("c", -1), "z": at.get("z", 0), "t": at.get("t", 0)}
        said: dict[str, Any] = {"objectType": "annotation", "name": note.name or str(number)}
        if note.class_name:
            said["classification"] = {
                "name": note.class_name,
                "color": list(colours.get(note.class_name, (128, 128, 128))),
            }
        said["metadata"] = {"object": str(number)}
        name = f"{image.name} {number} {sorted(at.items())}"
        features.append(
            {
                "type": "Feature",
                "id": str(uuid5(_NAMESPACE, name)),
                "geometry": geometry,
                "properties": said,
            }
        )
    content = {"type": "FeatureCollection", "features": features}
    write_text(path, json.dumps(content) + "\n")


def _closed(ring: Any) -> list[list[int]]:  # noqa: ANN401  ndarray of shape (N, 2)
    corners: list[list[int]] = ring[:, ::-1].tolist()
    return [*corners, corners[0]]


def write_rois(path: Path, image: Labelled, classes: Sequence[ObjectClass]) -> None:
    """Write the objects as a zip of ImageJ ROIs, one for each object on each plane."""
    import roifile

    colours = {one.name: bytes((255, *one.rgb)) for one in classes}
    axes = image.labels.info.axes[:-2]
    rois = []
    for at, number, note, polygons in _outlined(image):
        name = "-".join([f"{number:05}", *(f"{axis}{place + 1:04}" for axis, place in at.items())])
        roi = _roi(roifile, polygons, f"{name} {note.name}".strip().replace("/", "_"))
        if len(axes) == 1:
            roi.position = next(iter(at.values())) + 1
        elif axes:  # a hyperstack
            roi.c_position, roi.z_position, roi.t_position = (at.get(a, 0) + 1 for a in "czt")
        if note.class_name in colours:
            roi.stroke_color = colours[note.class_name]
        rois.append(roi)
    with atomic_path(path) as temporary:
        roifile.roiwrite(temporary.with_suffix(".zip"), rois, mode="w")


def _roi(roifile: Any, polygons: Sequence[Polygon], name: str) -> Any:  # noqa: ANN401  the module
    """Return a polygon, or a composite where there are holes or several parts."""
    rings = [ring[:, ::-1] for polygon in polygons for ring in polygon]
    if len(rings) == 1:
        roi = roifile.ImagejRoi.frompoints(rings[0], name=name)
        roi.roitype = roifile.ROI_TYPE.POLYGON
        return roi
    steps: list[float] = []
    for ring in rings:
        for way, (x, y) in zip([_MOVE, *[_LINE] * (len(ring) - 1)], ring.tolist(), strict=True):
            steps += (way, x, y)
        steps.append(_CLOSE)
    corners = np.concatenate(rings)
    left, top = corners.min(axis=0).tolist()
    right, bottom = corners.max(axis=0).tolist()
    if max(right, bottom) > _LARGEST:
        raise InputError(
            f"ImageJ's ROIs with holes reach to pixel {_LARGEST}; choose GeoJSON for larger images."
        )
    roi = roifile.ImagejRoi()
    roi.roitype, roi.name = roifile.ROI_TYPE.RECT, name
    roi.left, roi.top, roi.right, roi.bottom = left, top, right, bottom
    roi.multi_coordinates = np.array(steps, dtype=np.float32)
    roi.shape_roi_size = len(steps)
    return roi
