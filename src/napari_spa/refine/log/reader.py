"""A logged session: what the records of a log say, done again one after the other."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.presentation import clean_name
from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import DataError, InputError
from napari_spa.refine.annotation.objects import Part
from napari_spa.refine.log.serialization import (
    decision_from_record,
    mask_from_record,
    plane_from_record,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.io.event_log import Record
    from napari_spa.refine.annotation.annotation import Annotation, Surface
    from napari_spa.refine.session.state import Decision


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What tells one image from another without reading it all."""

    name: str  # of its layer or file
    shape: tuple[int, ...]  # of the data, colours left out
    dtype: str  # of the data
    path: str = ""  # where it was read from; empty when that is not known


@dataclass(frozen=True, slots=True, eq=False)
class ActiveObject:
    """The object that was not accepted yet."""

    number: int  # its label
    plane: Plane  # where it is
    decisions: tuple[Decision, ...] = ()  # all that can be had, undone ones included
    round: int = 0  # the round one was at
    reopened: bool = False  # whether it was accepted before
    # How the plane was looked at: ``image`` (fingerprint) and ``look`` (channels, limits).
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def undone(self) -> int:
        """How many rounds were taken back."""
        return sum(decision.round > self.round for decision in self.decisions)


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """An accepted outline, with all that it can be computed from again."""

    number: int  # label of the object
    plane: Plane  # where it is
    decisions: tuple[Decision, ...]  # what led to it
    mask: LocalMask  # what was accepted
    model: Record  # identity of the model
    # ``look`` (channels and limits) and, unless a log does not say, ``image`` (the plane's
    # fingerprint)
    source: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class LoggedSession:
    """A log read again."""

    image: ImageFacts  # the image
    model: Record  # the latest model's identity
    annotation: Annotation  # the objects, with their labels in the surface that was given
    active: ActiveObject | None = None  # the object that was not accepted yet
    # Digest of each plane that was decided on.
    fingerprints: dict[Plane, str] = field(default_factory=dict)
    looks: dict[Plane, object] = field(default_factory=dict)  # and how it was looked at then
    closed: bool = False  # whether the window was closed in order


class RecordReader:
    """Bring a logged session forward by one record at a time: one method for each kind."""

    def __init__(
        self,
        session: LoggedSession,
        surface: Surface,
        mask_of: Callable[[Accepted], LocalMask] | None,
    ) -> None:
        self._session, self._surface, self._mask_of = session, surface, mask_of
        self._look: Record = {}

    def read(self, record: Record) -> None:
        """Do what a record says."""
        step = getattr(self, f"_on_{record.get('kind')}".replace("-", "_"), None)
        self._session.closed = False
        if step is None:
            raise DataError(f"the log has a record of an unknown kind, {record.get('kind')!r:.40}.")
        try:
            step(record)
        except _DAMAGE as error:
            if isinstance(error, InputError):
                raise DataError(f"the log contradicts itself: {error}") from error
            raise DataError(f"the log has a damaged {record['kind']!r} record.") from error

    def _on_session(self, record: Record) -> None:
        self._session.model = dict(record["model"])

    def _on_decision(self, record: Record) -> None:
        plane = self._plane(record["plane"])
        decision = decision_from_record(record, plane.extent(self._session.image.shape))
        number, active = _number(record), self._session.active
        source = self._looked(record)
        if active is None or decision.act == "start":
            again = active is not None and (active.number, active.plane) == (number, plane)
            active = ActiveObject(
                number, plane, reopened=active is not None and again and active.reopened
            )
        earlier = tuple(d for d in active.decisions if d.round < decision.round)
        self._session.active = replace(
            active, decisions=(*earlier, decision), round=decision.round, source=source
        )
        if self._session.fingerprints.setdefault(plane, str(record["image"])) == record["image"]:
            self._session.looks.setdefault(plane, record.get("look"))

    def _on_at(self, record: Record) -> None:
        active = self._session.active
        if active is not None:
            source = self._looked(record) or active.source
            self._session.active = replace(active, round=int(record["round"]), source=source)

    def _on_blind(self, record: Record) -> None:
        """Take nothing from it: it says what was seen, not what was done."""

    def _on_accept(self, record: Record) -> None:
        number, plane = _number(record), self._plane(record["plane"])
        active, extent = self._session.active, plane.extent(self._session.image.shape)
        decisions: tuple[Decision, ...] = ()
        # Should nothing say how: as the last plane, but each plane has limits of its own.
        source: Mapping[str, Any] = {"look": {**self._look, "limits": None}}
        if record["decisions"]:
            decisions = tuple(decision_from_record(d, extent) for d in record["decisions"])
            source = self._looked(record) or source
        elif active is not None and (active.number, active.plane) == (number, plane):
            decisions = tuple(d for d in active.decisions if d.round <= active.round)
            source = active.source or source
        if decisions and "image" in record:
            self._session.looks.setdefault(plane, source.get("look"))
            self._session.fingerprints.setdefault(plane, str(record["image"]))
        mask = mask_from_record(record["mask"], extent)
        if self._mask_of is not None and decisions:
            model = self._session.model
            mask = self._mask_of(Accepted(number, plane, decisions, mask, model, source))
        rounds, uncertainty = int(record["rounds"]), float(record["uncertainty"])
        part = Part(plane, record["status"], rounds, uncertainty, decisions)
        self._session.annotation.commit(
            number,
            part,
            mask,
            overlap=record["overlap"],
            group=record["group"],
            class_name=_words(record.get("class")),
        )
        self._session.active = None

    def _on_reopen(self, record: Record) -> None:
        number, plane = _number(record), self._plane(record["plane"])
        active = self._session.annotation.objects.get(number)
        part = None if active is None else active.on(plane)
        decisions = () if part is None else part.reopens_with
        last = decisions[-1].round if decisions else 0
        self._session.active = ActiveObject(number, plane, decisions, last, reopened=True)

    def _on_discard(self, record: Record) -> None:
        self._session.active = None

    def _on_delete(self, record: Record) -> None:
        where = record["plane"]
        plane = None if where is None else self._plane(where)
        self._session.annotation.remove(_number(record), plane, group=record.get("group"))

    def _on_keep(self, record: Record) -> None:
        self._session.annotation.keep(_number(record), group=record["group"])

    def _on_describe(self, record: Record) -> None:
        name, class_name = record["name"], record["class"]
        self._session.annotation.describe(
            _number(record),
            name=None if name is None else _words(name),
            class_name=None if class_name is None else _words(class_name),
            group=record["group"],
        )

    def _on_merge(self, record: Record) -> None:
        self._session.annotation.merge(_number(record), [int(n) for n in record["others"]])

    def _on_split(self, record: Record) -> None:
        plane = self._plane(record["plane"])
        pieces = {
            _number(piece): mask_from_record(piece["mask"], plane.extent(self._session.image.shape))
            for piece in record["pieces"]
        }
        self._session.annotation.divide(_number(record), plane, pieces)

    def _on_by_hand(self, record: Record) -> None:
        plane = self._plane(record["plane"])
        self._session.annotation.begin_edit(plane, self._labels(plane))

    def _on_by_hand_end(self, record: Record) -> None:
        plane = self._plane(record["plane"])
        self._session.annotation.end_edit(_number(record), self._labels(plane))

    def _on_undo(self, record: Record) -> None:
        self._session.annotation.undo()

    def _on_redo(self, record: Record) -> None:
        self._session.annotation.redo()

    def _on_edit(self, record: Record) -> None:
        plane = self._plane(record["plane"])
        height, width = (int(n) for n in record["shape"])
        if (height, width) != plane.extent(self._session.image.shape):
            raise ValueError("its shape")
        labels = unpack(record["labels"], "<u4", height * width).reshape(height, width)
        region = Region(0, 0, height, width)
        everywhere = np.ones((height, width), dtype=bool)
        self._surface.write(plane, region, everywhere, labels.ravel())
        self._session.annotation.recount(plane, labels)

    def _on_image(self, record: Record) -> None:
        for entry in record["planes"]:
            self._session.fingerprints[self._plane(entry["plane"])] = str(entry["image"])

    def _on_profile(self, record: Record) -> None:
        pass

    def _on_closed(self, record: Record) -> None:
        self._session.closed = True

    def _looked(self, record: Record) -> Record:
        """Read how a plane was looked at, where a record says so."""
        source: Record = {name: record[name] for name in ("image", "look") if name in record}
        if "look" in source:
            self._look = dict(source["look"])
        return source

    def _labels(self, plane: Plane) -> NDArray[np.integer]:
        """Return a copy of a plane's labels."""
        return self._surface.read(plane, Region(0, 0, *plane.extent(self._session.image.shape)))

    def _plane(self, record: Record) -> Plane:
        """Read a plane of the image."""
        plane, shape = plane_from_record(record), self._session.image.shape
        if len(shape) != len(plane.index) or not all(
            0 <= position < extent for position, extent in zip(plane.index, shape, strict=True)
        ):
            raise ValueError("its slice")
        return plane


def _words(text: object) -> str:
    """Read a name; nothing for what is none."""
    return clean_name(text) if isinstance(text, str) else ""


def _number(record: Record) -> int:
    """Read an object's label."""
    number = int(record["object"])
    if number < 1:
        raise ValueError("its number")
    return number


_DAMAGE = (KeyError, TypeError, ValueError, IndexError, OverflowError, MemoryError, zlib.error)
