"""The model behind a batch, loaded once in a process, the image that it looks at, what it finds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.plane import Plane
from napari_spa.core.types import BoolArray, LocalMask, Region
from napari_spa.errors import ImageWarning, InputError
from napari_spa.io.images import ImageFile, open_image
from napari_spa.io.models.load import LoadedModel, load_model
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine.log.journal import ImageFacts
from napari_spa.refine.log.replay import logged_plane
from napari_spa.refine.session.session import RefinementSession

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_spa.batch.task import BatchRecipe, BatchTask
    from napari_spa.refine.session.acts import Decision

_MOST_BYTES = 2**32  # labels of more than this are not held in memory


class LabelPlanes:
    """A surface for an `Annotation`, and a stack to write."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype = shape, np.dtype(np.uint32)
        self.largest = int(np.iinfo(self.dtype).max)
        self.highest = 0
        self._planes: dict[tuple[int, ...], NDArray[np.uint32]] = {}

    def __getitem__(self, index: Any, /) -> NDArray[np.uint32]:  # noqa: ANN401  as of arrays
        """Return a plane of a stack; the caller must not write to it."""
        position = tuple(int(i) for i in index) if isinstance(index, tuple) else (int(index),)
        known = self._planes.get(position)
        if known is not None:
            return known
        return np.broadcast_to(np.zeros((), np.uint32), self.shape[-2:])

    @property
    def array(self) -> Any:  # noqa: ANN401  an array or like one
        """The labels as they are written: one plane as an array, a stack as itself."""
        return self if len(self.shape) > 2 else np.asarray(self[()])

    def read(self, plane: Plane, region: Region) -> NDArray[np.integer]:
        """Return a copy of the labels in a region."""
        return np.array(self[plane.position][region.slices])

    def write(
        self, plane: Plane, region: Region, pixels: BoolArray, values: NDArray[np.integer]
    ) -> None:
        """Give pixels the values; ``MemoryError`` where planes with objects do not fit in."""
        position = plane.position
        if position not in self._planes:
            size = 4 * self.shape[-2] * self.shape[-1]
            if size * (len(self._planes) + 1) > _MOST_BYTES:
                raise MemoryError("labels of so many planes")
            self._planes[position] = np.zeros(self.shape[-2:], dtype=np.uint32)
        self._planes[position][region.slices][pixels] = values
        if values.size:
            self.highest = max(self.highest, int(values.max()))


@dataclass(frozen=True, slots=True, eq=False)
class OpenedImage(ImageFile):
    """An image or stack that is read plane by plane."""

    name: str = ""  # of the task
    middle: int | None = None  # as in the task

    @classmethod
    def open(cls, task: BatchTask) -> OpenedImage:
        """Open the image of a task."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImageWarning)  # the notes are in the result
            image = open_image(task.path)
        return cls(image.path, image.levels, image.info, image.notes, task.name, task.middle)

    @property
    def facts(self) -> ImageFacts:
        """What a log says of it; its place on this machine is no part of the results."""
        dtype = str(np.dtype(self.levels[0].dtype))
        return ImageFacts(self.name, self.shape, dtype, self.name)

    def plane(self, index: tuple[int, ...]) -> Plane:
        """Return the plane of a slice."""
        sizes = self.shape[:-2]
        if not sizes and index == (0,):
            index = ()
        if not index and all(size == 1 for size in sizes):
            index = (0,) * len(sizes)
        if len(index) != len(sizes):
            raise InputError(_slice_sentence(sizes))
        for position, size in zip(index, sizes, strict=True):
            if not 0 <= position < size:
                raise InputError(f"there is no slice {position}; there are 0 to {size - 1}.")
        return plane_at(index)

    def planes(self) -> Iterator[Plane]:
        """Go through all planes in order, or through those of the middle."""
        indices = list(np.ndindex(*self.shape[:-2]))
        wanted = len(indices) if self.middle is None else min(self.middle, len(indices))
        first = (len(indices) - wanted) // 2
        yield from map(plane_at, indices[first : first + wanted])


def plane_at(index: tuple[int, ...]) -> Plane:
    """Return the plane of a slice; rows and columns are the last axes."""
    return Plane((len(index), len(index) + 1), (*index, 0, 0))


def _slice_sentence(sizes: tuple[int, ...]) -> str:
    if not sizes:
        return "the image is no stack; leave the slice out."
    extent = " x ".join(map(str, sizes))
    example = ",".join(str(size // 2) for size in sizes)
    return f"the image is a stack of {extent} slices; say which one, as slice {example}."


class BatchEngine:
    """Model, profile and session of a batch; for one thread at a time."""

    def __init__(self, recipe: BatchRecipe, model: LoadedModel | None = None) -> None:
        self.recipe = recipe
        self.model = model or load_model(recipe.model, device=recipe.device)
        self.identity, self.device = self.model.identity, self.model.device
        profile = None if recipe.profile is None else PreferenceProfile.load(recipe.profile)
        self.session: RefinementSession = RefinementSession(self.model, profile, seed=recipe.seed)

    def show(
        self, levels: Sequence[Any], plane: Plane, pixel_size: float | None = None
    ) -> dict[str, Any]:
        """Set a plane as the session's image, looked at as its replay will."""
        look: dict[str, Any] = {"channels": _colours(levels[0], plane), "axis": None}
        self.session.set_image(logged_plane(levels, plane, look), pixel_size=pixel_size)
        sampler = self.session.sampler
        look["limits"] = sampler.intensity.logged
        return {"image": sampler.fingerprint, "look": look}


def _colours(array: Any, plane: Plane) -> tuple[int, ...] | None:  # noqa: ANN401  any array
    """Return the colours that count: an alpha channel does not."""
    coloured = len(array.shape) > len(plane.index) and array.shape[-1] > 2
    return (0, 1, 2) if coloured else None


_NOTHING = LocalMask(Region(0, 0, 0, 0), np.zeros((0, 0), dtype=bool))


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """An object on a plane, before it is written among the others."""

    number: int  # its label
    plane: Plane  # where
    mask: LocalMask = _NOTHING  # its pixels; none with a problem
    uncertainty: float = 1.0  # in [0, 1]
    # from which the mask can be computed again; without the time, which is no result
    decisions: tuple[Decision, ...] = ()
    # how the plane was looked at, for the log
    source: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""  # why there is no mask, in a sentence


def found_active(
    session: RefinementSession, number: int, plane: Plane, source: Mapping[str, Any]
) -> Found:
    """Return the object that a session shows."""
    proposal, timeline = session.proposal, session.timeline
    if proposal is None or timeline is None:
        return Found(number, plane, problem="nothing was found.")
    mask = LocalMask.crop(proposal.local_mask, proposal.region)
    decisions = tuple(replace(decision, time=0.0) for decision in timeline.state.decisions)
    return Found(number, plane, mask, float(proposal.uncertainty), decisions, source)
