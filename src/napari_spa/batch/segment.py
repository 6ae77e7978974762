"""Segment one image: prompted objects, found objects, rough masks."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_spa.batch.auto import generate_masks
from napari_spa.batch.engine import (
    BatchEngine,
    Found,
    LabelPlanes,
    OpenedImage,
    found_active,
    plane_at,
)
from napari_spa.batch.task import (
    BatchRecipe,
    BatchTask,
    ImageResult,
    ObjectPrompt,
    ObjectResult,
    input_digest,
)
from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import InputError
from napari_spa.io.event_log import line_of
from napari_spa.io.files import atomic_path, file_sha256
from napari_spa.io.images import read_label_stack, write_labels
from napari_spa.io.projects.paths import labels_path, log_path
from napari_spa.refine.annotation.annotation import Annotation
from napari_spa.refine.annotation.objects import Part, Status
from napari_spa.refine.log.journal import Journal
from napari_spa.refine.session.acts import evidence_of
from napari_spa.refine.session.prompt_validation import deep_points

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.io.event_log import Entry


SAME = 0.5  # IoU with the rough mask, below which it is another thing
SURE = 0.25  # a result of more uncertainty is no better than the rough mask

_LARGEST = 0xFFFFFFFF
_WHITE = 255


_CLOSE = 0.8  # an object that was found without prompts is doubtful from this share of the limit on


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: how many share a sum decides its last digits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def segment_image(
    task: BatchTask, recipe: BatchRecipe, engine: BatchEngine, out: Path
) -> ImageResult:
    """Find the objects of an image and write its labels and its decision log, the log last.

    The folder in which ``out`` is has to be there.  The same task, recipe, model and device give
    the same bytes, in any process and beside any number of workers.
    """
    digest = ""
    try:
        digest = input_digest(task)
        image = OpenedImage.open(task)
        limit = _doubtful_from(recipe)
        written = _Written(image, engine, limit)
        for found in _find(task, recipe, engine, image):
            written.add(found)
    except (InputError, MemoryError) as error:
        problem = str(error)
        if isinstance(error, MemoryError):
            problem = (
                f"{task.name} does not fit into memory with its labels; "
                "cut it, or give objects on fewer slices."
            )
        return ImageResult(task.name, "failed", input_sha256=digest, problem=problem)
    outputs = written.save(out)
    objects = tuple(sorted(written.objects, key=lambda one: (one.number, one.index)))
    problem = " ".join(image.notes)
    doubtful = bool(problem) or not objects
    doubtful |= any(one.problem or one.uncertainty >= limit for one in objects)
    return ImageResult(task.name, "done", objects, doubtful, digest, outputs, problem)


def _doubtful_from(recipe: BatchRecipe) -> float:
    """Return from which uncertainty on a user should look.

    Of objects that were found without prompts the more doubtful ones are dropped already;
    what came close to it is to be looked at.
    """
    if recipe.source != "auto":
        return recipe.doubtful
    return min(recipe.doubtful, _CLOSE * recipe.auto.largest_uncertainty)


def _find(
    task: BatchTask, recipe: BatchRecipe, engine: BatchEngine, image: OpenedImage
) -> Iterator[Found]:
    if recipe.source == "prompts":
        return find_prompted(task.prompts, engine, image)
    if recipe.source == "masks":
        return refine_masks(task.mask, engine, image)
    return generate_masks(recipe.auto, engine, image)


class _Written:
    """The objects of an image as they are written down, one after another."""

    def __init__(self, image: OpenedImage, engine: BatchEngine, doubtful: float) -> None:
        self._image, self._doubtful = image, doubtful
        self._labels = LabelPlanes(image.shape)
        self._annotation = Annotation(self._labels)
        self._records: list[Entry] = []
        # No time of day: two runs of one batch write the same bytes.
        self._journal = Journal(self._records, clock=lambda: 0.0)
        self._journal.begin(image.facts, engine.identity)
        self.objects: list[ObjectResult] = []

    def add(self, found: Found) -> None:
        """Give an object the pixels that no earlier one has."""
        number, plane, problem, area = found.number, found.plane, found.problem, 0
        if not problem and not found.mask.area:
            problem = "the mask is empty; point at another part of it."
        if not problem:
            status: Status = "review" if found.uncertainty >= self._doubtful else "propagated"
            decisions, source = found.decisions, found.source
            part = Part(plane, status, 1, found.uncertainty, decisions, source=source)
            evidence = evidence_of(decisions)
            kept = self._annotation.without_leftovers(number, plane, found.mask, evidence)
            try:
                self._annotation.commit(number, part, kept)
            except InputError:
                problem = "every pixel of it belongs to objects before it."
            else:
                self._journal.accept(number, part, found.mask, "protect")
                held = self._annotation.objects[number].on(plane)
                area = 0 if held is None else held.area
        uncertainty = 1.0 if problem else found.uncertainty
        self.objects.append(ObjectResult(number, plane.position, area, uncertainty, problem))

    def save(self, out: Path) -> tuple[tuple[str, str], ...]:
        """Write labels and then the log; return their places and digests."""
        labels, log = labels_path(out, self._image.name), log_path(out, self._image.name)
        highest, within = self._labels.highest, out.parent
        write_labels(labels, self._labels.array, self._image.info, highest=highest, within=within)
        self._journal.note("closed")
        with atomic_path(log, within=log.parent) as temporary:
            temporary.write_bytes(b"".join(line_of(each) + b"\n" for each in self._records))
        return tuple(
            (path.relative_to(out).as_posix(), file_sha256(path)) for path in (labels, log)
        )


def find_prompted(
    prompts: Sequence[ObjectPrompt], engine: BatchEngine, image: OpenedImage
) -> Iterator[Found]:
    """Find the object of each prompt, plane by plane."""
    placed: list[tuple[Plane, ObjectPrompt]] = []
    for prompt in sorted(prompts, key=lambda one: (one.index, one.number)):
        try:
            placed.append((image.plane(prompt.index), prompt))
        except InputError as error:
            yield Found(prompt.number, plane_at(prompt.index), problem=str(error))
    for plane, here in groupby(placed, key=lambda pair: pair[0]):
        source = engine.show(image.levels, plane, image.info.pixel_side)
        for _, prompt in here:
            try:
                engine.session.start(prompt.points, prompt.labels)
            except InputError as error:
                yield Found(prompt.number, plane, problem=str(error))
            else:
                yield found_active(engine.session, prompt.number, plane, source)


def refine_masks(path: Path | None, engine: BatchEngine, image: OpenedImage) -> Iterator[Found]:
    """Refine the objects of a label image, each on each of its planes."""
    labels = _read(path, image)
    for plane in image.planes():
        here = objects_on(labels[plane.position])
        if not here:
            continue
        source = engine.show(image.levels, plane, image.info.pixel_side)
        for number, mask in here:
            yield refine_mask(number, mask, engine, plane, source)


def refine_mask(
    number: int, mask: LocalMask, engine: BatchEngine, plane: Plane, source: Mapping[str, Any]
) -> Found:
    """Refine one object, not empty, on the plane shown; without decisions where it stays."""
    session = engine.session
    session.start(deep_points(mask), mask=mask, view=session.view_of(mask))
    found = found_active(session, number, plane, source)
    agreement = found.mask.iou(mask)
    if agreement >= SAME and found.uncertainty <= SURE:
        return found
    return Found(number, plane, mask, max(found.uncertainty, 1 - agreement))


def objects_on(labels: NDArray[np.integer]) -> list[tuple[int, LocalMask]]:
    """Return the number and pixels of each object of a plane of labels, ``(H, W)``; 0 is none."""
    numbers, dense = np.unique(labels, return_inverse=True)
    boxes = ndimage.find_objects(dense.reshape(labels.shape) + 1)
    objects = []
    for number, box in zip(numbers.tolist(), boxes, strict=True):
        if number and box is not None:
            rows, columns = box
            region = Region(
                rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start
            )
            objects.append((int(number), LocalMask(region, labels[box] == number)))
    return objects


def _read(path: Path | None, image: OpenedImage) -> NDArray[np.integer]:
    """Read the labels and check their numbers."""
    if path is None:
        raise InputError(f"there is no mask for {image.name}; put one of the same name there.")
    labels = read_label_stack(path, image.shape)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > _LARGEST:
        raise InputError(f"{path} holds the labels {low} to {high}; they must be 0 or more.")
    if not high:
        raise InputError(f"{path} is empty; draw where the objects are, roughly.")
    alone = high == _WHITE or (high == 1 and labels.ndim == 2)
    if alone and not ((labels > 0) & (labels < high)).any():
        return _parts(labels)
    return labels


def _parts(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Give each connected part a number; those of a stack reach over its planes."""
    parts = np.empty(labels.shape, dtype=np.int32)
    ndimage.label(labels, output=parts)
    return parts
