"""What a session of annotating writes down as it goes, and how it is read again.

The log is the user's work: every decision, accepted mask, deletion and painted plane,
in order.  Reading it gives the objects, the labels and the active object as they were.

====================  ======================================================================
``kind``              meaning
====================  ======================================================================
``session``           image and model; once, at the beginning, and again with another model
``decision``          one act on one object: prompts, seed, what was offered, what was picked
``at``                the active object is at another round, or is shown another way
``accept``            an object's outline on a plane, with its pixels and when; of one that was
                      taken over, ``taken``: the labels layer's name, and the label
``reopen``            an accepted part is active again
``discard``           the active object was dropped
``delete``            an object went, on one plane or on all
``undo``, ``redo``    the last act on the objects was taken back, or done again
``blind``             in which order the masks of a round were shown, to be read blind
``describe``          an object got a name or a class
``keep``              what was to be reviewed of an object was accepted
``merge``             an object took the pixels of others
``split``             pieces of an object on a plane became objects
``edit``              a plane was painted by hand; its labels, or those of the part painted on
``by-hand``           an object is edited by hand: what is painted from now on is one act
``by-hand-end``       that act ended
``image``             the image has other pixels now, and what there is of it is kept
``profile``           what was learnt was put into the profile beside the log
``closed``            the window was closed in order
====================  ======================================================================
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_spa.core.presentation import clean_name
from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import DataError, InputError
from napari_spa.io.models.registry import ModelIdentity
from napari_spa.refine.annotation.annotation import Annotation, Overlap, Surface
from napari_spa.refine.annotation.objects import Part
from napari_spa.refine.log.serialization import (
    DAMAGE,
    decision_from_record,
    decision_to_record,
    mask_from_record,
    mask_to_record,
    pack,
    plane_from_record,
    plane_to_record,
    unpack,
)
from napari_spa.refine.session.acts import Decision, evidence_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.io.event_log import Record
    from napari_spa.refine.session.state import Timeline


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
    sources: tuple[Mapping[str, Any], ...] = ()  # and before each of the latest ``look``

    @property
    def undone(self) -> int:
        """How many rounds were taken back."""
        return sum(decision.round > self.round for decision in self.decisions)

    @property
    def looked_before(self) -> tuple[Mapping[str, Any], ...]:
        """How it was looked at before its round looked another way."""
        undone = sum(d.act == "look" and d.round > self.round for d in self.decisions)
        return self.sources[: max(0, len(self.sources) - undone)]


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
        except DAMAGE as error:
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
            reopened = active is not None and again and active.reopened
            active = ActiveObject(number, plane, reopened=reopened)
        active = replace(active, round=decision.round - 1)
        earlier = active.decisions[: len(active.decisions) - active.undone]
        sources = active.looked_before
        if decision.act == "look":  # written again, it does not say what was before
            sources = () if source == active.source else (*sources, active.source)
        self._session.active = replace(
            active,
            plane=plane,
            decisions=(*earlier, decision),
            round=decision.round,
            source=source,
            sources=sources,
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
        guess, known = {"look": {**self._look, "limits": None}}, dict[str, Any]()
        if record["decisions"]:
            decisions = tuple(decision_from_record(d, extent) for d in record["decisions"])
            known = self._looked(record)
        elif active is not None and (active.number, active.plane) == (number, plane):
            decisions = tuple(d for d in active.decisions if d.round <= active.round)
            known = dict(active.source)
        source = known or guess
        if decisions and "image" in record:
            self._session.looks.setdefault(plane, source.get("look"))
            self._session.fingerprints.setdefault(plane, str(record["image"]))
        mask = mask_from_record(record["mask"], extent)
        if self._mask_of is not None and decisions:
            model = self._session.model
            mask = self._mask_of(Accepted(number, plane, decisions, mask, model, source))
        if not record.get("leftovers", True):  # as earlier versions kept them
            said = evidence_of(decisions)
            mask = self._session.annotation.without_leftovers(number, plane, mask, said)
        rounds, uncertainty = int(record["rounds"]), float(record["uncertainty"])
        made = made_with(self._session.model) if decisions else None
        status = record["status"]
        part = Part(plane, status, rounds, uncertainty, decisions, model=made, source=known)
        if "taken" in record:
            layer, label = record["taken"]
            part = replace(part, taken=(str(layer), int(label)))
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
        source = {} if part is None else part.source
        self._session.active = ActiveObject(
            number, plane, decisions, last, reopened=True, source=source
        )

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
        whole = Region(0, 0, *plane.extent(self._session.image.shape))
        row, column = (int(n) for n in record.get("corner", (0, 0)))
        region = Region(row, column, height, width)
        part = whole.with_all_of(region) == whole if "corner" in record else region == whole
        if not part or min(height, width) < 1:
            raise ValueError("its shape")
        labels = unpack(record["labels"], "<u4", height * width).reshape(height, width)
        everywhere = np.ones((height, width), dtype=bool)
        self._surface.write(plane, region, everywhere, labels.ravel())
        self._session.annotation.recount(plane, labels, region if "corner" in record else None)

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
            source["look"] = self._look = dict(source["look"])
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


def made_with(model: Record) -> ModelIdentity | None:
    """Read a model's identity; None where a log does not say."""
    try:
        return ModelIdentity(**model)
    except TypeError:
        return None


VERSION = 1


class Sink(Protocol):
    """What records are written to: a :class:`~napari_spa.io.event_log.RecordLog`, a list."""

    def append(self, record: Mapping[str, Any] | Callable[[], Mapping[str, Any]], /) -> object:
        """Take one record, or a callable that gives it."""


class Journal:
    """Write a session down."""

    def __init__(self, log: Sink, *, clock: Callable[[], float] = time.time) -> None:
        self._log, self._clock = log, clock
        self._written: tuple[Decision, ...] = ()
        self._round = 0
        self._source: Record | None = None

    def begin(self, image: ImageFacts, model: ModelIdentity | None) -> None:
        """Say which image and which model; None for labels that came from elsewhere."""
        known = {} if model is None else asdict(model)
        self.note("session", version=VERSION, image=asdict(image), model=known)

    def shown(
        self, number: int, plane: Plane, timeline: Timeline, source: Mapping[str, Any]
    ) -> None:
        """Write what is new about the active object."""
        latest = timeline.latest
        known = set(map(id, self._written))
        for decision in latest:
            if id(decision) not in known:
                self._source = dict(source)
                where = plane_to_record(plane)
                facts = {"plane": where, **source, **decision_to_record(decision)}
                self.note("decision", object=number, **facts)
                self._round = decision.round
        self._written = latest
        if (timeline.state.number, source) != (self._round, self._source):
            # A restored object may be looked at with other channels or contrast than before.
            self._round, self._source = timeline.state.number, dict(source)
            self.note("at", object=number, round=self._round, **source)

    def blind(self, number: int, round_number: int, order: Sequence[int]) -> None:
        """Write in which order a round's masks were shown, -1 for the recommendation."""
        self.note("blind", object=number, round=round_number, order=list(order))

    def accept(
        self,
        number: int,
        part: Part,
        mask: LocalMask,
        overlap: Overlap,
        group: int | None = None,
        *,
        class_name: str = "",
    ) -> None:
        """Write an object's outline on a plane.

        Beside protected objects it is read again as :meth:`Annotation.without_leftovers` leaves it.
        Decisions that were not shown (a propagated slice) are written now, and how the
        plane was looked at with them.
        """
        known, now = set(map(id, self._written)), round(self._clock(), 3)
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
                "time": now,
                **({"leftovers": False} if overlap == "protect" else {}),
                **({"class": class_name} if class_name else {}),
                **({"taken": part.taken} if part.taken else {}),
                **(part.source if loose else {}),
            }

        self._log.append(record)
        self._forget()

    def reopen(self, number: int, plane: Plane, decisions: tuple[Decision, ...]) -> None:
        """Write that an accepted part is active again."""
        self.note("reopen", object=number, plane=plane_to_record(plane))
        self._written, self._source = decisions, None
        self._round = decisions[-1].round if decisions else 0

    def continued(self, timeline: Timeline) -> None:
        """Take a restored object's decisions as written: they are in this log already."""
        self._written, self._source = timeline.latest, None
        self._round = timeline.state.number

    def discard(self, number: int) -> None:
        """Write that the active object was dropped."""
        self.note("discard", object=number)
        self._forget()

    def delete(self, number: int, plane: Plane | None, group: int | None = None) -> None:
        """Write that an object went."""
        where = None if plane is None else plane_to_record(plane)
        together = {} if group is None else {"group": group}
        self.note("delete", object=number, plane=where, **together)

    def keep(self, number: int, group: int | None) -> None:
        """Write that what was to be reviewed of an object was accepted."""
        self.note("keep", object=number, group=group)

    def describe(
        self, number: int, name: str | None, class_name: str | None, group: int | None
    ) -> None:
        """Write that an object got a name or a class."""
        self.note("describe", object=number, name=name, **{"class": class_name}, group=group)

    def merge(self, number: int, others: Sequence[int]) -> None:
        """Write that an object took the pixels of others."""
        self.note("merge", object=number, others=list(others))

    def divide(self, number: int, plane: Plane, pieces: Mapping[int, LocalMask]) -> None:
        """Write that pieces of an object became objects."""
        parts = [{"object": new, "mask": mask_to_record(mask)} for new, mask in pieces.items()]
        self.note("split", object=number, plane=plane_to_record(plane), pieces=parts)

    def begin_edit(self, plane: Plane) -> None:
        """Write that what is painted on a plane from now on is one act."""
        self.note("by-hand", plane=plane_to_record(plane))

    def end_edit(self, number: int, plane: Plane) -> None:
        """Write that the editing of an object by hand ended."""
        self.note("by-hand-end", object=number, plane=plane_to_record(plane))

    def image(self, digests: Mapping[Plane, str]) -> None:
        """Write that the objects are kept on an image whose planes have these digests now."""
        planes = [{"plane": plane_to_record(p), "image": d} for p, d in digests.items()]
        self.note("image", planes=planes)

    def note(self, kind: str, **facts: object) -> None:
        """Write a record: ``undo``, ``redo`` and ``closed`` say no more than their kind."""
        self._log.append({"kind": kind, **facts})

    def edit(self, plane: Plane, labels: NDArray[np.integer], region: Region | None = None) -> None:
        """Write a painted plane, or a region of it; the array must not change any more."""
        corner = {} if region is None else {"corner": [region.row, region.column]}
        self._log.append(
            lambda: {
                "kind": "edit",
                "plane": plane_to_record(plane),
                **corner,
                "shape": list(labels.shape),
                "labels": pack(labels.astype("<u4")),
            }
        )

    def _forget(self) -> None:
        self._written, self._round, self._source = (), 0, None


def accepted_mask(record: Mapping[str, Any], shape: tuple[int, int]) -> LocalMask:
    """Return the outline of an ``accept`` record, on a plane of these rows and columns."""
    return mask_from_record(record["mask"], shape)


_NO_BEGINNING = (
    "the log does not say which image it is about: its beginning is lost. Where there are labels "
    "beside it (.tif), they are whole: rename the log, and the image opens with them."
)


def image_facts(records: Iterable[Mapping[str, Any]]) -> tuple[ImageFacts, Record]:
    """Read which image and model a log is about, and nothing else."""
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
            raise DataError(_NO_BEGINNING) from error
    raise DataError(_NO_BEGINNING)


def read_journal(
    records: list[Record],
    surface: Surface,
    *,
    mask_of: Callable[[Accepted], LocalMask] | None = None,
) -> LoggedSession:
    """Do everything again that a log says; ``DataError`` when it cannot be understood.

    The surface is empty and gets the labels.  ``mask_of`` gives an accepted mask again (to replay),
    the mask in the log by default (to recover); it is not asked for what has no decisions.
    """
    image, model = image_facts(records)
    session = LoggedSession(image, model, Annotation(surface))
    reader = RecordReader(session, surface, mask_of)
    for record in records:
        reader.read(record)
    return session
