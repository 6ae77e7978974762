"""The objects of one image: numbers, pixels on their planes, and what can be taken back.

No toolkit and no disk: the pixels live in a :class:`Surface`, which is an array in a
script and a napari layer in the plugin, so both give the same labels, bit for bit.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
import scipy

from napari_spa.core.types import BoolArray, LocalMask, Region
from napari_spa.errors import InputError
from napari_spa.io.projects.classes import ObjectNote
from napari_spa.refine.annotation.objects import (
    AnnotatedObject,
    Change,
    ChangeKind,
    Part,
    Patch,
    joined,
    recounted,
    recounted_near,
    with_part,
    without_part,
    without_pixels,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_spa.core.obedience import Evidence
    from napari_spa.core.plane import Plane

Overlap = Literal["protect", "replace"]
"""Whether earlier objects keep their pixels, or the new object takes them."""

_CRUMB = 0.1

CHANGES_KEPT = 50
"""So many acts can be taken back; the changes of a group are one act."""


class Surface(Protocol):
    """Where labels are written: pixels of planes of an image."""

    @property
    def largest(self) -> int:
        """The largest label that can be written."""

    def read(self, plane: Plane, region: Region) -> NDArray[np.integer]:
        """Return a copy of the labels in a region, (region.height, region.width)."""

    def write(
        self, plane: Plane, region: Region, pixels: BoolArray, values: NDArray[np.integer]
    ) -> None:
        """Give the pixels of a region that are true the values, one for each of them."""


class ArraySurface:
    """Labels in an array of the image's dimensions without colours, written in place."""

    def __init__(self, array: NDArray[np.integer]) -> None:
        self.array = array

    @property
    def largest(self) -> int:
        """The largest label that can be written."""
        return int(np.iinfo(self.array.dtype).max)

    def read(self, plane: Plane, region: Region) -> NDArray[np.integer]:
        """Return a copy of the labels in a region."""
        return np.array(self.array[plane.region(region)])

    def write(
        self, plane: Plane, region: Region, pixels: BoolArray, values: NDArray[np.integer]
    ) -> None:
        """Give the pixels of a region that are true the values."""
        self.array[plane.region(region)][pixels] = values


class _Edit(NamedTuple):
    """What there was before a user began to edit a plane by hand."""

    plane: Plane
    labels: NDArray[np.integer]
    objects: Mapping[int, AnnotatedObject]


class Annotation:
    """The objects of one image, and the acts on them; each can be taken back."""

    def __init__(self, surface: Surface, *, first_number: int = 1) -> None:
        self._surface = surface
        self._objects: Mapping[int, AnnotatedObject] = MappingProxyType({})
        self._next = first_number
        # The latest acts, and those that were taken back: one change, or all of a group in a row.
        self._done: list[list[Change]] = []
        self._undone: list[list[Change]] = []
        self._edit: _Edit | None = None
        # By the name of a labels layer: a plane that was taken over from it, and the number that
        # each label got, whatever became of the object since.
        self.taken: dict[str, tuple[Plane, dict[int, int]]] = {}

    # ---------------------------------------------------------------- what it is now

    @property
    def objects(self) -> Mapping[int, AnnotatedObject]:
        """All objects by number; an immutable snapshot."""
        return self._objects

    @property
    def notes(self) -> dict[int, ObjectNote]:
        """What was said of objects: class and name of those that have any."""
        return {
            number: ObjectNote(one.name, one.class_name)
            for number, one in self._objects.items()
            if one.name or one.class_name
        }

    @property
    def next_number(self) -> int:
        """The number of the object to come."""
        if self._next <= self._surface.largest:
            return self._next
        # The largest number is in use, as an "ignore" value for one.
        used = self._objects
        return next((n for n in range(1, self._next) if n not in used), self._next)

    @property
    def last_change(self) -> Change | None:
        """What :meth:`undo` takes back."""
        return self._done[-1][-1] if self._done else None

    @property
    def last_undone(self) -> Change | None:
        """What :meth:`redo` does again."""
        return self._undone[-1][0] if self._undone else None

    def move_to(self, surface: Surface) -> None:
        """Go on with another surface that holds the same labels."""
        self._surface = surface

    def pixels(self, number: int, plane: Plane) -> LocalMask | None:
        """Return an object's pixels on a plane as they are now, painting included; or None."""
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
        class_name: str = "",
    ) -> Change:
        """Write an object's outline on a plane; what it had there is replaced.

        The part's region and area are counted from the mask.  Changes of one ``group``, in a row,
        are taken back together; ``class_name`` is of an object that is new, others keep theirs.
        ``InputError`` when no pixel is left for it, or the labels' type does not hold the number.
        """
        patch, kept = self.outline(number, part.plane, mask, overlap=overlap)
        if not kept.area:
            raise InputError(
                "the mask is empty; click on the object again."
                if not mask.area
                else "every pixel belongs to earlier objects; "
                "with Overlap: Replace earlier objects it takes them."
            )
        part = replace(part, region=kept.region, area=kept.area)
        objects = with_part(self._objects, number, part, class_name=class_name)
        for other in set(np.unique(patch.before).tolist()) - {0, number}:
            lost = int((patch.before == other).sum())
            objects = without_pixels(objects, other, part.plane, lost)
        if part.taken is not None:
            layer, label = part.taken
            numbers = self.taken.get(layer, (part.plane, {}))[1]
            numbers[label] = number
            self.taken[layer] = part.plane, numbers
        self._next = max(self._next, number + 1)
        return self._do("accept", number, (patch,), objects, group)

    def outline(
        self, number: int, plane: Plane, mask: LocalMask, *, overlap: Overlap = "protect"
    ) -> tuple[Patch, LocalMask]:
        """Say what :meth:`commit` would write, without writing it.

        Returns the pixels that would change, and those that the object would have.  ``InputError``
        when the labels' type does not hold the number.
        """
        old = self.pixels(number, plane)
        region = mask.region if old is None else mask.region.with_all_of(old.region)
        before = self._surface.read(plane, region)
        largest = self._surface.largest
        if number > largest:
            raise InputError(f"these labels hold objects up to number {largest}, not {number}.")
        mine = before == number
        wanted = mask.within(region)
        if overlap == "protect":
            wanted &= mine | (before == 0)
        # First of all: a number that the type does not hold would become another one.
        wide = before.astype(np.promote_types(before.dtype, np.min_scalar_type(number)))
        after = np.where(wanted, number, np.where(mine, 0, wide))
        return Patch.between(plane, region, before, after), LocalMask.crop(wanted, region)

    def without_leftovers(
        self, number: int, plane: Plane, mask: LocalMask, said: Evidence
    ) -> LocalMask:
        """Return a mask without what would be left of it in crumbs around protected objects.

        A crumb is a part under a tenth of the largest one that earlier objects cut off; one in
        which ``said`` asks for a pixel stays.
        """
        _, kept = self.outline(number, plane, mask)
        if kept.area in (0, mask.area):
            return mask
        left = kept.within(mask.region)
        parts, count = scipy.ndimage.label(left, np.ones((3, 3)))
        if count == 1:
            return mask
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        crumbs = sizes < _CRUMB * sizes.max()
        beside = scipy.ndimage.binary_dilation(mask.pixels & ~left)  # what others have
        crumbs &= np.isin(np.arange(len(sizes)), parts[beside])
        here = said.shifted(mask.region.row, mask.region.column).inside(left.shape)
        crumbs[parts[tuple(here.places[here.labels].T)]] = crumbs[0] = False
        return LocalMask.crop(mask.pixels & ~crumbs[parts], mask.region)

    def apply(self, patch: Patch) -> None:
        """Write a patch where the pixels are still what it was made from; no change of ours."""
        region = patch.pixels.region
        now = self._surface.read(patch.plane, region)
        still = now[patch.pixels.pixels] == patch.before
        pixels = patch.pixels.pixels.copy()
        pixels[pixels] = still
        if still.any():
            self._surface.write(patch.plane, region, pixels, patch.after[still])

    def remove(
        self, number: int, plane: Plane | None = None, *, group: int | None = None
    ) -> Change:
        """Take an object away, from one plane or from all."""
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
                patches.append(Patch.between(part.plane, mask.region, before, after))
        objects = without_part(self._objects, number, plane)
        return self._do("delete", number, tuple(patches), objects, group)

    def keep(self, number: int, *, group: int | None = None) -> Change:
        """Accept what was found of an object, or propagated, and is to be reviewed."""
        held = self._held(number)
        parts = tuple(
            replace(part, status="accepted") if part.status == "review" else part
            for part in held.parts
        )
        objects = {**self._objects, number: replace(held, parts=parts)}
        return self._do("keep", number, (), objects, group)

    def describe(
        self,
        number: int,
        *,
        name: str | None = None,
        class_name: str | None = None,
        group: int | None = None,
    ) -> Change:
        """Give an object a name, a class, or both; what is None stays as it is."""
        held = self._held(number)
        held = replace(
            held,
            name=held.name if name is None else name,
            class_name=held.class_name if class_name is None else class_name,
        )
        return self._do("describe", number, (), {**self._objects, number: held}, group)

    def merge(self, number: int, others: Sequence[int]) -> Change:
        """Give an object the pixels of others, on all planes; they are gone."""
        others = [other for other in dict.fromkeys(others) if other != number]
        if not others:
            raise InputError("choose another object to merge with.")
        held, taken = self._held(number), [self._held(other) for other in others]
        patches, areas = [], {}
        for plane in dict.fromkeys(part.plane for one in (held, *taken) for part in one.parts):
            parts = [part for one in (held, *taken) if (part := one.on(plane)) is not None]
            region = reduce(Region.with_all_of, (part.region for part in parts))
            before = self._surface.read(plane, region)
            after = np.where(np.isin(before, others), number, before).astype(before.dtype)
            areas[plane] = LocalMask.crop(after == number, region)
            patches.append(Patch.between(plane, region, before, after))
        kept = {n: o for n, o in self._objects.items() if n not in others}
        kept[number] = joined(held, taken, areas)
        changed = tuple(patch for patch in patches if patch.pixels.area)
        return self._do("merge", number, changed, kept)

    def divide(self, number: int, plane: Plane, pieces: Mapping[int, LocalMask]) -> Change:
        """Make pieces of an object on a plane objects of their own, by their new numbers."""
        held, objects = self._held(number), dict(self._objects)
        mine = self.pixels(number, plane)
        if mine is None or not pieces:
            raise InputError(f"object {number} has nothing to divide on this slice.")
        if max(pieces) > self._surface.largest or any(n in self._objects for n in pieces):
            raise InputError(f"object {number} cannot be divided: the numbers are used up.")
        before = self._surface.read(plane, mine.region)
        after = before.astype(np.promote_types(before.dtype, np.min_scalar_type(max(pieces))))
        for new, piece in pieces.items():
            after[piece.within(mine.region) & (before == number)] = new
        patch = Patch.between(plane, mine.region, before, after)
        whole = np.where(mine.pixels, after, 0)
        for one in (number, *pieces):
            mask = LocalMask.crop(whole == one, mine.region)
            if not mask.area:
                raise InputError(f"the line leaves nothing of object {one}; draw it elsewhere.")
            part = Part(plane, "edited", region=mask.region, area=mask.area)
            objects = with_part(objects, one, part, class_name=held.class_name)
        self._next = max(self._next, *(new + 1 for new in pieces))
        return self._do("split", number, (patch,), objects)

    def begin_edit(self, plane: Plane, labels: NDArray[np.integer]) -> None:
        """Take what is painted on a plane until :meth:`end_edit` for one act.

        Its labels, (H, W), are those of now and must not change any more.
        """
        self._edit = _Edit(plane, labels, self._objects)

    def end_edit(self, number: int, labels: NDArray[np.integer]) -> Change | None:
        """Make one act of what was painted, and counted, since :meth:`begin_edit`; or None."""
        edit, self._edit = self._edit, None
        if edit is None:
            return None
        region = Region(0, 0, *labels.shape)
        before = edit.labels.astype(np.promote_types(edit.labels.dtype, labels.dtype))
        patch = Patch.between(edit.plane, region, before, labels)
        if not patch.pixels.area:
            self._objects = edit.objects  # painted and taken back
            return None
        change = Change("edit", number, (patch,), edit.objects, self._objects)
        self._add(change)
        return change

    def undo(self) -> Change:
        """Take the last act back; pixels that were painted over since stay as painted."""
        if not self._done:
            raise InputError("there is nothing to undo.")
        self._undone.append(self._done.pop())
        for change in reversed(self._undone[-1]):
            for patch in reversed(change.patches):
                self.apply(patch.reverse)
            self._objects = change.before
        return change

    def redo(self) -> Change:
        """Do the act again that was taken back last."""
        if not self._undone:
            raise InputError("there is nothing to redo.")
        self._done.append(self._undone.pop())
        for change in self._done[-1]:
            for patch in change.patches:
                self.apply(patch)
            self._objects = change.after
        return change

    def recount(
        self, plane: Plane, labels: NDArray[np.integer], region: Region | None = None
    ) -> bool:
        """Count the objects of a plane, of labels (H, W), again after a user painted on it.

        If they painted in a region alone, the labels are of it, and the objects there are counted.
        Tells whether any object changed.  Objects that were painted by hand, and hold a number of
        none, become objects too; those with no pixel left are gone.
        """
        if region is None:
            return self.take(recounted(self._objects, plane, labels))
        return self.take(recounted_near(self._objects, plane, labels, region, self._surface.read))

    def take(self, objects: Mapping[int, AnnotatedObject] | None) -> bool:
        """Take what counting all of :attr:`objects` again gave; tell whether that is anything."""
        if objects is None:
            return False
        self._objects = MappingProxyType(dict(sorted(objects.items())))
        self._next = max([self._next, *(number + 1 for number in objects)])
        return True

    def _held(self, number: int) -> AnnotatedObject:
        held = self._objects.get(number)
        if held is None:
            raise InputError(f"there is no object {number}.")
        return held

    def _do(
        self,
        kind: ChangeKind,
        number: int,
        patches: tuple[Patch, ...],
        objects: Mapping[int, AnnotatedObject],
        group: int | None = None,
    ) -> Change:
        after = MappingProxyType(dict(sorted(objects.items())))
        change = Change(kind, number, patches, self._objects, after, group)
        for patch in patches:
            self.apply(patch)
        self._objects = after
        self._add(change)
        return change

    def _add(self, change: Change) -> None:
        """Remember a change; what was taken back before cannot be done again."""
        if self._done and change.group is not None and change.group == self._done[-1][-1].group:
            self._done[-1].append(change)
        else:
            self._done = [*self._done, [change]][-CHANGES_KEPT:]
        self._undone.clear()
