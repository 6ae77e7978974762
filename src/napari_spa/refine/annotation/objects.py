"""The objects of an image as values, what each act leaves of them, and which can be taken back."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_spa.core.types import LocalMask, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.io.models.registry import ModelIdentity
    from napari_spa.refine.session.acts import Decision


Status = Literal["accepted", "propagated", "review", "edited"]

_NOWHERE = Region(0, 0, 0, 0)
_FEW_LABELS = 2**20
"""Up to this number it is quick, and no waste, to have a counter for each."""
_ROWS = 256  # that are counted at once


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """An object's outline on one plane."""

    plane: Plane  # which plane
    status: Status  # how it came about; ``edited`` when a user painted on it since
    rounds: int = 0  # rounds it took
    uncertainty: float = 0.0  # in [0, 1], of the round that was accepted
    # What led to it, from which it can be computed again; empty for what was painted.
    decisions: tuple[Decision, ...] = ()
    # Bounding box and number of its pixels: of a part to be written, they are counted then.
    region: Region = _NOWHERE
    area: int = 0
    model: ModelIdentity | None = None  # which model the decisions were made with, if known
    # How the plane was looked at then (``image``, ``look``), as a log says it; empty if not known.
    source: Mapping[str, Any] = field(default_factory=dict)
    taken: tuple[str, int] | None = None  # over from a labels layer of this name, and which label

    @property
    def reopens_with(self) -> tuple[Decision, ...]:
        """The decisions that are played again; none of what was painted on: pixels say it all."""
        return () if self.status == "edited" else self.decisions


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedObject:
    """One object, over one plane or many."""

    number: int  # its label
    parts: tuple[Part, ...]  # in the order of their planes
    name: str = ""  # what the user calls it
    class_name: str = ""  # of which class it is; empty for none

    @property
    def area(self) -> int:
        """Number of its pixels on all planes."""
        return sum(part.area for part in self.parts)

    @property
    def rounds(self) -> int:
        """Rounds it took on all planes."""
        return sum(part.rounds for part in self.parts)

    @property
    def uncertainty(self) -> float:
        """Of its most doubtful plane."""
        return max((part.uncertainty for part in self.parts), default=0.0)

    @property
    def status(self) -> Status:
        """The one that asks most for a look."""
        found = {part.status for part in self.parts}
        order: tuple[Status, ...] = ("review", "edited", "propagated")
        return next((status for status in order if status in found), "accepted")

    def on(self, plane: Plane) -> Part | None:
        """Return its part on a plane."""
        return next((part for part in self.parts if part.plane == plane), None)


def with_part(
    objects: Mapping[int, AnnotatedObject], number: int, part: Part, *, class_name: str = ""
) -> dict[int, AnnotatedObject]:
    """Return the objects after one, new or not, got a part in place of what was there."""
    held = objects.get(number) or AnnotatedObject(number, (), class_name=class_name)
    return {**objects, number: _with(held, (*_elsewhere(held, part.plane), part))}


def without_part(
    objects: Mapping[int, AnnotatedObject], number: int, plane: Plane | None
) -> dict[int, AnnotatedObject]:
    """Return the objects after one was taken away, from one plane or from all."""
    return _with_parts(objects, number, () if plane is None else _elsewhere(objects[number], plane))


def without_pixels(
    objects: dict[int, AnnotatedObject], number: int, plane: Plane, lost: int
) -> dict[int, AnnotatedObject]:
    """Return the objects after one lost pixels to another."""
    held = objects.get(number)
    part = None if held is None else held.on(plane)
    if part is None:
        return objects
    others, area = _elsewhere(held, plane), part.area - lost
    parts = (*others, replace(part, area=area)) if area > 0 else others
    return _with_parts(objects, number, parts)


def joined(
    held: AnnotatedObject, others: Sequence[AnnotatedObject], masks: Mapping[Plane, LocalMask]
) -> AnnotatedObject:
    """Return an object after it took others' pixels; ``masks`` are what it has on each plane.

    What was merged cannot be computed again from decisions; a plane of its own alone can.
    """
    parts = []
    for plane, mask in masks.items():
        own, found = held.on(plane), [o.on(plane) for o in (held, *others)]
        there = [part for part in found if part is not None]
        if len(there) == 1 and own is not None:
            parts.append(own)
            continue
        rounds, unsure = sum(p.rounds for p in there), max(p.uncertainty for p in there)
        parts.append(Part(plane, "edited", rounds, unsure, (), mask.region, mask.area))
    return _with(held, tuple(part for part in parts if part.area))


def recounted(
    objects: Mapping[int, AnnotatedObject],
    plane: Plane,
    labels: NDArray[np.integer],
    *,
    region: Region | None = None,
    among: Collection[int] | None = None,
) -> dict[int, AnnotatedObject] | None:
    """Return the objects after a user painted on a plane, its labels (H, W); None: as before.

    The labels are of a region, if one is given; of some objects alone, ``among``, if said: those
    have to be in the region as a whole.
    """
    # Seen across: pixels of objects whose planes are all of other axes are counted on those.
    across = {n for n, o in objects.items() if all(p.plane.axes != plane.axes for p in o.parts)}
    if objects and len(across) == len(objects):
        return None
    now = {n: area for n, area in _counted(labels).items() if n not in across}
    held_here = {n: o.on(plane) for n, o in objects.items() if among is None or n in among}
    known = {n: part.area for n, part in held_here.items() if part is not None}
    if now == known:
        return None
    after = dict(objects)
    for number in {n for n in {*now, *known} if now.get(n) != known.get(n)}:
        held, part = after.pop(number, None), held_here.get(number)
        left = _elsewhere(held, plane)
        if number in now:
            part = part or Part(plane, "edited")
            there = LocalMask.crop(labels == number, region).region
            part = replace(part, region=there, area=now[number], status="edited")
            left = (*left, part)
        if left:
            after[number] = _with(held or AnnotatedObject(number, ()), left)
    return after


def recounted_near(
    objects: Mapping[int, AnnotatedObject],
    plane: Plane,
    labels: NDArray[np.integer],
    region: Region,
    read: Callable[[Plane, Region], NDArray[np.integer]],
) -> dict[int, AnnotatedObject] | None:
    """Return what :func:`recounted` does after painting in a region alone, whose labels these are.

    No more is read than the objects there take up.
    """
    parts = {n: part for n, o in objects.items() if (part := o.on(plane)) is not None}
    among = {n for n, part in parts.items() if part.region.common(region).height} | {
        *_counted(labels)
    }
    box = reduce(Region.with_all_of, (parts[n].region for n in among if n in parts), region)
    around = read(plane, box)
    around[~np.isin(around, list(among))] = 0
    return recounted(objects, plane, around, region=box, among=among)


def _with_parts(
    objects: Mapping[int, AnnotatedObject], number: int, parts: tuple[Part, ...]
) -> dict[int, AnnotatedObject]:
    """Return the objects after one has other parts; with none left it is gone."""
    after = {n: o for n, o in objects.items() if n != number}
    if parts:
        after[number] = _with(objects[number], parts)
    return after


def _elsewhere(held: AnnotatedObject | None, plane: Plane) -> tuple[Part, ...]:
    """Return an object's parts on all other planes."""
    return () if held is None else tuple(part for part in held.parts if part.plane != plane)


def _with(held: AnnotatedObject, parts: tuple[Part, ...]) -> AnnotatedObject:
    """Return an object with other parts, in the order of their planes."""
    return replace(held, parts=tuple(sorted(parts, key=lambda part: part.plane.index)))


def _counted(labels: NDArray[np.integer]) -> dict[int, int]:
    """Return the number of pixels of each label."""
    found: Counter[int] = Counter()
    for start in range(0, len(labels), _ROWS):  # so that little memory is taken
        rows = labels[start : start + _ROWS]
        if not rows.any():  # as on most planes, and soon seen
            continue
        if rows.min() >= 0 and rows.max() <= _FEW_LABELS:
            counts = np.bincount(np.ravel(rows).astype(np.intp, copy=False))
            numbers = np.flatnonzero(counts)
            counts = counts[numbers]
        else:
            numbers, counts = np.unique(rows, return_counts=True)
        found.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
    return {number: area for number, area in sorted(found.items()) if number > 0}


ChangeKind = Literal["accept", "delete", "describe", "keep", "merge", "split", "edit"]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Pixels that changed in one region of one plane."""

    plane: Plane
    pixels: LocalMask  # those that changed
    before: NDArray[np.integer]  # (n,), their labels, in row-major order
    after: NDArray[np.integer]

    @classmethod
    def between(
        cls, plane: Plane, region: Region, before: NDArray[np.integer], after: NDArray[np.integer]
    ) -> Patch:
        """Find what changed in a region; the labels before and after are of its extent."""
        changed = before != after
        pixels = LocalMask.crop(changed, region)
        return cls(plane, pixels, before[changed], after[changed])

    @property
    def reverse(self) -> Patch:
        """What takes it back."""
        return Patch(self.plane, self.pixels, self.after, self.before)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Change:
    """One act on the objects: what it did to pixels and to the table."""

    kind: ChangeKind  # what was done
    number: int  # to which object
    patches: tuple[Patch, ...]  # in the order they were written
    before: Mapping[int, AnnotatedObject]  # the objects
    after: Mapping[int, AnnotatedObject]  # the objects
    group: int | None = None  # changes of one group, in a row, are taken back together

    @property
    def act(self) -> str:
        """In words, for a menu: "accept object 3"."""
        verb: str = self.kind
        if verb == "describe":
            before, after = (each.get(self.number) for each in (self.before, self.after))
            renamed = before and after and before.name != after.name
            verb = "rename" if renamed else "classify"
        where = " on one slice" if verb == "delete" and self.number in self.after else ""
        return f"{verb} object {self.number}{where}"

    @property
    def accepted(self) -> Part | None:
        """The part of the object that was accepted; None where nothing was."""
        if self.kind != "accept" or not self.patches:
            return None
        held = self.after.get(self.number)
        return None if held is None else held.on(self.patches[0].plane)


def new_group() -> int:
    """Return what the changes of one group have in common; no earlier group has it."""
    return time.time_ns() // 1_000_000
