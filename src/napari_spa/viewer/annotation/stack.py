"""Take an object from slice to slice: one step, or through the stack until it ends."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QObject

from napari_spa.core.types import LocalMask
from napari_spa.core.words import counted
from napari_spa.errors import InputError, SpaError
from napari_spa.refine.annotation.propagation import Ending, PropagatedSlice, PropagationConfig
from napari_spa.viewer.annotation.image import ActiveObject, AnnotatedImage, part_of
from napari_spa.viewer.annotation.round import display_record
from napari_spa.viewer.layers.planes import (
    image_plane_of,
    show_plane,
    shown_plane,
    spatial_shape,
    walk_axis,
)

if TYPE_CHECKING:
    from napari_spa.core.plane import Plane
    from napari_spa.core.types import MixtureParameters
    from napari_spa.refine.engine.config import Progress
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.background import JobHandle

Direction = Literal["backward", "forward", "both"]
_PERSONAL = ("accepted", "edited")


class StackPropagation(QObject):
    """Carry and propagate the active object, or the selected one, through its stack."""

    def __init__(self, refiner: AnnotationController) -> None:
        super().__init__(refiner)
        self._refiner = refiner
        self.config = PropagationConfig()
        refiner.proposed.connect(self._prefetch)

    def limit(self, slices: int, uncertainty: float) -> None:
        """Set how far propagation goes at most, and at which uncertainty it ends."""
        self.config = PropagationConfig(limit=slices, uncertainty=uncertainty)

    # ------------------------------------------------------------------ what it is now

    def slices(self) -> tuple[int, int] | None:
        """Return how many slices there are to walk, and which is on show; None for one."""
        place = self._place()
        if place is None:
            return None
        work, plane, axis = place
        return spatial_shape(work.image)[axis], plane.index[axis]

    def results(self) -> dict[int, tuple[float, str]]:
        """Return uncertainty and status of the selected object on each slice it is on."""
        place, number = self._place(), self._refiner.selected
        if place is None or number is None:
            return {}
        work, plane, axis = place
        held = work.annotation.objects.get(number)
        return {
            part.plane.index[axis]: (part.uncertainty, part.status)
            for part in (() if held is None else held.parts)
            if part.plane.at(axis, plane.index[axis]) == plane
        }

    # ------------------------------------------------------------------ what one can do

    def go(self, position: int) -> None:
        """Show a slice of the stack that is walked."""
        place = self._place()
        if place is not None:
            work, plane, axis = place
            show_plane(self._refiner.viewer, work.image, plane.at(axis, position))

    def propagate_one(self, step: int) -> None:
        """Accept the object here and take it up on the slice ``step`` further."""
        taken = self._take_up()
        if taken is None:
            return
        work, plane, axis, number, mask, mixture = taken
        position = plane.index[axis] + step
        if not 0 <= position < spatial_shape(work.image)[axis]:
            self._refiner.said.emit("This is the last slice that way.")
            return
        following = plane.at(axis, position)
        image_plane = image_plane_of(work.image, following, work.look)
        from napari_spa.refine.annotation.propagation import propagate_one

        show_plane(self._refiner.viewer, work.image, following)
        self._refiner.begin(
            work,
            ActiveObject(number, following),
            lambda session, progress: propagate_one(
                session, image_plane, mask, mixture=mixture, source=work.source(), progress=progress
            ),
        )

    def propagate(self, direction: Direction) -> None:
        """Accept the object here and follow it slice by slice until it ends.

        Slices that a user accepted or painted are theirs: they end it too.
        """
        taken = self._take_up()
        session = self._refiner.session
        if taken is None or session is None:
            return
        work, plane, axis, number, mask, mixture = taken
        image, look, config = work.image, work.look, self.config
        ways = [
            self._way(work, plane, axis, number, step)
            for step, name in ((1, "forward"), (-1, "backward"))
            if direction in (name, "both")
        ]
        total = max(1, sum(map(len, ways)))
        group = int(time.time() * 1000)

        def job(handle: JobHandle) -> list[Ending]:
            from napari_spa.refine.annotation.propagation import propagate

            endings, done = [], 0
            for way in ways:

                def step(share: float, message: str) -> None:
                    handle(done / total, f"slice {done + 1} of at most {total}")  # noqa: B023

                walk = propagate(
                    session,
                    lambda p: image_plane_of(image, plane.at(axis, p), look),
                    way,
                    mask,
                    start=plane.index[axis],
                    mixture=mixture,
                    config=config,
                    progress=step,
                )
                while True:
                    try:
                        found = next(walk)
                    except StopIteration as stop:
                        endings.append(stop.value)
                        break
                    done += 1
                    source = display_record(look, session.sampler)
                    handle.report((plane.at(axis, found.position), found, source))
            return endings

        self._refiner.said.emit(f"Following object {number} through the stack…")
        self._refiner.submit(
            job,
            partial(self._ended, work),
            on_value=lambda value: self._write(work, number, group, *value),
        )

    # ------------------------------------------------------------------ how it does it

    def _place(self) -> tuple[AnnotatedImage, Plane, int] | None:
        """Return the image that is annotated, its plane on show and the axis to walk."""
        work = self._refiner.current
        if work is None:
            return None
        try:
            plane = shown_plane(self._refiner.viewer, work.image)
        except SpaError:
            return None
        axis = walk_axis(self._refiner.viewer, work.image, plane, work.look)
        return None if axis is None else (work, plane, axis)

    def _take_up(
        self,
    ) -> tuple[AnnotatedImage, Plane, int, int, LocalMask, MixtureParameters | None] | None:
        """Accept what is active, and return what is known of the object on this slice."""
        refiner, place = self._refiner, self._place()
        if refiner.busy:
            refiner.said.emit("Still working on the last step; wait, or press Cancel.")
            return None
        if place is None:
            refiner.said.emit("There is no stack to go through: this image is a single slice.")
            return None
        if refiner.choosing:
            refiner.accept()
        if refiner.held is not None:  # it could not be accepted, and that was said
            return None
        work, plane, axis = place
        number = refiner.selected
        held = None if number is None else work.annotation.objects.get(number)
        part = None if held is None else held.on(plane)
        mask = None if number is None else work.annotation.pixels(number, plane)
        if number is None or part is None or mask is None:
            refiner.said.emit("Choose an object on this slice first: click on one, or in the list.")
            return None
        mixture = part.decisions[-1].mixture if part.decisions else None
        return work, plane, axis, number, mask, mixture

    @staticmethod
    def _way(work: AnnotatedImage, plane: Plane, axis: int, number: int, step: int) -> list[int]:
        """Return the positions to go through, up to where a user has been."""
        held = work.annotation.objects[number]
        end = spatial_shape(work.image)[axis] if step > 0 else -1
        way: list[int] = []
        for position in range(plane.index[axis] + step, end, step):
            part = held.on(plane.at(axis, position))
            if part is not None and part.status in _PERSONAL:
                break
            way.append(position)
        return way

    def _write(
        self,
        work: AnnotatedImage,
        number: int,
        group: int,
        plane: Plane,
        found: PropagatedSlice,
        source: dict[str, Any],
    ) -> None:
        """Write a slice as it comes."""
        status: Literal["propagated", "review"] = "review" if found.doubtful else "propagated"
        part = part_of(plane, found.proposal, found.decisions, status)
        mask = LocalMask.crop(found.proposal.local_mask, found.proposal.region)
        try:
            work.write(number, part, mask, self._refiner.overlap, group=group, source=source)
        except InputError as error:
            self._refiner.failed.emit(str(error))
            return
        self._refiner.objects_changed.emit()

    def _ended(self, work: AnnotatedImage, endings: list[Ending]) -> None:
        results = self.results() if work is self._refiner.current else {}
        doubtful = sum(status == "review" for _, status in results.values())
        needs = "needs" if doubtful == 1 else "need"
        look = f"; {doubtful} {needs} review" if doubtful else ""
        why = " ".join(ending.sentence for ending in endings)
        self._refiner.said.emit(f"Propagated to {counted(len(results), 'slice')}{look}. {why}")

    def _prefetch(self, *_: object) -> None:
        """Have the neighbouring slices' embeddings ready, when no one waits for anything."""
        place, session = self._place(), self._refiner.session
        if place is None or session is None:
            return
        work, plane, axis = place
        count = spatial_shape(work.image)[axis]
        near = [plane.index[axis] + step for step in (1, -1)]
        pictures = [
            image_plane_of(work.image, plane.at(axis, p), work.look) for p in near if 0 <= p < count
        ]

        def job(progress: Progress) -> None:
            for image_plane in pictures:
                progress(0.0, "")
                session.prefetch(image_plane)

        self._refiner.worker.submit_idle(job)
