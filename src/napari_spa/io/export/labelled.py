"""The objects of an image, wherever they come from, as the writers of all formats take them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import SpaError
from napari_spa.io.images import ImageFile, ImageInfo, open_image, read_label_stack
from napari_spa.io.projects.classes import ObjectClass, ObjectNote, class_values, noted, read_notes
from napari_spa.io.projects.paths import labels_path, log_path, notes_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_spa.io.projects.project import Project, ProjectItem

    Progress = Callable[[float, str], None]
    Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """The objects of an image."""

    name: str  # what its files are called after
    labels: ImageFile  # 0 is background, other numbers are objects; of the axes of its info
    notes: Mapping[int, ObjectNote] = field(default_factory=dict)
    source: Path | None = None  # the image's file, for where its voxels lie in space
    pixels: Any = None  # the image, for intensities; None where they are not wanted
    log: Path | None = None
    # Size of a pixel along each axis of the labels, where micrometres are not meant.
    spacing: tuple[float, ...] | None = None
    unit: str = "pixel"
    file_name: str = ""  # of the image, for programs that look for it; the name by default

    def planes(self) -> Iterator[tuple[tuple[int, ...], NDArray[np.integer]]]:
        """Yield the index of each plane along the axes before rows and columns, and its labels."""
        stack = self.labels.levels[0]
        for index in np.ndindex(*stack.shape[:-2]):
            yield index, np.asarray(stack[index])

    def as_classes(self, classes: Sequence[ObjectClass]) -> ImageFile:
        """Return the number of each pixel's class; 0 for background and what is of no class."""
        values = class_values(classes)
        numbers = {n: values.get(note.class_name, 0) for n, note in self.notes.items()}
        semantic = np.zeros(self.labels.levels[0].shape, dtype=np.uint8)
        for index, plane in self.planes():
            found, where = np.unique(plane, return_inverse=True)
            of = np.array([numbers.get(n, 0) for n in found.tolist()], dtype=np.uint8)
            semantic[index] = of[where].reshape(plane.shape)
        return ImageFile(self.labels.path, (semantic,), self.labels.info)

    def tables(self, progress: Progress | None = None) -> dict[str, tuple[list[str], list[Row]]]:
        """Measure the objects: names of columns and rows of the tables ``objects`` and ``slices``.

        A single plane has no table of slices.
        """
        from napari_spa.core.measures import measure_objects

        info = self.labels.info
        unit = "pixel" if info.pixel_size is None else "micrometer"
        measures = measure_objects(
            self.labels.levels[0],
            axes=info.axes,
            spacing=self.spacing or _spacing(info),
            unit=self.unit if self.spacing is not None else unit,
            intensity=self.pixels,
            progress=progress,
        )
        said = ["class", "name"] if self.notes else []
        every = [column for column in measures.columns if column != "level"]
        left_out = {"objects": {"slice_z"}, "slices": {"slices", "volume"}}
        tables = {}
        for table, level in (("objects", "object"), ("slices", "slice")):
            columns = [*said, *(c for c in every if c not in left_out[table])]
            rows = [noted(row, self.notes) for row in measures.rows if row["level"] == level]
            kept = [{name: row[name] for name in columns if name in row} for row in rows]
            tables[table] = (columns, kept)
        if len(info.axes) == 2:
            del tables["slices"]
        return tables


def of_item(project: Project, item: ProjectItem) -> Labelled:
    """Return the objects of an image of a project."""
    labels = open_image(labels_path(project.out, item.name))
    return Labelled(
        item.name,
        labels,
        read_notes(notes_path(project.out, item.name)),
        item.path,
        _pixels_of(item.path, labels.levels[0]),
        log_path(project.out, item.name),
    )


def of_file(path: Path, image: Path | None) -> Labelled:
    """Return the objects of a label image; ``image`` is what they were drawn on."""
    labels = open_image(path)
    stack = read_label_stack(path, labels.shape)
    info = labels.info if image is None else open_image(image).info
    if len(info.axes) != stack.ndim:  # the labels have no colours or channels
        info = labels.info
    pixels = None if image is None else _pixels_of(image, stack)
    name = (image or path).name
    return Labelled(name, ImageFile(path, (stack,), info), {}, image or path, pixels)


def _spacing(info: ImageInfo) -> tuple[float, ...] | None:
    if info.pixel_size is None:
        return None
    steps = {"Y": info.pixel_size[0], "X": info.pixel_size[1], "Z": info.plane_distance or 1.0}
    return tuple(steps.get(axis, 1.0) for axis in info.axes)


def _pixels_of(path: Path, labels: Any) -> Any:  # noqa: ANN401  numpy, zarr or a lazy stack
    """Return the image for measuring intensities; None where it does not fit its labels."""
    try:
        pixels = open_image(path).levels[0]
    except SpaError:
        return None
    shape = tuple(labels.shape)
    return pixels if tuple(pixels.shape[: len(shape)]) == shape else None
