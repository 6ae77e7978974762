"""Objects written for other programs: label images, outlines, meshes, COCO, tables.

Front: `FORMATS`, and an `ExportRequest` given to `export_image` (the objects of one image) or to
`export_project` (of all images of a project).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.errors import Cancelled, DataError, InputError, SpaError
from napari_spa.io.export.shapes import CocoWriter, write_geojson, write_rois
from napari_spa.io.export.volumes import (
    Labelled,
    of_item,
    write_label_zarr,
    write_meshes,
    write_nifti,
)
from napari_spa.io.files import atomic_path, check_there, write_table, write_text
from napari_spa.io.images import ImageInfo, write_labels, write_picture
from napari_spa.io.projects.classes import (
    FILE_NAME,
    ObjectClass,
    ObjectNote,
    class_values,
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
    notes_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_spa.io.export.volumes import Colour, Progress, Row
    from napari_spa.io.projects.project import Project


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A form in which objects can be written."""

    title: str  # what it is called
    about: str  # what it is good for
    suffix: str  # of its files; empty for a folder of files
    word: str  # what follows the image's name in its files' names
    module: str = ""  # what has to be installed for it


FORMATS: Mapping[str, ExportFormat] = MappingProxyType(
    {
        "labels": ExportFormat(
            "TIFF", "Opens everywhere; keeps the size of pixels.", ".tif", "labels"
        ),
        "png": ExportFormat(
            "PNG", "Numbers up to 65,535; a stack is a folder of pictures.", ".png", "labels"
        ),
        "nifti": ExportFormat(
            "NIfTI",
            "Medical volumes, in the image's own space where it has one.",
            ".nii.gz",
            "labels",
            "nibabel",
        ),
        "ome-zarr": ExportFormat(
            "OME-Zarr",
            "Large images: a pyramid, with colours and classes.",
            ".zarr",
            "labels",
            "zarr",
        ),
        "masks": ExportFormat("Masks, one TIFF for each object", "Values 0 and 255.", "", "masks"),
        "coco": ExportFormat(
            "COCO", "Instances with classes, to train other networks.", ".json", "coco"
        ),
        "rois": ExportFormat(
            "ImageJ ROIs (zip)",
            "For the ROI manager of ImageJ and Fiji.",
            ".zip",
            "rois",
            "roifile",
        ),
        "geojson": ExportFormat(
            "GeoJSON outlines", "For QuPath and other viewers of slides.", ".geojson", "outlines"
        ),
        "stl": ExportFormat(
            "STL meshes, one file for each 3D object", "Surfaces to look at or print.", "", "meshes"
        ),
        "tables": ExportFormat(
            "Tables of measures (CSV)",
            "Areas, diameters, intensities: one table of objects, and one of slices for stacks.",
            ".csv",
            "objects",
        ),
        "logs": ExportFormat(
            "Decision log", "Every click and choice, to be replayed.", LOG_SUFFIX, ""
        ),
    }
)
"""What can be written."""

NUMBERED = ("labels", "png", "nifti", "ome-zarr")
"""Formats that hold a number for each pixel: of its object, or of its class."""

VALUES = ("objects", "classes")
NO_LOG = "An image without a decision log (was autosave off?) has none in the export."
NO_CLASS = "No object has a class yet, so no file of classes was written."
NO_OBJECT = "no image of {} has an object yet; annotate one first."
_PNG_MOST = 0xFFFF


def format_problem(name: str) -> str:
    """Say why a format cannot be written here; empty when it can."""
    module = FORMATS[name].module
    if not module or importlib.util.find_spec(module) is not None:
        return ""
    return (
        f"{FORMATS[name].title} needs {module}; install it with: pip install 'napari-spa[formats]'."
    )


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What shall be written, and where to."""

    folder: Path
    formats: tuple[str, ...] = ("labels", "tables", "logs")  # keys of ``FORMATS``
    # What the numbers of pixels are in the formats of ``NUMBERED``: "objects", "classes", or both.
    values: tuple[str, ...] = ("objects",)
    replace: bool = False  # whether files that are there already may be replaced

    @property
    def by_class(self) -> bool:
        """Whether pixels are to have the numbers of classes somewhere."""
        return "classes" in self.values and not set(NUMBERED).isdisjoint(self.formats)

    def check(self) -> None:
        """Refuse what cannot be done."""
        unknown = sorted(set(self.formats) - FORMATS.keys())
        if unknown or not self.formats:
            raise InputError(f"choose what to export: {', '.join(FORMATS)}.")
        if not self.values or set(self.values) - set(VALUES):
            raise InputError(
                "pixels hold the numbers of objects, of classes, or one file for each."
            )
        problem = next(filter(None, map(format_problem, self.formats)), "")
        if problem:
            raise InputError(problem)


@dataclass(slots=True)
class ExportReport:
    """What was exported."""

    images: int = 0  # images of which everything was written
    files: int = 0  # files that were written; an OME-Zarr folder counts as one
    # Name of each image that could not be exported in some form, and why.
    problems: list[tuple[str, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of the files, in the folder
    left_out: str = ""  # what was wanted and there is nothing of, in sentences


def export_project(
    project: Project, request: ExportRequest, progress: Progress, *, colour: Colour | None = None
) -> ExportReport:
    """Write the objects of all images of a project that have some.

    ``progress`` is called with the share done and the image's name, and may raise ``Cancelled``;
    ``colour`` gives an object's red, green, blue and opacity, 0 to 255, by its number.  What cannot
    be written as it is wanted, or is there already, is an ``InputError``, and so is a project in
    which none has an object; a folder that cannot be written to is a ``DataError``; a single image
    that fails is one of the report's problems.
    """
    request.check()
    _check_outside(request.folder, project)
    items = [item for item in project.items if os.path.exists(labels_path(project.out, item.name))]
    if not items:
        raise InputError(NO_OBJECT.format(project.source))
    names = {item.name: item for item in items}
    files = _Files(request, None)
    files.claim(list(names))
    notes = [read_notes(notes_path(project.out, name)) for name in names]
    path = project.out / FILE_NAME
    listed = read_classes(path) if path.exists() else ()
    used = [note.class_name for said in notes for note in said.values()]
    export = _Export(files, listed, used, colour, project.source.name)
    for number, (name, item) in enumerate(names.items()):
        progress(number / len(names), name)
        check_there(project.out)  # an export into it would make it
        try:
            image = of_item(project, item)
        except DataError:
            raise
        except SpaError as error:
            export.report.problems.append((name, str(error)))
        else:
            export.take(image, partial(_part_of, progress, number, len(names), name))
    return export.finish()


def _part_of(progress: Progress, number: int, count: int, words: str, share: float, _: str) -> None:
    """Report the share of one of several parts as that of the whole."""
    progress((number + share) / count, words)


def export_image(
    image: Labelled,
    request: ExportRequest,
    progress: Progress,
    *,
    classes: Sequence[ObjectClass] = (),
    colour: Colour | None = None,
) -> ExportReport:
    """Write the objects of one image, all files side by side; see :func:`export_project`."""
    request.check()
    files = _Files(request, image.name)
    files.claim([image.name])
    used = [note.class_name for note in image.notes.values()]
    export = _Export(files, classes, used, colour, image.name)
    export.take(image, progress)
    return export.finish()


def existing(request: ExportRequest, names: Sequence[str], *, single: bool) -> list[Path]:
    """Return the files that an export, or one of a ``single`` image, would replace."""
    return _Files(request, names[0] if single and names else None).there(names)


def free_name(request: ExportRequest, name: str) -> str:
    """Return a name for a single image of which no file is there yet."""
    return next(free for free in _numbered(name) if not existing(request, [free], single=True))


def free_folder(request: ExportRequest, names: Sequence[str]) -> Path:
    """Return a folder beside the one of a project's export where nothing is there yet."""
    folders = map(request.folder.with_name, _numbered(request.folder.name))
    return next(f for f in folders if not existing(replace(request, folder=f), names, single=False))


def _numbered(name: str) -> Iterator[str]:
    return chain([name], (f"{name}-{number}" for number in count(2)))


def _check_outside(folder: Path, project: Project) -> None:
    """Refuse a folder among the images, unless it belongs to the project."""
    paths = folder, exports_path(project.out), project.source
    place, own, source = (Path(os.path.realpath(path)) for path in paths)
    if place.is_relative_to(source) and not place.is_relative_to(own):
        raise InputError(f"{folder} is among the images; choose a folder outside {source}.")


@dataclass(frozen=True)
class _Files:
    """Where files go: side by side for a single image, in a folder for each format for many."""

    request: ExportRequest
    single: str | None

    def of(self, name: str, kind: str, value: str = "objects", *, folder: bool = False) -> Path:
        """Return the file, or folder of files, of an image in a format."""
        known, below = FORMATS[kind], self.request.folder
        suffix = "" if folder else known.suffix
        if self.single is not None:
            word = "classes" if value == "classes" else known.word
            return below / (f"{name}-{word}{suffix}" if word else f"{name}{suffix}")
        place = kind if value == "objects" else "classes" if kind == "labels" else f"classes-{kind}"
        return below / place / f"{name}{suffix}"

    def joint(self, file: str) -> Path:
        """Return the file that holds something of all images."""
        return self.request.folder / (file if self.single is None else f"{self.single}-{file}")

    def there(self, names: Sequence[str]) -> list[Path]:
        """Return which of the files are there already."""
        request, paths = self.request, []
        for kind in request.formats:
            if kind == "coco":
                paths.append(self.joint("coco.json"))
            elif kind == "tables":
                paths += [self.joint("objects.csv"), self.joint("slices.csv")]
            else:
                values = request.values if kind in NUMBERED else ("objects",)
                paths += [self.of(name, kind, value) for name in names for value in values]
                if kind == "png":  # of stacks
                    paths += [self.of(n, kind, v, folder=True) for n in names for v in values]
        if request.by_class:
            paths.append(self.joint("classes.json"))
        return [path for path in paths if os.path.lexists(path)]

    def claim(self, names: Sequence[str]) -> None:
        """Refuse to go on where files are there that may not be replaced."""
        there = [] if self.request.replace else self.there(names)
        if there:
            more = f" and {len(there) - 1} more files" if len(there) > 1 else ""
            raise InputError(
                f"{there[0]}{more} would be replaced; allow that, or choose another folder."
            )


class _Export:
    """Write image by image what is written so, and collect the rest."""

    def __init__(
        self,
        files: _Files,
        classes: Sequence[ObjectClass],
        used: Sequence[str],
        colour: Colour | None,
        title: str,
    ) -> None:
        self._files, self._request, self._colour = files, files.request, colour
        self._classes = with_unknown(classes, used)
        self._coco = CocoWriter(title, [one.name for one in self._classes])
        self._tables: dict[str, tuple[list[str], list[Row]]] = {}
        self.report = ExportReport()
        if files.request.by_class and not any(used):
            values = tuple(value for value in files.request.values if value != "classes")
            self._request = replace(files.request, values=values)
            self.report.left_out = NO_CLASS

    def take(self, image: Labelled, progress: Progress) -> None:
        """Export one image; what cannot be written in one form is written in the others."""
        before, formats = len(self.report.problems), self._request.formats
        for number, kind in enumerate(formats):
            watch = partial(_part_of, progress, number, len(formats), FORMATS[kind].title)
            watch(0.0, "")
            try:
                self._write(replace(image, watch=watch), kind)
            except (Cancelled, DataError):
                raise
            except SpaError as error:
                self.report.problems.append((image.name, str(error)))
        self.report.images += len(self.report.problems) == before

    def finish(self) -> ExportReport:
        """Write what was collected over all images."""
        request, files = self._request, self._files
        if request.by_class:
            write_classes(self._note(files.joint("classes.json")), self._classes)
        if "coco" in request.formats:
            content = json.dumps(self._coco.content()) + "\n"
            write_text(self._note(files.joint("coco.json")), content)
        for table, (columns, rows) in self._tables.items():
            write_table(self._note(files.joint(f"{table}.csv")), rows, columns=tuple(columns))
        return self.report

    def _note(self, path: Path) -> Path:
        """Count a file; it lies in the folder, whatever links are in it."""
        self.report.files += 1
        self.report.names.append(path.relative_to(self._request.folder).as_posix())
        return check_no_way_out(self._request.folder, path)

    def _place(self, image: Labelled, kind: str, value: str = "objects") -> Path:
        """Return an image's file in a format, where no link leads out of the folder."""
        return check_no_way_out(self._request.folder, self._files.of(image.name, kind, value))

    def _emptied(self, folder: Path, pattern: str) -> Path:
        """Return a folder of files without what an earlier export left in it."""
        check_no_way_out(self._request.folder, folder / pattern)
        for path in folder.glob(pattern):
            path.unlink()
        return folder

    def _write(self, image: Labelled, kind: str) -> None:
        """Write an image in one form, or collect what a form holds of it."""
        if kind in NUMBERED:
            for value in self._request.values:
                labels = image.labels if value == "objects" else image.as_classes(self._classes)
                self._write_numbers(replace(image, labels=labels), kind, value)
        elif kind == "masks":
            self._write_masks(image)
        elif kind == "stl":
            folder = self._emptied(self._files.of(image.name, kind), "object*.stl")
            for path in write_meshes(folder, image):
                self._note(path)
        elif kind == "coco":
            for index, plane in image.planes():
                self._coco.add(image.file_name or image.name, index, plane, image.notes)
        elif kind == "tables":
            self._collect_tables(image)
        elif kind == "logs":
            if image.log is not None and os.path.exists(image.log):
                self._copy(image.log, self._place(image, kind))
            elif NO_LOG not in self.report.left_out:
                self.report.left_out = f"{self.report.left_out} {NO_LOG}".lstrip()
        else:
            path = self._place(image, kind)
            write = write_rois if kind == "rois" else write_geojson
            write(path, image, self._classes)
            self._note(path)

    def _write_numbers(self, image: Labelled, kind: str, value: str) -> None:
        path = self._place(image, kind, value)
        if kind == "png":
            self._write_png(image, value)
        elif kind == "labels":
            self._write_tiff(path, image)
        elif kind == "nifti":
            write_nifti(path, image)
            self._note(path)
        else:
            self._write_zarr(path, image, value)
            self._note(path)

    def _copy(self, source: Path, path: Path) -> None:
        with atomic_path(path) as temporary:
            shutil.copyfile(source, temporary)
        self._note(path)

    def _write_tiff(self, path: Path, image: Labelled) -> None:
        known, stack = image.labels.path, image.labels.levels[0]
        if known.suffix == ".tif" and known.is_file() and not isinstance(stack, np.ndarray):
            self._copy(known, path)
            return
        whole = np.asarray(stack) if len(stack.shape) == 2 else stack
        write_labels(path, whole, image.labels.info, progress=image.watch)
        self._note(path)

    def _write_png(self, image: Labelled, value: str) -> None:
        """Write an image as a picture, and a stack as a folder of them."""
        name, flat = image.name, len(image.labels.levels[0].shape) == 2
        place = self._files.of(name, "png", value, folder=not flat)
        if not flat:
            self._emptied(place, "plane*.png")
        for index, plane in image.planes():
            most = int(plane.max(initial=0))
            if most > _PNG_MOST:
                raise InputError(
                    f"PNG holds numbers up to {_PNG_MOST}, and {name} has {most}; choose TIFF."
                )
            where = "".join(f"-{number:04}" for number in index)
            path = place if flat else place / f"plane{where}.png"
            write_picture(path, plane.astype(np.uint8 if most <= 0xFF else np.uint16))
            self._note(path)

    def _write_zarr(self, path: Path, image: Labelled, value: str) -> None:
        if value == "objects":
            write_label_zarr(path, image, self._colour)
            return
        values = class_values(self._classes)
        colours = {values[one.name]: (*one.rgb, 255) for one in self._classes}
        notes = {number: ObjectNote("", name) for name, number in values.items()}
        write_label_zarr(path, replace(image, notes=notes), colours.__getitem__)

    def _write_masks(self, image: Labelled) -> None:
        """Write each object on each of its planes as 0 and 255."""
        info = ImageInfo("YX", image.labels.info.shape, image.labels.info.pixel_size)
        folder = self._emptied(self._files.of(image.name, "masks"), "object*.tif")
        for index, plane in image.planes():
            where = "".join(f"-{number:04}" for number in index)
            for number in (n for n in np.unique(plane).tolist() if n):
                if image.watch is not None and not index:
                    image.watch(0.0, "")
                path = folder / f"object{number:05}{where}.tif"
                write_labels(path, np.where(plane == number, 255, 0).astype(np.uint8), info)
                self._note(path)

    def _collect_tables(self, image: Labelled) -> None:
        for table, (columns, rows) in image.tables().items():
            known, before = self._tables.get(table, ([], []))
            named = [{"image": image.name, **row} for row in rows]
            merged = list(dict.fromkeys([*known, "image", *columns]))
            first = [c for c in ("image", "class", "name") if c in merged]
            self._tables[table] = ([*first, *(c for c in merged if c not in first)], before + named)
