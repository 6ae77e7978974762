"""What a session of annotating writes down as it goes, and how it is read again.

The log is the user's work: every decision, accepted mask, deletion and painted plane,
in order.  Reading it gives the objects, the labels and the active object as they were.

====================  ======================================================================
``kind``              meaning
====================  ======================================================================
``session``           image and model; once, at the beginning, and again with another model
``decision``          one act on one object: prompts, seed, what was offered, what was picked
``at``                the active object is at another round, or is shown another way
``accept``            an object's outline on a plane, with its pixels and when
``reopen``            an accepted part is active again
``discard``           the active object was dropped
``delete``            an object went, on one plane or on all
``undo``, ``redo``    the last act on the objects was taken back, or done again
``blind``             in which order the masks of a round were shown, to be read blind
``describe``          an object got a name or a class
``keep``              what was to be reviewed of an object was accepted
``merge``             an object took the pixels of others
``split``             pieces of an object on a plane became objects
``edit``              a plane was painted by hand; its labels
``by-hand``           an object is edited by hand: what is painted from now on is one act
``by-hand-end``       that act ended
``image``             the image has other pixels now, and what there is of it is kept
``profile``           what was learnt was put into the profile beside the log
``closed``            the window was closed in order
====================  ======================================================================
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from napari_spa.errors import DataError
from napari_spa.refine.annotation.annotation import Annotation, Overlap, Surface
from napari_spa.refine.log.reader import Accepted, ImageFacts, LoggedSession, RecordReader
from napari_spa.refine.log.serialization import (
    decision_to_record,
    mask_from_record,
    mask_to_record,
    pack,
    plane_to_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import LocalMask
    from napari_spa.io.event_log import Record
    from napari_spa.io.models.registry import ModelIdentity
    from napari_spa.refine.annotation.objects import Part
    from napari_spa.refine.session.state import Decision, Timeline

__all__ = ["VERSION", "ImageFacts", "Journal", "Sink", "image_facts", "read_journal"]

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
        """Write what is new about the active object."""
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

    def blind(self, number: int, round_number: int, order: Sequence[int]) -> None:
        """Write in which order a round's masks were shown, -1 for the recommendation."""
        self._log.append(
            {"kind": "blind", "object": number, "round": round_number, "order": list(order)}
        )

    def accept(
        self,
        number: int,
        part: Part,
        mask: LocalMask,
        overlap: Overlap,
        group: int | None = None,
        *,
        source: Mapping[str, Any] | None = None,
        class_name: str = "",
    ) -> None:
        """Write an object's outline on a plane.

        Decisions that were not shown (a propagated slice) are written now, and how the
        plane was looked at with them: ``source`` as in :meth:`shown`.
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
                **({"class": class_name} if class_name else {}),
                **(source or {}),
            }

        self._log.append(record)
        self._forget()

    def reopen(self, number: int, plane: Plane, decisions: tuple[Decision, ...]) -> None:
        """Write that an accepted part is active again."""
        self._log.append({"kind": "reopen", "object": number, "plane": plane_to_record(plane)})
        self._written, self._source = decisions, None
        self._round = decisions[-1].round if decisions else 0

    def continued(self, timeline: Timeline) -> None:
        """Take a restored object's decisions as written: they are in this log already."""
        self._written, self._source = timeline.latest, None
        self._round = timeline.state.number

    def discard(self, number: int) -> None:
        """Write that the active object was dropped."""
        self._log.append({"kind": "discard", "object": number})
        self._forget()

    def delete(self, number: int, plane: Plane | None, group: int | None = None) -> None:
        """Write that an object went."""
        where = None if plane is None else plane_to_record(plane)
        together = {} if group is None else {"group": group}
        self._log.append({"kind": "delete", "object": number, "plane": where, **together})

    def keep(self, number: int, group: int | None) -> None:
        """Write that what was to be reviewed of an object was accepted."""
        self._log.append({"kind": "keep", "object": number, "group": group})

    def describe(
        self, number: int, name: str | None, class_name: str | None, group: int | None
    ) -> None:
        """Write that an object got a name or a class."""
        said = {"name": name, "class": class_name, "group": group}
        self._log.append({"kind": "describe", "object": number, **said})

    def merge(self, number: int, others: Sequence[int]) -> None:
        """Write that an object took the pixels of others."""
        self._log.append({"kind": "merge", "object": number, "others": list(others)})

    def divide(self, number: int, plane: Plane, pieces: Mapping[int, LocalMask]) -> None:
        """Write that pieces of an object became objects."""
        self._log.append(
            {
                "kind": "split",
                "object": number,
                "plane": plane_to_record(plane),
                "pieces": [
                    {"object": new, "mask": mask_to_record(mask)} for new, mask in pieces.items()
                ],
            }
        )

    def begin_edit(self, plane: Plane) -> None:
        """Write that what is painted on a plane from now on is one act."""
        self._log.append({"kind": "by-hand", "plane": plane_to_record(plane)})

    def end_edit(self, number: int, plane: Plane) -> None:
        """Write that the editing of an object by hand ended."""
        self._log.append({"kind": "by-hand-end", "object": number, "plane": plane_to_record(plane)})

    def image(self, digests: Mapping[Plane, str]) -> None:
        """Write that the objects are kept on an image whose planes have these digests now."""
        planes = [{"plane": plane_to_record(p), "image": d} for p, d in digests.items()]
        self._log.append({"kind": "image", "planes": planes})

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


def accepted_mask(record: Mapping[str, Any], shape: tuple[int, int]) -> LocalMask:
    """Return the outline of an ``accept`` record, on a plane of these rows and columns."""
    return mask_from_record(record["mask"], shape)


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
            raise DataError("the log does not say which image it is about.") from error
    raise DataError("the log does not say which image it is about.")


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
