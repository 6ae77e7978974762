"""Plan a batch: the images of a folder, their prompts from a table, the outputs."""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from napari_spa.batch.task import BatchRecipe, BatchTask, ObjectPrompt
from napari_spa.core.presentation import first_of
from napari_spa.errors import DataError, InputError
from napari_spa.io.files import explained, read_small
from napari_spa.io.images import ImageEntry, list_images

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence


NEEDED = ("image", "object", "row", "col")
"""Columns that a table of prompts must have; ``label`` and ``slice`` may be there, too."""

_SEPARATORS = (";", "\t", ",")
_LARGEST = 0xFFFFFFFF
_WHOLE = re.compile(r"([+-]?\d{1,12})(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")

# Points and their labels, by the number of an object and its slice.
_Objects = dict[tuple[int, tuple[int, ...]], tuple[list[tuple[float, float]], list[int]]]


def read_prompts(path: Path) -> dict[str, tuple[ObjectPrompt, ...]]:
    """Read the prompts of a batch.

    The table has the columns ``image`` (file name with extension, or its path in the
    folder of images), ``object`` (a number from 1), ``row``, ``col``, and may have
    ``label`` (1 on the object, which is the default, or 0 on the background) and ``slice``
    (of a stack: ``5``, or ``0,5`` for two axes).  Lines with the same image, object and
    slice are the points of one object.  UTF-8, separated by commas, semicolons or tabs; in
    the latter two, numbers may have a decimal comma.  Other columns are left alone.
    """
    collected: dict[str, _Objects] = {}
    for line in _lines(path):
        objects = collected.setdefault(line.image(), {})
        number = line.whole("object", 1, _LARGEST, f"a whole number from 1 to {_LARGEST:,}")
        points, labels = objects.setdefault((number, line.slice()), ([], []))
        points.append((line.decimal("row"), line.decimal("col")))
        labels.append(line.whole("label", 0, 1, "1 (object) or 0 (background)", "1"))
    if not collected:
        raise InputError(f"{path} asks for nothing; add a line for each point on an object.")
    return {
        image: tuple(
            ObjectPrompt(number, tuple(points), tuple(labels), index)
            for (number, index), (points, labels) in sorted(objects.items())
        )
        for image, objects in collected.items()
    }


def _lines(path: Path) -> Iterator[_Line]:
    """Go through the lines that say something."""
    lines = re.split(r"\r\n|\n|\r", _text(path))
    first = next((n for n in range(len(lines)) if lines[n].strip()), None)
    if first is None:
        raise InputError(f"{path} is empty; it needs the columns {', '.join(NEEDED)}.")
    separator = next((s for s in _SEPARATORS if s in lines[first]), ",")
    reader = csv.reader(lines[first:], delimiter=separator)
    try:
        names = _names(path, next(reader))
        marks: set[str] = set()
        for cells in reader:
            if any(cell.strip() for cell in cells):
                named = dict(zip(names, cells, strict=False))
                yield _Line(path, first + reader.line_num, named, separator, marks)
    except csv.Error as error:
        where = first + reader.line_num
        raise InputError(f"{path}, line {where}: {error}; save the table as CSV again.") from error


def _text(path: Path) -> str:
    try:
        with explained("read", path, InputError):
            return read_small(path).decode("utf-8-sig")
    except DataError as error:
        raise InputError(str(error)) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8; save it as 'CSV UTF-8'.") from error


def _names(path: Path, header: list[str]) -> list[str]:
    """Return the names of the columns."""
    names = [name.strip().lower() for name in header]
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}; its first line must name the columns "
            f"{', '.join(NEEDED)}, and label and slice where they are needed."
        )
    for name in (*NEEDED, "label", "slice"):
        if names.count(name) > 1:
            raise InputError(f"{path} has the column {name} twice; leave one out.")
    return names


@dataclass(frozen=True, slots=True)
class _Line:
    """The cells of one line, and how to say what is wrong with one."""

    path: Path
    number: int
    cells: dict[str, str]  # by the name of their column
    separator: str
    marks: set[str]  # decimal marks seen in the file so far

    def cell(self, name: str) -> str:
        """Return what stands in a column; nothing where there is none."""
        return self.cells.get(name, "").strip()

    def image(self) -> str:
        """Read the name of the image."""
        name = self.cell("image").replace("\\", "/")
        while name.startswith("./"):
            name = name[2:]
        if not name:
            raise self._wrong("image", "the file name with its extension")
        return name

    def whole(self, name: str, least: int, most: int, wanted: str, default: str = "") -> int:
        """Read a whole number, as programs write them."""
        match = _WHOLE.fullmatch(self.cell(name) or default)
        if match is None or not least <= int(match[1]) <= most:
            raise self._wrong(name, wanted)
        return int(match[1])

    def slice(self) -> tuple[int, ...]:
        """Read the slice of a stack."""
        cell = self.cell("slice")
        found = [_WHOLE.fullmatch(part.strip()) for part in cell.split(",")] if cell else []
        numbers = tuple(-1 if match is None else int(match[1]) for match in found)
        if min(numbers, default=0) < 0:
            raise self._wrong("slice", "a whole number from 0, or several as 0,5")
        return numbers

    def decimal(self, name: str) -> float:
        """Read a coordinate."""
        cell = self.cell(name)
        mark = next((m for m in ".," if m in cell), "")
        # Only where commas do not separate cells can one be meant as a decimal mark.
        text = cell.replace(",", ".") if mark == "," and self.separator != "," else cell
        if _NUMBER.fullmatch(text) is None or not math.isfinite(float(text)):
            raise self._wrong(name, "a number in pixels, as 12.5")
        self.marks.add(mark)
        if {".", ","} <= self.marks:
            raise self._wrong(name, "all numbers with the same decimal mark, a point or a comma")
        return float(text)

    def _wrong(self, name: str, wanted: str) -> InputError:
        cell = self.cell(name)
        held = f"is {cell[:40]!r}" if cell else "is empty"
        return InputError(f"{self.path}, line {self.number}: {name} {held}; write {wanted}.")


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What a batch is to do."""

    source: Path  # folders of images and of results; absolute
    out: Path
    recipe: BatchRecipe  # what is the same for all images
    tasks: tuple[BatchTask, ...]  # the images, in natural order
    notes: tuple[str, ...] = ()  # what a user should know before: a sentence each
    absent: bool = False  # whether prompts are of images that are not there
    # Images that are done again by another recipe, where no user changed what there is.
    again: frozenset[str] = frozenset()


def make_plan(
    source: Path,
    out: Path,
    recipe: BatchRecipe,
    objects: Path | None = None,
    *,
    names: Collection[str] | None = None,
    recursive: bool = False,
) -> BatchPlan:
    """Match the images of a folder with their prompts or masks.

    Objects come from where the recipe's ``source`` says, and lie at ``objects``: a table of
    prompts, or a folder of masks.
    """
    if (objects is None) != (recipe.source == "auto"):
        raise InputError("say where objects come from: a table of prompts, masks, or auto.")
    masks = objects if recipe.source == "masks" else None
    source, out = _check_folders(source, out, masks)
    entries = list_images(source, recursive=recursive)
    if not entries:
        raise InputError(f"there is no image in {source}.")
    notes: list[str] = []
    absent = False
    if objects is None:
        tasks = [BatchTask(entry.name, entry.path) for entry in entries]
    elif masks is None:
        tasks, absent = _with_prompts(entries, objects, notes)
    else:
        tasks = _with_masks(entries, masks, notes, recursive=recursive)
    if names is not None:
        tasks = [task for task in tasks if task.name in set(names)]
    if not tasks:
        raise InputError(notes[0] if notes else f"none of the images is in {source}.")
    return BatchPlan(source, out, recipe, tuple(tasks), tuple(notes), absent)


def _check_folders(source: Path, out: Path, masks: Path | None) -> tuple[Path, Path]:
    if not source.is_dir():
        raise InputError(f"{source} is not a folder.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose a folder for the results.")
    if _inside(out, source):
        raise InputError(f"the results would lie in {source}; choose a folder beside it.")
    if masks is not None and not masks.is_dir():
        raise InputError(f"{masks} is not a folder.")
    if masks is not None and (_inside(out, masks) or _inside(masks, out)):
        raise InputError(f"the results would lie with the masks in {masks}; choose another folder.")
    return source.resolve(), out.resolve()


def _inside(inner: Path, outer: Path) -> bool:
    """Tell whether a folder is another or in it, by any name it may go by."""
    inner, outer = inner.resolve(), outer.resolve()
    return any(
        folder == outer or (folder.exists() and outer.exists() and folder.samefile(outer))
        for folder in (inner, *inner.parents)
    )


def _with_prompts(
    entries: Sequence[ImageEntry], table: Path, notes: list[str]
) -> tuple[list[BatchTask], bool]:
    """Return what is to do, and whether the table asks for more."""
    prompts = read_prompts(table)
    there = {entry.name for entry in entries}
    alike = _by_stem(there)
    missing = [
        f"{name} (is it {alike[name][0]}?)" if len(alike[name]) == 1 else name
        for name in prompts
        if name not in there
    ]
    if missing:
        notes.append(f"{table.name} asks for what is not there: {first_of(missing)}.")
    without = [entry.name for entry in entries if entry.name not in prompts]
    if without:
        notes.append(f"{table.name} asks nothing of: {first_of(without)}.")
    tasks = [
        BatchTask(entry.name, entry.path, prompts=prompts[entry.name])
        for entry in entries
        if entry.name in prompts
    ]
    return tasks, bool(missing)


def _with_masks(
    entries: Sequence[ImageEntry], folder: Path, notes: list[str], *, recursive: bool
) -> list[BatchTask]:
    masks = {entry.name: entry.path for entry in list_images(folder, recursive=recursive)}
    exactly = {
        entry.name: name
        for entry in entries
        for name in (f"{entry.name}.tif", entry.name)
        if name in masks
    }
    used = set(exactly.values())
    alike, images = _by_stem(masks.keys() - used), _by_stem(entry.name for entry in entries)
    tasks, without, unclear = [], [], []
    for entry in entries:
        stem = _stem(entry.name)
        found = [exactly[entry.name]] if entry.name in exactly else alike[stem]
        used.update(found)
        if not found:
            without.append(entry.name)
        elif entry.name not in exactly and len(found) + len(images[stem]) > 2:
            unclear.append(entry.name)
        else:
            tasks.append(BatchTask(entry.name, entry.path, mask=masks[found[0]].resolve()))
    if unclear:
        notes.append(
            f"which mask belongs to {first_of(unclear)} is not clear; name it as the image, with "
            "the extension."
        )
    if without:
        notes.append(f"{folder.name} has no mask for: {first_of(without)}.")
    loose = [name for name in masks if name not in used]
    if loose:
        notes.append(f"{folder.name} has masks of no image: {first_of(loose)}.")
    return tasks


def _stem(name: str) -> str:
    """Return a name without its extension, double ones included."""
    path = PurePosixPath(name)
    for ending in (".ome.tif", ".ome.tiff", ".ome.zarr", ".nii.gz"):
        if path.name.lower().endswith(ending):
            return str(path.with_name(path.name[: -len(ending)] or path.name))
    return str(path.with_suffix(""))


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[_stem(name)].append(name)
    return found
