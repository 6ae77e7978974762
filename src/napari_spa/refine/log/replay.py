"""Play a log again, and tell whether the same masks come of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_spa.core.presentation import first_of
from napari_spa.core.types import LocalMask
from napari_spa.errors import Cancelled, DataError, SpaError
from napari_spa.io.event_log import Record, read_records
from napari_spa.io.images import open_image
from napari_spa.io.projects.paths import labels_path, log_path
from napari_spa.refine.annotation.annotation import ArraySurface, Surface
from napari_spa.refine.engine.config import Progress, silent
from napari_spa.refine.engine.image_plane import ImagePlane, PlaneReader
from napari_spa.refine.log.journal import Accepted, LoggedSession, image_facts, read_journal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_spa.core.plane import Plane
    from napari_spa.io.projects.project import Project
    from napari_spa.refine.session.session import RefinementSession

Outcome = Literal["same", "differs", "failed", "painted"]


@dataclass(frozen=True, slots=True)
class ReplayedPart:
    """What came of an object on one plane."""

    number: int  # label of the object
    plane: Plane  # where
    # Whether its mask is the logged one bit for bit, could not be computed again, or was painted by
    # hand and so is the log's.
    outcome: Outcome
    pixels: int  # number of pixels in which the masks differ
    area: int  # number of its pixels in the labels
    edited: bool  # whether a user painted on it afterwards; its labels are the log's then
    reason: str = ""  # why it could not be computed again


class Replayer:
    """Play the decisions behind each accepted mask on the image."""

    def __init__(
        self,
        levels: Sequence[Any],
        session_of: Callable[[Mapping[str, Any]], RefinementSession],
        *,
        total: int = 1,
        progress: Progress = silent,
    ) -> None:
        self._levels, self._session_of = levels, session_of
        self._total, self._progress, self._done = total, progress, 0
        self._looked: tuple[object, ...] = ()
        # By identity of the decisions, which are kept with the verdict, so it is unique.
        self._verdicts: dict[int, tuple[object, Outcome, int, str]] = {}

    def mask_of(self, accepted: Accepted) -> LocalMask:
        """Return an accepted mask as it comes now, or the log's where it cannot be had."""
        self._progress(min(1.0, self._done / max(1, self._total)), f"object {accepted.number}")
        self._done += 1
        mask, decisions = accepted.mask, accepted.decisions
        try:
            mask = self._play(accepted)
        except Cancelled:
            raise
        except SpaError as error:
            self._verdicts[id(decisions)] = decisions, "failed", 0, str(error)
        else:
            pixels = differing_pixels(mask, accepted.mask)
            self._verdicts[id(decisions)] = decisions, "differs" if pixels else "same", pixels, ""
        return mask if mask.area else accepted.mask

    def parts(self, session: LoggedSession) -> tuple[ReplayedPart, ...]:
        """Return what came of each object that is there in the end, on each of its planes."""
        found = []
        for number, held in session.annotation.objects.items():
            for part in held.parts:
                _, outcome, pixels, why = self._verdicts.get(
                    id(part.decisions), (None, "painted", 0, "")
                )
                edited = part.status == "edited" and outcome != "painted"
                found.append(
                    ReplayedPart(number, part.plane, outcome, pixels, part.area, edited, why)
                )
        return tuple(found)

    def _play(self, accepted: Accepted) -> LocalMask:
        session = self._session_of(accepted.model)
        look = accepted.source.get("look")
        looked = session, accepted.plane, repr(look)
        if looked != self._looked:
            self._looked = ()
            session.set_image(logged_plane(self._levels, accepted.plane, look))
            self._looked = looked
        logged = accepted.source.get("image")
        if logged is not None and logged != session.sampler.fingerprint:
            raise DataError("the image has other pixels here than the log was made on.")
        proposal = session.restore(accepted.decisions)
        return LocalMask.crop(proposal.local_mask, proposal.region)


def replay(
    records: list[Record],
    surface: Surface,
    levels: Sequence[Any],
    session_of: Callable[[Mapping[str, Any]], RefinementSession],
    *,
    progress: Progress = silent,
) -> tuple[LoggedSession, tuple[ReplayedPart, ...]]:
    """Do everything again that a log says, with masks as they come now."""
    total = sum(record.get("kind") == "accept" for record in records)
    replayer = Replayer(levels, session_of, total=total, progress=progress)
    session = read_journal(records, surface, mask_of=replayer.mask_of)
    return session, replayer.parts(session)


def logged_plane(levels: Sequence[Any], plane: Plane, look: Mapping[str, Any] | None) -> ImagePlane:
    """Look at a plane as a log says it was looked at."""
    axis, channels, limits = _read_display(look or {})
    if axis in plane.axes:
        axis = None
    readers = tuple(_level_readers(levels, level, plane, axis, channels) for level in levels)
    image_plane = ImagePlane(readers, channels if axis is None else None, limits)
    try:
        image_plane.read(slice(0, 1), slice(0, 1))
    except IndexError as error:
        raise DataError("the image has no such channels as the log speaks of.") from error
    return image_plane


def image_digests(
    session: LoggedSession, levels: Sequence[Any], most: int | None = None
) -> dict[Plane, str]:
    """Digest planes that a log decides on, at most so many, as an image and its levels are now.

    To compare with ``session.fingerprints``.  What was looked at together with other images is
    left out; a plane with no such channels any more has an empty digest.
    """
    found: dict[Plane, str] = {}
    for plane in list(session.fingerprints)[:most]:
        look = session.looks.get(plane)
        look = look if isinstance(look, dict) else {}
        if look.get("layers"):
            continue
        try:
            found[plane] = logged_plane(levels, plane, look).fingerprint()
        except DataError:
            found[plane] = ""
    return found


_COMPARED = 4
"""Planes that are compared with those that were annotated: a file changes as a whole."""


def changed_planes(session: LoggedSession, levels: Sequence[Any]) -> dict[Plane, str]:
    """Digest the annotated planes of an image that has other pixels now; empty where it has not."""
    some = image_digests(session, levels, _COMPARED)
    if all(session.fingerprints[plane] == digest for plane, digest in some.items()):
        return {}
    return image_digests(session, levels)


def has_changed(image: Path, log: Path) -> bool:
    """Tell whether an image has other pixels, or another size, than when it was annotated.

    Not where there is nothing to compare: no log, one that holds only what was painted or taken
    over, or a file that cannot be read.
    """
    try:
        records = read_records(log) if os.path.exists(log) else []
        if not records:
            return False
        levels, shape = open_image(image).levels, image_facts(records)[0].shape
        if tuple(levels[0].shape[: len(shape)]) != shape:
            return True
        session = read_journal(records, ArraySurface(np.zeros(shape, dtype=np.uint32)))
        return bool(changed_planes(session, levels))
    except (SpaError, MemoryError):
        return False


def changed_images(project: Project) -> tuple[str, ...]:
    """Return which finished images of a project have other pixels than when they were annotated."""
    return tuple(
        item.name
        for item in project.items
        if os.path.exists(labels_path(project.out, item.name))
        and has_changed(item.path, log_path(project.out, item.name))
    )


def say_changed(names: Sequence[str], what: str) -> str:
    """Name images with other pixels than when they were annotated, and what becomes of them."""
    have, were = ("have", "they were") if len(names) > 1 else ("has", "it was")
    return (
        f"{first_of(names, 10)} {have} other pixels than when {were} annotated: {what}; "
        "SPA Folder asks at each whether its objects still fit."
    )


_Channels = tuple[int, ...] | None
_Limits = tuple[tuple[float, float], ...] | None


def _read_display(look: Mapping[str, Any]) -> tuple[int | None, _Channels, _Limits]:
    try:
        axis, chosen, limits = look.get("axis"), look.get("channels"), look.get("limits")
        channels = None if chosen is None else tuple(int(c) for c in chosen)
        if channels is not None and (not channels or min(channels) < 0):
            raise ValueError(channels)
        return (
            None if axis is None else int(axis),
            channels,
            None if limits is None else tuple((float(low), float(high)) for low, high in limits),
        )
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise DataError("the log does not say which channels were looked at.") from error


def _level_readers(
    levels: Sequence[Any],
    level: Any,  # noqa: ANN401  any array
    plane: Plane,
    axis: int | None,
    channels: _Channels,
) -> tuple[PlaneReader, ...]:
    """Return the readers of one level: of the plane, or of it in each channel."""
    full, shape = levels[0].shape, level.shape
    there = plane.at_level(full, shape)
    if axis is None or channels is None:
        return (PlaneReader(level, there),)
    ratio = shape[axis] / full[axis]
    return tuple(PlaneReader(level, there.at(axis, int((c + 0.5) * ratio))) for c in channels)


def differing_pixels(one: LocalMask, other: LocalMask) -> int:
    """Return the number of pixels that are in one mask only."""
    both = one.region.with_all_of(other.region)
    return int(np.count_nonzero(one.within(both) != other.within(both)))
