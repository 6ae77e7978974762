"""Export a project: label files, tables, COCO, OME-Zarr."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import DataError, InputError, SpaError
from napari_spa.io.files import atomic_folder, atomic_path, write_table
from napari_spa.io.images import ImageInfo, open_image, write_labels
from napari_spa.io.projects.classes import (
    FILE_NAME,
    ObjectClass,
    ObjectNote,
    class_values,
    noted,
    read_classes,
    read_notes,
    with_unknown,
    write_classes,
)
from napari_spa.io.projects.paths import (
    LOG_SUFFIX,
    check_no_way_out,
    exports_path,
    labels_path,
    log_path,
    notes_path,
)
from napari_spa.io.strict_json import JsonError, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_spa.io.images import ImageFile

    Colour = Callable[[int], tuple[int, int, int, int]]
    from collections.abc import Callable, Mapping

    from napari_spa.io.projects.project import Project, ProjectItem


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
        """Add a plane with its objects.

        Parameters
        ----------
        name : str
            Of the image file.
        index : tuple of int
            The slice of a stack; empty for an image.
        labels : ndarray of shape (H, W)
            0 is background, other numbers are objects.
        notes : mapping of int to ObjectNote
            What was said of them.
        """
        number = len(self._images) + 1
        height, width = labels.shape
        image: dict[str, Any] = {
            "id": number,
            "file_name": name,
            "height": height,
            "width": width,
        }
        if index:
            image["slice"] = list(index)
        self._images.append(image)
        for label, top, left, mask in _objects(labels):
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


def _objects(
    labels: NDArray[np.integer],
) -> Iterator[tuple[int, int, int, NDArray[np.bool_]]]:
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


_VERSION = "0.4"
_ORDER = "TCZYX"  # the format's: time, channels, space
_KINDS = {"T": "time", "C": "channel"}
_CHUNK, _COARSEST = 512, 256


def planes_of(labels: ImageFile) -> Iterator[tuple[tuple[int, ...], NDArray[np.integer]]]:
    """Yield the planes of an image of labels; one at a time is in memory.

    Parameters
    ----------
    labels : ImageFile
        From :func:`~napari_spa.io.images.open_image`.

    Yields
    ------
    index : tuple of int
        Positions along the axes before rows and columns.
    plane : ndarray of shape (H, W)
        Its labels.
    """
    stack = labels.levels[0]
    for index in np.ndindex(*stack.shape[:-2]):
        yield index, np.asarray(stack[index])


def need_zarr() -> None:
    """Refuse to go on where zarr is not installed."""
    try:
        import zarr  # noqa: F401  only to see whether it is there
    except ImportError as error:
        raise InputError(
            "OME-Zarr needs zarr; install it with: pip install 'napari-spa[formats]'."
        ) from error


def write_label_zarr(
    path: Path,
    labels: ImageFile,
    colour: Colour | None = None,
    notes: Mapping[int, ObjectNote] = MappingProxyType({}),
) -> None:
    """Write labels as an OME-Zarr label image, whole or not at all.

    Each level has every second row and column of the finer one, so labels stay labels and
    the first pixel stays where it is; the stack is not thinned out.
    """
    need_zarr()
    if os.path.lexists(path) and not _is_label_zarr(path):
        raise InputError(f"{path} is there already and is no label image; choose another folder.")
    import zarr
    from numcodecs import Blosc  # type: ignore[import-untyped]

    info, shape = labels.info, tuple(int(n) for n in labels.levels[0].shape)
    order = sorted(range(len(shape)), key=lambda axis: _ORDER.index(info.axes[axis]))
    shapes = _pyramid(tuple(shape[axis] for axis in order))
    used: set[int] = set()
    with atomic_folder(path) as folder:
        group = zarr.create_group(str(folder), zarr_format=2, overwrite=True)
        levels = [
            group.create_array(
                str(number),
                shape=extent,
                chunks=(*[1] * (len(extent) - 2), *(min(n, _CHUNK) for n in extent[-2:])),
                dtype=labels.levels[0].dtype,
                compressors=Blosc(),  # LZ4, which every reader knows
                chunk_key_encoding={"name": "v2", "separator": "/"},
                fill_value=0,
            )
            for number, extent in enumerate(shapes)
        ]
        for index, plane in planes_of(labels):
            used.update(np.unique(plane).tolist())
            there = tuple(index[axis] for axis in order[:-2])
            for number, level in enumerate(levels):
                step = 2**number
                level[there] = plane[::step, ::step]
        axes = "".join(info.axes[axis] for axis in order)
        group.attrs.update(_facts(axes, info, path.stem, len(shapes)))
        numbers = sorted(used - {0})
        said = _properties(numbers, notes)
        group.attrs["image-label"] = {"version": _VERSION} | _colours(numbers, colour) | said


def _is_label_zarr(path: Path) -> bool:
    try:
        content = read_json(path / ".zattrs")
    except (OSError, DataError, JsonError):
        return False
    return isinstance(content, dict) and "image-label" in content


def _pyramid(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shape of each level, finest first."""
    shapes = [shape]
    while max(shapes[-1][-2:]) > _COARSEST:
        *stack, rows, columns = shapes[-1]
        shapes.append((*stack, -(-rows // 2), -(-columns // 2)))
    return shapes


def _facts(axes: str, info: ImageInfo, name: str, levels: int) -> dict[str, Any]:
    """Describe the axes, and how far pixels of each level are apart."""
    lengths = dict(zip("YX", info.pixel_size or (), strict=False))
    if info.plane_distance is not None:
        lengths["Z"] = info.plane_distance
    described = []
    for axis in axes:
        fact = {"name": axis.lower(), "type": _KINDS.get(axis, "space")}
        described.append(fact | ({"unit": "micrometer"} if axis in lengths else {}))
    datasets = []
    for number in range(levels):
        steps = [
            float(lengths.get(axis, 1.0)) * (2**number if axis in "YX" else 1) for axis in axes
        ]
        transforms = [{"type": "scale", "scale": steps}]
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    multiscale = {
        "version": _VERSION,
        "name": name,
        "axes": described,
        "datasets": datasets,
        "type": "nearest",
    }
    return {"multiscales": [multiscale]}


def _colours(numbers: Sequence[int], colour: Colour | None) -> dict[str, Any]:
    if colour is None or not numbers:
        return {}
    return {"colors": [{"label-value": n, "rgba": list(colour(n))} for n in numbers]}


def _properties(numbers: Sequence[int], notes: Mapping[int, ObjectNote]) -> dict[str, Any]:
    """Return the class and name of each object, as the format keeps what is known of labels."""
    said = [
        {"label-value": n, "class": notes[n].class_name, "name": notes[n].name}
        for n in numbers
        if n in notes
    ]
    return {"properties": said} if said else {}


KINDS: Mapping[str, str] = MappingProxyType(
    {
        "labels": "Labels, one TIFF for each image",
        "masks": "Binary masks, one TIFF for each object",
        "classes": "Classes, one TIFF for each image (semantic)",
        "ome-zarr": "OME-Zarr labels, one folder for each image",
        "coco": "COCO instances, one JSON file",
        "measures": "Measures of all objects, one CSV file",
        "logs": "Decision logs",
    }
)
"""What can be exported, and what it is called."""


_TOP = {kind: kind for kind in KINDS} | {"coco": "coco.json", "measures": "measures.csv"}


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported."""

    images: int  # images that have labels and were exported
    files: int  # files that were written; an OME-Zarr folder counts as one
    problems: tuple[tuple[str, str], ...]  # name of each image that could not be exported, and why


def export_project(
    project: Project,
    kinds: Sequence[str],
    folder: Path,
    progress: Callable[[float, str], None],
    *,
    colour: Colour | None = None,
) -> ExportReport:
    """Write the labels of a project in other forms."""
    unknown = sorted(set(kinds) - KINDS.keys())
    if unknown or not kinds:
        raise InputError(f"choose what to export: {', '.join(KINDS)}.")
    if "ome-zarr" in kinds:
        need_zarr()
    _claim(Path(folder), project, kinds)
    items = [item for item in project.items if os.path.exists(labels_path(project.out, item.name))]
    export = _Export(project, items, frozenset(kinds), Path(folder), colour)
    problems = []
    for number, item in enumerate(items):
        progress(number / max(1, len(items)), item.name)
        try:
            export.take(item)
        except DataError:
            raise
        except SpaError as error:
            problems.append((item.name, str(error)))
    export.finish()
    return ExportReport(len(items) - len(problems), export.files, tuple(problems))


def _claim(folder: Path, project: Project, kinds: Sequence[str]) -> None:
    """Take a folder for the exports of a project, unless there is something of others in it."""
    place, own = Path(os.path.realpath(folder)), Path(os.path.realpath(exports_path(project.out)))
    source = Path(os.path.realpath(project.source))
    ours = place == own or own in place.parents
    if not ours and (place == source or source in place.parents):
        raise InputError(f"{folder} is among the images; choose a folder outside {source}.")
    names = [_TOP[kind] for kind in kinds]
    known = project.exported_to(place)
    for name in names:
        if not ours and name not in known and os.path.lexists(folder / name):
            raise InputError(
                f"{folder} holds {name}, which this project did not export; choose another folder."
            )
    if not ours and not known.issuperset(names):
        project.note_export(place, names)


class _Export:
    """Write image by image what is written so, and collect the rest."""

    def __init__(
        self,
        project: Project,
        items: Sequence[ProjectItem],
        kinds: frozenset[str],
        folder: Path,
        colour: Colour | None,
    ) -> None:
        self._project, self._kinds, self._folder = project, kinds, folder
        self._colour = colour
        self._notes = {item.name: read_notes(notes_path(project.out, item.name)) for item in items}
        self._classes = _classes_of(project, self._notes)
        self._coco = CocoWriter(project.source.name, [one.name for one in self._classes])
        self._rows: list[dict[str, Any]] = []
        self._columns: tuple[str, ...] = ()
        self.files = 0

    def take(self, item: ProjectItem) -> None:
        """Export one image."""
        path = labels_path(self._project.out, item.name)
        # Read first: what cannot be read is exported in no form.
        labels = open_image(path) if self._kinds - {"logs"} else None
        if labels is not None:
            if "labels" in self._kinds:
                self._copy(path, self._place("labels", f"{item.name}.tif"))
            if "masks" in self._kinds:
                self._write_masks(item.name, labels)
            notes = self._notes[item.name]
            if "classes" in self._kinds:
                self._write_classes(item.name, labels)
            if "ome-zarr" in self._kinds:
                there = self._place("ome-zarr", f"{item.name}.zarr")
                write_label_zarr(there, labels, self._colour, notes)
                self.files += 1
            if "coco" in self._kinds:
                for index, plane in planes_of(labels):
                    self._coco.add(item.name, index, plane, notes)
            if "measures" in self._kinds:
                self._measure(item, labels)
        log = log_path(self._project.out, item.name)
        if "logs" in self._kinds and os.path.exists(log):
            self._copy(log, self._place("logs", f"{item.name}{LOG_SUFFIX}"))

    def finish(self) -> None:
        """Write what was collected over all images."""
        if "classes" in self._kinds:
            write_classes(self._place("classes", FILE_NAME), self._classes)  # which number is which
            self.files += 1
        if "coco" in self._kinds:
            with atomic_path(self._folder / "coco.json") as temporary:
                temporary.write_text(json.dumps(self._coco.content()) + "\n", encoding="utf-8")
            self.files += 1
        if "measures" in self._kinds:
            said = ("class", "name") if any(self._notes.values()) else ()
            columns = ("image", *said, *self._columns)
            write_table(self._folder / "measures.csv", self._rows, columns=columns)
            self.files += 1

    def _place(self, *parts: str) -> Path:
        """Return where something is written: in the folder, whatever links are in it."""
        return check_no_way_out(self._folder, self._folder.joinpath(*parts))

    def _copy(self, path: Path, there: Path) -> None:
        with atomic_path(there) as temporary:
            shutil.copyfile(path, temporary)
        self.files += 1

    def _write_masks(self, name: str, labels: ImageFile) -> None:
        """Write each object on each of its planes as 0 and 255."""
        info = ImageInfo("YX", labels.info.shape, labels.info.pixel_size)
        for index, plane in planes_of(labels):
            where = "".join(f"-{number:04}" for number in index)
            for number in (n for n in np.unique(plane).tolist() if n):
                there = self._place("masks", name, f"object{number:05}{where}.tif")
                write_labels(there, np.where(plane == number, 255, 0).astype(np.uint8), info)
                self.files += 1

    def _write_classes(self, name: str, labels: ImageFile) -> None:
        """Write the number of each pixel's class; 0 for background and what is of no class."""
        values, stack = class_values(self._classes), labels.levels[0]
        numbers = {n: values.get(note.class_name, 0) for n, note in self._notes[name].items()}
        semantic = np.zeros(stack.shape, dtype=np.uint8)
        for index, plane in planes_of(labels):
            found, where = np.unique(plane, return_inverse=True)
            of = np.array([numbers.get(n, 0) for n in found.tolist()], dtype=np.uint8)
            semantic[index] = of[where].reshape(plane.shape)
        write_labels(self._place("classes", f"{name}.tif"), semantic, labels.info)
        self.files += 1

    def _measure(self, item: ProjectItem, labels: ImageFile) -> None:
        from napari_spa.core.measures import measure_objects

        info = labels.info
        spacing, unit = _spacing(info)
        pixels = labels.levels[0]
        measures = measure_objects(
            pixels, axes=info.axes, spacing=spacing, unit=unit, intensity=_pixels_of(item, pixels)
        )
        self._columns = tuple(dict.fromkeys([*self._columns, *measures.columns]))
        notes = self._notes[item.name]
        self._rows += [{"image": item.name, **noted(row, notes)} for row in measures.rows]


def _classes_of(
    project: Project, notes: Mapping[str, Mapping[int, ObjectNote]]
) -> tuple[ObjectClass, ...]:
    """Return the project's classes, and those that objects are of beside them."""
    path = project.out / FILE_NAME
    listed = read_classes(path) if path.exists() else ()
    used = [note.class_name for said in notes.values() for note in said.values()]
    return with_unknown(listed, used)


def _spacing(info: ImageInfo) -> tuple[tuple[float, ...] | None, str]:
    if info.pixel_size is None:
        return None, "pixel"
    steps = {"Y": info.pixel_size[0], "X": info.pixel_size[1], "Z": info.plane_distance or 1.0}
    return tuple(steps.get(axis, 1.0) for axis in info.axes), "micrometer"


def _pixels_of(item: ProjectItem, labels: Any) -> Any:  # noqa: ANN401  numpy, zarr or a lazy stack
    """Return the image for measuring intensities; None where it does not fit its labels."""
    try:
        pixels = open_image(item.path).levels[0]
    except SpaError:
        return None
    shape = tuple(labels.shape)
    return pixels if tuple(pixels.shape[: len(shape)]) == shape else None
