"""What a session of annotating writes down as it goes, and how it is read again.

The log is the person's work: every decision, accepted mask, deletion and painted plane,
in order.  Reading it gives the objects, the labels and the object at hand as they were.

====================  ======================================================================
``kind``              meaning
====================  ======================================================================
``session``           image and model; once, at the beginning, and again with another model
``decision``          one act on one object: prompts, seed, what was offered, what was picked
``at``                one is at another round of the object at hand, or looks at it another way
``accept``            an object's outline on a plane, with its pixels
``reopen``            an accepted part is at hand again
``discard``           the object at hand was dropped
``delete``            an object went, on one plane or on all
``undo``, ``redo``    the last act on the objects was taken back, or done again
``edit``              a plane was painted by hand; its labels
``profile``           what was learnt was put into the profile beside the log
``closed``            the window was closed in order
====================  ======================================================================
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_spa.core.types import Region
from napari_spa.errors import DataError, InputError
from napari_spa.refine.annotation import Annotation, Part
from napari_spa.refine.records import (
    decision_from_record,
    decision_to_record,
    mask_from_record,
    mask_to_record,
    pack,
    plane_from_record,
    plane_to_record,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import LocalMask
    from napari_spa.io.identity import ModelIdentity
    from napari_spa.io.record_log import Record
    from napari_spa.refine.annotation import Overlap, Surface
    from napari_spa.refine.state import Decision, Timeline

VERSION = 1


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What tells one image from another without reading it all.

    Attributes
    ----------
    name : str
        Of its layer or file.
    shape : tuple of int
        Of the data, colours left out.
    dtype : str
        Of the data.
    path : str
        Where it was read from; empty when that is not known.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    path: str = ""


class Sink(Protocol):
    """What records are written to: a :class:`~napari_spa.io.record_log.RecordLog`, a list."""

    def append(self, record: Mapping[str, Any] | Callable[[], Mapping[str, Any]], /) -> object:
        """Take one record, or a callable that gives it."""
        ...


class Journal:
    """Write a session down.

    Parameters
    ----------
    log : Sink
        Where to.
    """

    def __init__(self, log: Sink) -> None:
        self._log = log
        self._written: tuple[Decision, ...] = ()
        self._round = 0
        self._source: Record | None = None

    def begin(self, image: ImageFacts, model: ModelIdentity | None) -> None:
        """Say which image and which model; None for labels that came from elsewhere."""
        from dataclasses import asdict

        self._log.append(
            {
                "kind": "session",
                "version": VERSION,
                "image": asdict(image),
                "model": {} if model is None else asdict(model),
            }
        )

    def shown(
        self, number: int, plane: Plane, timeline: Timeline, source: Mapping[str, Any]
    ) -> None:
        """Write what is new about the object at hand.

        Parameters
        ----------
        number : int
            Of the object.
        plane : Plane
            Where it is.
        timeline : Timeline
            Its states.
        source : mapping
            How the plane was looked at: fingerprint, channels, contrast limits; profile.
        """
        latest = timeline.latest
        known = set(map(id, self._written))
        for decision in latest:
            if id(decision) not in known:
                self._source = dict(source)
                self._log.append(
                    {
                        "kind": "decision",
                        "object": number,
                        "plane": plane_to_record(plane),
                        **source,
                        **decision_to_record(decision),
                    }
                )
                self._round = decision.round
        self._written = latest
        if (timeline.state.number, source) != (self._round, self._source):
            # A restored object may be looked at with other channels or contrast than before.
            self._round, self._source = timeline.state.number, dict(source)
            self._log.append({"kind": "at", "object": number, "round": self._round, **source})

    def accept(
        self,
        number: int,
        part: Part,
        mask: LocalMask,
        overlap: Overlap,
        group: int | None = None,
        *,
        source: Mapping[str, Any] | None = None,
    ) -> None:
        """Write an object's outline on a plane.

        Decisions that were not shown (a propagated slice) are written now, and how the
        plane was looked at with them: ``source`` as in :meth:`shown`.
        """
        known = set(map(id, self._written))
        loose = any(id(decision) not in known for decision in part.decisions)

        def record() -> Record:
            return {
                "kind": "accept",
                "object": number,
                "plane": plane_to_record(part.plane),
                "overlap": overlap,
                "rounds": part.rounds,
                "uncertainty": part.uncertainty,
                "status": part.status,
                "group": group,
                "mask": mask_to_record(mask),
                "decisions": [decision_to_record(d) for d in part.decisions] if loose else [],
                **(source or {}),
            }

        self._log.append(record)
        self._forget()

    def reopen(self, number: int, plane: Plane, decisions: tuple[Decision, ...]) -> None:
        """Write that an accepted part is at hand again."""
        self._log.append({"kind": "reopen", "object": number, "plane": plane_to_record(plane)})
        self._written, self._source = decisions, None
        self._round = decisions[-1].round if decisions else 0

    def continued(self, timeline: Timeline) -> None:
        """Take a restored object's decisions as written: they are in this log already."""
        self._written, self._source = timeline.latest, None
        self._round = timeline.state.number

    def discard(self, number: int) -> None:
        """Write that the object at hand was dropped."""
        self._log.append({"kind": "discard", "object": number})
        self._forget()

    def delete(self, number: int, plane: Plane | None) -> None:
        """Write that an object went."""
        where = None if plane is None else plane_to_record(plane)
        self._log.append({"kind": "delete", "object": number, "plane": where})

    def note(self, kind: str) -> None:
        """Write a record without more: ``undo``, ``redo`` or ``closed``."""
        self._log.append({"kind": kind})

    def edit(self, plane: Plane, labels: NDArray[np.integer]) -> None:
        """Write a painted plane; the array must not change any more."""
        self._log.append(
            lambda: {
                "kind": "edit",
                "plane": plane_to_record(plane),
                "shape": list(labels.shape),
                "labels": pack(labels.astype("<u4")),
            }
        )

    def _forget(self) -> None:
        self._written, self._round, self._source = (), 0, None


@dataclass(frozen=True, slots=True, eq=False)
class AtHand:
    """The object that was not accepted yet.

    Attributes
    ----------
    number : int
        Its label.
    plane : Plane
        Where it is.
    decisions : tuple of Decision
        All that can be had, undone ones included.
    round : int
        The round one was at.
    reopened : bool
        Whether it was accepted before.
    source : mapping
        How the plane was looked at: ``image`` (fingerprint) and ``look`` (channels, limits).
    """

    number: int
    plane: Plane
    decisions: tuple[Decision, ...] = ()
    round: int = 0
    reopened: bool = False
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def undone(self) -> int:
        """How many rounds were taken back."""
        return sum(decision.round > self.round for decision in self.decisions)


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """An accepted outline, with all that it can be had from again.

    Attributes
    ----------
    number : int
        Label of the object.
    plane : Plane
        Where it is.
    decisions : tuple of Decision
        What led to it.
    mask : LocalMask
        What was accepted.
    model : mapping
        Identity of the model.
    source : mapping
        ``look`` (channels and limits) and, unless a log does not say, ``image`` (the
        plane's fingerprint).
    """

    number: int
    plane: Plane
    decisions: tuple[Decision, ...]
    mask: LocalMask
    model: Record
    source: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class LoggedSession:
    """A log read again.

    Attributes
    ----------
    image : ImageFacts
        The image.
    model : dict
        The latest model's identity.
    annotation : Annotation
        The objects, with their labels in the surface that was given.
    at_hand : AtHand or None
        The object that was not accepted yet.
    fingerprints : dict of Plane to str
        Digest of each plane that was decided on.
    closed : bool
        Whether the window was closed in order.
    """

    image: ImageFacts
    model: Record
    annotation: Annotation
    at_hand: AtHand | None = None
    fingerprints: dict[Plane, str] = field(default_factory=dict)
    closed: bool = False


def image_facts(records: Iterable[Mapping[str, Any]]) -> tuple[ImageFacts, Record]:
    """Read which image and model a log is about, and nothing else.

    Raises
    ------
    DataError
        When the log does not say, or a newer version wrote it.
    """
    for record in records:
        if record.get("kind") != "session":
            continue
        if record.get("version") != VERSION:
            raise DataError("the log was written by a newer napari-spa; update napari-spa.")
        try:
            image = dict(record["image"])
            image["shape"] = tuple(int(n) for n in image["shape"])
            return ImageFacts(**image), dict(record["model"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError("the log does not say which image it is about.") from error
    raise DataError("the log does not say which image it is about.")


def read_journal(
    records: list[Record],
    surface: Surface,
    *,
    mask_of: Callable[[Accepted], LocalMask] | None = None,
) -> LoggedSession:
    """Do everything again that a log says.

    Parameters
    ----------
    records : list of dict
        From :func:`napari_spa.io.record_log.read_records`.
    surface : Surface
        Empty; gets the labels.
    mask_of : callable or None
        Gives an accepted mask anew (to replay); the mask in the log by default (to
        recover).  Not asked for what has no decisions.

    Returns
    -------
    LoggedSession

    Raises
    ------
    DataError
        When the log cannot be understood.
    """
    image, model = image_facts(records)
    session = LoggedSession(image, model, Annotation(surface))
    reader = _Reader(session, surface, mask_of)
    for record in records:
        step = getattr(reader, f"on_{record.get('kind')}", None)
        session.closed = False
        if step is None:
            raise DataError(f"the log has a record of an unknown kind, {record.get('kind')!r:.40}.")
        try:
            step(record)
        except _DAMAGE as error:
            if isinstance(error, InputError):
                raise DataError(f"the log contradicts itself: {error}") from error
            raise DataError(f"the log has a damaged {record['kind']!r} record.") from error
    return session


class _Reader:
    """One method for each kind of record."""

    def __init__(
        self,
        session: LoggedSession,
        surface: Surface,
        mask_of: Callable[[Accepted], LocalMask] | None,
    ) -> None:
        self._session, self._surface, self._mask_of = session, surface, mask_of
        self._look: Record = {}

    def on_session(self, record: Record) -> None:
        self._session.model = dict(record["model"])

    def on_decision(self, record: Record) -> None:
        decision, plane = decision_from_record(record), self._plane(record["plane"])
        number, held = _number(record), self._session.at_hand
        source = self._looked(record)
        if held is None or decision.act == "start":
            again = held is not None and (held.number, held.plane) == (number, plane)
            held = AtHand(number, plane, reopened=held is not None and again and held.reopened)
        earlier = tuple(d for d in held.decisions if d.round < decision.round)
        self._session.at_hand = replace(
            held, decisions=(*earlier, decision), round=decision.round, source=source
        )
        self._session.fingerprints.setdefault(plane, str(record["image"]))

    def on_at(self, record: Record) -> None:
        held = self._session.at_hand
        if held is not None:
            source = self._looked(record) or held.source
            self._session.at_hand = replace(held, round=int(record["round"]), source=source)

    def on_accept(self, record: Record) -> None:
        number, plane = _number(record), self._plane(record["plane"])
        held = self._session.at_hand
        decisions: tuple[Decision, ...] = ()
        # Should nothing say how: as the last plane, but each plane has limits of its own.
        source: Mapping[str, Any] = {"look": {**self._look, "limits": None}}
        if record["decisions"]:
            decisions = tuple(decision_from_record(d) for d in record["decisions"])
            source = self._looked(record) or source
        elif held is not None and (held.number, held.plane) == (number, plane):
            decisions = tuple(d for d in held.decisions if d.round <= held.round)
            source = held.source or source
        mask = mask_from_record(record["mask"])
        if self._mask_of is not None and decisions:
            model = self._session.model
            mask = self._mask_of(Accepted(number, plane, decisions, mask, model, source))
        part = Part(
            plane,
            Region(0, 0, 0, 0),
            0,
            int(record["rounds"]),
            float(record["uncertainty"]),
            record["status"],
            decisions,
        )
        self._session.annotation.commit(
            number, part, mask, overlap=record["overlap"], group=record["group"]
        )
        self._session.at_hand = None

    def on_reopen(self, record: Record) -> None:
        number, plane = _number(record), self._plane(record["plane"])
        held = self._session.annotation.objects.get(number)
        part = None if held is None else held.on(plane)
        decisions = () if part is None else part.decisions
        last = decisions[-1].round if decisions else 0
        self._session.at_hand = AtHand(number, plane, decisions, last, reopened=True)

    def on_discard(self, record: Record) -> None:
        self._session.at_hand = None

    def on_delete(self, record: Record) -> None:
        where = record["plane"]
        plane = None if where is None else self._plane(where)
        self._session.annotation.remove(_number(record), plane)

    def on_undo(self, record: Record) -> None:
        self._session.annotation.undo()

    def on_redo(self, record: Record) -> None:
        self._session.annotation.redo()

    def on_edit(self, record: Record) -> None:
        plane, shape = self._plane(record["plane"]), self._session.image.shape
        height, width = (int(n) for n in record["shape"])
        if (height, width) != tuple(shape[axis] for axis in plane.axes):
            raise ValueError("its shape")
        labels = unpack(record["labels"], "<u4").reshape(height, width)
        region = Region(0, 0, height, width)
        everywhere = np.ones((height, width), dtype=bool)
        self._surface.write(plane, region, everywhere, labels.ravel())
        self._session.annotation.recount(plane, labels)

    def on_profile(self, record: Record) -> None:
        pass

    def on_closed(self, record: Record) -> None:
        self._session.closed = True

    def _looked(self, record: Record) -> Record:
        """Read how a plane was looked at, where a record says so."""
        source: Record = {name: record[name] for name in ("image", "look") if name in record}
        if "look" in source:
            self._look = dict(source["look"])
        return source

    def _plane(self, record: Record) -> Plane:
        """Read a plane of the image."""
        plane, shape = plane_from_record(record), self._session.image.shape
        if len(shape) != len(plane.index) or not all(
            0 <= position < extent for position, extent in zip(plane.index, shape, strict=True)
        ):
            raise ValueError("its slice")
        return plane


def _number(record: Record) -> int:
    """Read an object's label."""
    number = int(record["object"])
    if number < 1:
        raise ValueError("its number")
    return number


_DAMAGE = (KeyError, TypeError, ValueError, IndexError, OverflowError, MemoryError, zlib.error)
