"""The objects of one image: numbers, pixels on their planes, and what can be taken back.

No toolkit and no disk: the pixels live in a :class:`Surface`, which is an array in a
script and a napari layer in the plugin, so both give the same labels, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import BoolArray
    from napari_spa.refine.state import Decision

Overlap = Literal["protect", "replace"]
"""Whether earlier objects keep their pixels, or the new object takes them."""

Status = Literal["accepted", "propagated", "review", "edited"]

CHANGES_KEPT = 50
"""So many acts can be taken back; the changes of a group are one act."""
_FEW_LABELS = 2**20
"""Up to this number it is quick, and no waste, to have a counter for each."""


class Surface(Protocol):
    """Where labels are written: pixels of planes of an image."""

    def read(self, plane: Plane, region: Region) -> NDArray[np.integer]:
        """Return a copy of the labels in a region, (region.height, region.width)."""
        ...

    def write(
        self, plane: Plane, region: Region, pixels: BoolArray, values: NDArray[np.integer]
    ) -> None:
        """Give the pixels of a region that are true the values, one for each of them."""
        ...


class ArraySurface:
    """Labels in an array.

    Parameters
    ----------
    array : ndarray
        Of the image's dimensions without colours; integers; written in place.
    """

    def __init__(self, array: NDArray[np.integer]) -> None:
        self.array = array

    def read(self, plane: Plane, region: Region) -> NDArray[np.integer]:
        """Return a copy of the labels in a region."""
        return np.array(self.array[plane.region(region)])

    def write(
        self, plane: Plane, region: Region, pixels: BoolArray, values: NDArray[np.integer]
    ) -> None:
        """Give the pixels of a region that are true the values."""
        self.array[plane.region(region)][pixels] = values


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """An object's outline on one plane.

    Attributes
    ----------
    plane : Plane
        Which plane.
    region : Region
        Bounding box of its pixels.
    area : int
        Number of pixels it has.
    rounds : int
        Rounds it took.
    uncertainty : float
        In [0, 1], of the round that was accepted.
    status : {"accepted", "propagated", "review", "edited"}
        How it came about; ``edited`` when a person painted on it since.
    decisions : tuple of Decision
        What led to it, from which it can be had again; empty for what was painted.
    """

    plane: Plane
    region: Region
    area: int
    rounds: int
    uncertainty: float
    status: Status
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedObject:
    """One object, over one plane or many.

    Attributes
    ----------
    number : int
        Its label.
    parts : tuple of Part
        In the order of their planes.
    """

    number: int
    parts: tuple[Part, ...]

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


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Pixels that changed in one region of one plane.

    Attributes
    ----------
    plane : Plane
        Which plane.
    pixels : LocalMask
        Those that changed.
    before, after : ndarray of shape (n,)
        Their labels, in row-major order.
    """

    plane: Plane
    pixels: LocalMask
    before: NDArray[np.integer]
    after: NDArray[np.integer]

    @property
    def reverse(self) -> Patch:
        """What takes it back."""
        return Patch(self.plane, self.pixels, self.after, self.before)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One act on the objects: what it did to pixels and to the table.

    Attributes
    ----------
    act : str
        In words, for a menu: "accept object 3".
    patches : tuple of Patch
        In the order they were written.
    before, after : mapping of int to AnnotatedObject
        The objects.
    group : int or None
        Changes of one group, in a row, are taken back together.
    """

    act: str
    patches: tuple[Patch, ...]
    before: Mapping[int, AnnotatedObject]
    after: Mapping[int, AnnotatedObject]
    group: int | None = None


class Annotation:
    """The objects of one image, and the acts on them; each can be taken back.

    Parameters
    ----------
    surface : Surface
        Where the labels are.
    first_number : int
        The next object's number: above all labels that are there already.
    """

    def __init__(self, surface: Surface, *, first_number: int = 1) -> None:
        self._surface = surface
        self._objects: Mapping[int, AnnotatedObject] = MappingProxyType({})
        self._next = first_number
        self._done: list[Change] = []
        self._undone: list[Change] = []

    # ---------------------------------------------------------------- what it is now

    @property
    def objects(self) -> Mapping[int, AnnotatedObject]:
        """All objects by number; an immutable snapshot."""
        return self._objects

    @property
    def next_number(self) -> int:
        """The number of the object to come."""
        return self._next

    @property
    def last_change(self) -> Change | None:
        """What :meth:`undo` takes back."""
        return self._done[-1] if self._done else None

    @property
    def last_undone(self) -> Change | None:
        """What :meth:`redo` does again."""
        return self._undone[-1] if self._undone else None

    def move_to(self, surface: Surface) -> None:
        """Go on with another surface that holds the same labels.

        Parameters
        ----------
        surface : Surface
            The other one.
        """
        self._surface = surface

    def pixels(self, number: int, plane: Plane) -> LocalMask | None:
        """Return an object's pixels on a plane as they are now, painting included.

        Parameters
        ----------
        number : int
            Of the object.
        plane : Plane
            Which plane.

        Returns
        -------
        LocalMask or None
            None where it has none.
        """
        held = self._objects.get(number)
        part = None if held is None else held.on(plane)
        if part is None:
            return None
        mask = LocalMask.crop(self._surface.read(plane, part.region) == number, part.region)
        return mask if mask.area else None

    # ---------------------------------------------------------------- what one can do

    def commit(
        self,
        number: int,
        part: Part,
        mask: LocalMask,
        *,
        overlap: Overlap = "protect",
        group: int | None = None,
    ) -> Change:
        """Write an object's outline on a plane; what it had there is replaced.

        Parameters
        ----------
        number : int
            Of a new object or one there is.
        part : Part
            Plane, rounds, uncertainty, status and decisions; region and area are counted.
        mask : LocalMask
            Its pixels.
        overlap : {"protect", "replace"}
            What becomes of pixels that are another object's.
        group : int or None
            Changes of one group, in a row, are taken back together.

        Returns
        -------
        Change

        Raises
        ------
        InputError
            When no pixel is left for it: all are protected, or the mask is empty.  When
            the labels' type does not hold the number.
        """
        patch, kept = self.outline(number, part.plane, mask, overlap=overlap)
        if not kept.area:
            raise InputError(
                "the mask is empty; click on the object again."
                if not mask.area
                else "every pixel belongs to earlier objects; choose 'replace' to take them."
            )
        objects = self._with_part(number, replace(part, region=kept.region, area=kept.area))
        for other in set(np.unique(patch.before).tolist()) - {0, number}:
            objects = _without_pixels(objects, other, patch)
        self._next = max(self._next, number + 1)
        return self._do(f"accept object {number}", (patch,), objects, group)

    def outline(
        self, number: int, plane: Plane, mask: LocalMask, *, overlap: Overlap = "protect"
    ) -> tuple[Patch, LocalMask]:
        """Say what :meth:`commit` would write, without writing it.

        Parameters
        ----------
        number : int
            Of a new object or one there is.
        plane : Plane
            Where.
        mask : LocalMask
            Its pixels.
        overlap : {"protect", "replace"}
            What becomes of pixels that are another object's.

        Returns
        -------
        patch : Patch
            The pixels that would change.
        kept : LocalMask
            The pixels that the object would have.

        Raises
        ------
        InputError
            When the labels' type does not hold the number.
        """
        old = self.pixels(number, plane)
        region = _union(mask.region, None if old is None else old.region)
        before = self._surface.read(plane, region)
        largest = np.iinfo(before.dtype).max
        if number > largest:
            raise InputError(f"these labels hold objects up to number {largest}, not {number}.")
        mine = before == number
        wanted = mask.within(region)
        if overlap == "protect":
            wanted &= mine | (before == 0)
        after = np.where(wanted, number, np.where(mine, 0, before)).astype(before.dtype)
        return _difference(plane, region, before, after), LocalMask.crop(wanted, region)

    def apply(self, patch: Patch) -> None:
        """Write a patch where the pixels are still what it was made from; no change of ours.

        Parameters
        ----------
        patch : Patch
            Of :meth:`outline`, or its reverse: a preview and its end.
        """
        region = patch.pixels.region
        now = self._surface.read(patch.plane, region)
        still = now[patch.pixels.pixels] == patch.before
        pixels = patch.pixels.pixels.copy()
        pixels[pixels] = still
        if still.any():
            self._surface.write(patch.plane, region, pixels, patch.after[still])

    def remove(self, number: int, plane: Plane | None = None) -> Change:
        """Take an object away, from one plane or from all.

        Parameters
        ----------
        number : int
            Of the object.
        plane : Plane or None
            Only from this plane.

        Returns
        -------
        Change

        Raises
        ------
        InputError
            When there is no such object.
        """
        held = self._objects.get(number)
        if held is None or (plane is not None and held.on(plane) is None):
            where = "" if plane is None else " on this slice"
            raise InputError(f"there is no object {number}{where}.")
        patches = []
        for part in held.parts:
            mask = self.pixels(number, part.plane) if plane in (None, part.plane) else None
            if mask is not None:
                before = self._surface.read(part.plane, mask.region)
                after = np.where(mask.pixels, 0, before).astype(before.dtype)
                patches.append(_difference(part.plane, mask.region, before, after))
        left = tuple(p for p in held.parts if plane is not None and p.plane != plane)
        objects = {n: o for n, o in self._objects.items() if n != number}
        if left:
            objects[number] = AnnotatedObject(number, left)
        return self._do(f"delete object {number}", tuple(patches), objects)

    def undo(self) -> Change:
        """Take the last act back; pixels that were painted over since stay as painted.

        Returns
        -------
        Change

        Raises
        ------
        InputError
            When there is nothing to take back.
        """
        if not self._done:
            raise InputError("there is nothing to undo.")
        while True:
            change = self._done.pop()
            for patch in reversed(change.patches):
                self.apply(patch.reverse)
            self._objects = change.before
            self._undone.append(change)
            if not self._done or change.group is None or self._done[-1].group != change.group:
                return change

    def redo(self) -> Change:
        """Do the act again that was taken back last.

        Returns
        -------
        Change

        Raises
        ------
        InputError
            When there is nothing to do again.
        """
        if not self._undone:
            raise InputError("there is nothing to redo.")
        while True:
            change = self._undone.pop()
            for patch in change.patches:
                self.apply(patch)
            self._objects = change.after
            self._done.append(change)
            if not self._undone or change.group is None or self._undone[-1].group != change.group:
                return change

    def recount(self, plane: Plane, labels: NDArray[np.integer]) -> bool:
        """Count the objects of a plane anew after a person painted on it.

        Parameters
        ----------
        plane : Plane
            Which plane.
        labels : ndarray of shape (H, W)
            Its labels now.

        Returns
        -------
        bool
            Whether any object changed.  Objects that were painted by hand, and hold a
            number of none, become objects too; those with no pixel left are gone.
        """
        parts = [part for held in self._objects.values() for part in held.parts]
        if parts and not any(part.plane.axes == plane.axes for part in parts):
            return False  # seen across: pixels of planes that are counted elsewhere
        now = _counted(labels)
        held_here = {n: o.on(plane) for n, o in self._objects.items()}
        known = {n: part.area for n, part in held_here.items() if part is not None}
        if now == known:
            return False
        objects = dict(self._objects)
        for number in {n for n in {*now, *known} if now.get(n) != known.get(n)}:
            held, part = objects.pop(number, None), held_here.get(number)
            left = () if held is None else tuple(p for p in held.parts if p.plane != plane)
            if number in now:
                region = Region.bounding(labels == number)
                part = part or Part(plane, region, 0, 0, 0.0, "edited")
                part = replace(part, region=region, area=now[number], status="edited")
                left = (*left, part)
            if left:
                objects[number] = _ordered(number, left)
        self._objects = MappingProxyType(dict(sorted(objects.items())))
        self._next = max([self._next, *(n + 1 for n in now)])
        return True

    # ---------------------------------------------------------------- how it does it

    def _with_part(self, number: int, part: Part) -> dict[int, AnnotatedObject]:
        held = self._objects.get(number)
        others = () if held is None else tuple(p for p in held.parts if p.plane != part.plane)
        return {**self._objects, number: _ordered(number, (*others, part))}

    def _do(
        self,
        act: str,
        patches: tuple[Patch, ...],
        objects: Mapping[int, AnnotatedObject],
        group: int | None = None,
    ) -> Change:
        after = MappingProxyType(dict(sorted(objects.items())))
        change = Change(act, patches, self._objects, after, group)
        for patch in patches:
            self.apply(patch)
        self._objects = after
        self._done = _latest_acts([*self._done, change])
        self._undone.clear()
        return change


def _latest_acts(changes: list[Change]) -> list[Change]:
    """Return the changes of the latest acts, whole groups only."""
    acts, start = 0, len(changes)
    while start:
        group = changes[start - 1].group
        if start == len(changes) or group is None or group != changes[start].group:
            acts += 1
        if acts > CHANGES_KEPT:
            break
        start -= 1
    return changes[start:]


def _counted(labels: NDArray[np.integer]) -> dict[int, int]:
    """Return the number of pixels of each label."""
    if labels.size and labels.min() >= 0 and labels.max() <= _FEW_LABELS:
        counts = np.bincount(np.ravel(labels).astype(np.intp, copy=False))
        return {int(n): int(counts[n]) for n in np.flatnonzero(counts[1:]) + 1}
    found, areas = np.unique(labels, return_counts=True)
    return {int(n): int(area) for n, area in zip(found, areas, strict=True) if n > 0}


def _ordered(number: int, parts: tuple[Part, ...]) -> AnnotatedObject:
    return AnnotatedObject(number, tuple(sorted(parts, key=lambda part: part.plane.index)))


def _union(first: Region, second: Region | None) -> Region:
    if second is None or not second.height:
        return first
    if not first.height:
        return second
    top, left = min(first.row, second.row), min(first.column, second.column)
    bottom = max(first.row + first.height, second.row + second.height)
    right = max(first.column + first.width, second.column + second.width)
    return Region(top, left, bottom - top, right - left)


def _difference(
    plane: Plane, region: Region, before: NDArray[np.integer], after: NDArray[np.integer]
) -> Patch:
    changed = before != after
    pixels = LocalMask.crop(changed, region)
    return Patch(plane, pixels, before[changed], after[changed])


def _without_pixels(
    objects: dict[int, AnnotatedObject], number: int, patch: Patch
) -> dict[int, AnnotatedObject]:
    """Return the objects after one lost pixels to another."""
    held = objects.get(number)
    part = None if held is None else held.on(patch.plane)
    if held is None or part is None:
        return objects
    area = part.area - int((patch.before == number).sum())
    others = tuple(p for p in held.parts if p.plane != patch.plane)
    parts = (*others, replace(part, area=area)) if area > 0 else others
    objects = {n: o for n, o in objects.items() if n != number}
    if parts:
        objects[number] = _ordered(number, parts)
    return objects
