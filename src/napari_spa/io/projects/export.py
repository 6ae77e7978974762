"""Export a project for other programs."""

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
from napari_spa.io.files import atomic_path, write_table
from napari_spa.io.images import ImageInfo, open_image, write_labels
from napari_spa.io.projects.coco import CocoWriter
from napari_spa.io.projects.ome_zarr import need_zarr, planes_of, write_label_zarr
from napari_spa.io.projects.paths import (
    LOG_SUFFIX,
    check_no_way_out,
    exports_path,
    labels_path,
    log_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_spa.io.images import ImageFile
    from napari_spa.io.projects.ome_zarr import Colour
    from napari_spa.io.projects.project import Project, ProjectItem


KINDS: Mapping[str, str] = MappingProxyType(
    {
        "labels": "Labels, one TIFF for each image",
        "masks": "Binary masks, one TIFF for each object",
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
    export = _Export(project, frozenset(kinds), Path(folder), colour)
    items = [item for item in project.items if os.path.exists(labels_path(project.out, item.name))]
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
        self, project: Project, kinds: frozenset[str], folder: Path, colour: Colour | None
    ) -> None:
        self._project, self._kinds, self._folder = project, kinds, folder
        self._colour = colour
        self._coco = CocoWriter(project.source.name)
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
            if "ome-zarr" in self._kinds:
                there = self._place("ome-zarr", f"{item.name}.zarr")
                write_label_zarr(there, labels, self._colour)
                self.files += 1
            if "coco" in self._kinds:
                for index, plane in planes_of(labels):
                    self._coco.add(item.name, index, plane)
            if "measures" in self._kinds:
                self._measure(item, labels)
        log = log_path(self._project.out, item.name)
        if "logs" in self._kinds and os.path.exists(log):
            self._copy(log, self._place("logs", f"{item.name}{LOG_SUFFIX}"))

    def finish(self) -> None:
        """Write what was collected over all images."""
        if "coco" in self._kinds:
            with atomic_path(self._folder / "coco.json") as temporary:
                temporary.write_text(json.dumps(self._coco.content()) + "\n", encoding="utf-8")
            self.files += 1
        if "measures" in self._kinds:
            columns = ("image", *self._columns)
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

    def _measure(self, item: ProjectItem, labels: ImageFile) -> None:
        from napari_spa.core.measures import measure_objects

        info = labels.info
        spacing, unit = _spacing(info)
        pixels = labels.levels[0]
        measures = measure_objects(
            pixels, axes=info.axes, spacing=spacing, unit=unit, intensity=_pixels_of(item, pixels)
        )
        self._columns = tuple(dict.fromkeys([*self._columns, *measures.columns]))
        self._rows += [{"image": item.name, **row} for row in measures.rows]


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
