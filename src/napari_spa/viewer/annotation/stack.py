"""Take an object from slice to slice: one step, or through the stack until it ends."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QObject

from napari_spa.core.presentation import counted
from napari_spa.core.types import LocalMask, MixtureParameters
from napari_spa.errors import ModelError
from napari_spa.refine.annotation.objects import Part, new_group
from napari_spa.refine.annotation.propagation import (
    Ending,
    PropagatedSlice,
    PropagationConfig,
    propagate,
    propagate_one,
)
from napari_spa.viewer.annotation.display import looked, taken_up
from napari_spa.viewer.annotation.image import AnnotatedImage
from napari_spa.viewer.annotation.round import display_record, says_why_not
from napari_spa.viewer.layers.planes import (
    image_plane_of,
    plane_on_slider,
    show_plane,
    slice_spacing,
    spatial_shape,
    step_noun,
    walk_axis,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Proposal
    from napari_spa.io.models.registry import ModelIdentity
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.background import JobHandle
    from napari_spa.viewer.layers.planes import DisplaySettings

Direction = Literal["backward", "forward", "both"]
_PERSONAL = ("accepted", "edited")
Place = tuple[AnnotatedImage, "Plane", int]  # a plane of an image, and the axis to walk
Taken = tuple[AnnotatedImage, "Plane", int, int, LocalMask, "Part"]  # with an object there


class StackPropagation(QObject):
    """Carry and propagate the active object, or the selected one, through its stack."""

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller = controller
        self.config = PropagationConfig()
        controller.proposed.connect(self._prefetch)

    def limit(self, slices: int, uncertainty: float) -> None:
        """Set how far propagation goes at most, and at which uncertainty it ends."""
        self.config = PropagationConfig(limit=slices, uncertainty=uncertainty)

    # ------------------------------------------------------------------ what it is now

    def slices(self) -> tuple[int, int] | None:
        """Return how many slices there are to walk, and which is on show; None for one."""
        place = self._place()
        if place is None:
            return None
        annotated, plane, axis = place
        return spatial_shape(annotated.image)[axis], plane.index[axis]

    def unit(self) -> str:
        """Return what one walks through: slices, frames, or what the axis is called."""
        place = self._place()
        return "slice" if place is None else step_noun(place[0].image, place[2])

    def results(self) -> dict[int, tuple[float, str]]:
        """Return the Dice to be expected, and status, of the selected object by slice."""
        place, number = self._place(), self._controller.selected
        if place is None or number is None:
            return {}
        annotated, plane, axis = place
        active = annotated.annotation.objects.get(number)
        return {
            part.plane.index[axis]: (1.0 - part.uncertainty, part.status)
            for part in (() if active is None else active.parts)
            if part.plane.at(axis, plane.index[axis]) == plane
        }

    # ------------------------------------------------------------------ what one can do

    def go(self, position: int) -> None:
        """Show a slice of the stack that is walked."""
        place = self._place()
        if place is not None:
            annotated, plane, axis = place
            show_plane(self._controller.viewer, annotated.image, plane.at(axis, position))

    def propagate_one(self, step: int, place: Place | None = None) -> None:
        """Accept the object here and take it up on the slice ``step`` further."""
        place = place or self._place()
        if self._controller.waits(partial(self.propagate_one, step, place)):
            return
        taken = self._take_up(place)
        if taken is None:
            return
        annotated, plane, axis, number, mask, part = taken
        position = plane.index[axis] + step
        if not 0 <= position < spatial_shape(annotated.image)[axis]:
            self._controller.status_message.emit(f"This is the last {self.unit()} that way.")
            return
        following = plane.at(axis, position)
        image, look = annotated.image, _look_beyond(annotated, part, axis)
        before = image_plane_of(image, plane, looked(annotated, part.source, plane))
        image_plane = image_plane_of(image, following, look)
        show_plane(self._controller.viewer, image, following, look)

        def carry(
            session: RefinementSession,
            progress: Progress,
            mixture: MixtureParameters | None = None,
        ) -> Proposal:
            return propagate_one(
                session,
                image_plane,
                mask,
                before=before,
                mixture=mixture,
                source=annotated.source(),
                progress=progress,
            )

        active = replace(taken_up(annotated, number, part), plane=following, look=look)
        learnt = partial(carry, mixture=_mixture_of(part))
        self._controller.begin(annotated, active, learnt, otherwise=carry)

    def propagate(self, direction: Direction, place: Place | None = None) -> None:
        """Accept the object here and follow it slice by slice until it ends.

        Slices that a user accepted or painted are theirs: they end it too.
        """
        place = place or self._place()
        if self._controller.waits(partial(self.propagate, direction, place)):
            return
        taken = self._take_up(place)
        if taken is None:
            return
        annotated, plane, axis, number, mask, part = taken
        models, unit = self._controller.model, self.unit()
        image, look = annotated.image, _look_beyond(annotated, part, axis)
        load, instead = models.loader(part.model), models.loader()
        config, ways = self._plan(taken, direction)
        total = max(1, sum(len(way) for way, _ in ways))
        group = new_group()

        def job(handle: JobHandle) -> tuple[list[Ending], int, int]:
            learnt, endings = config, list[Ending]()
            try:
                session = load(handle)
            except ModelError:  # it is gone, and what was learnt with it
                session, learnt = instead(handle), replace(config, mixture=None)
            done = doubtful = 0

            def step(share: float, message: str) -> None:
                handle(done / total, f"{unit} {done + 1} of at most {total}")

            follow = partial(
                propagate,
                session,
                lambda p: image_plane_of(image, plane.at(axis, p), look),
                mask=mask,
                start=plane.index[axis],
                config=learnt,
                progress=step,
            )
            ends = (_to_its_end(follow(way), barrier, endings) for way, barrier in ways)
            for found in chain.from_iterable(ends):
                done, doubtful = done + 1, doubtful + found.doubtful
                source = display_record(look, session.sampler)
                model = session.model.identity
                handle.report((plane.at(axis, found.position), found, source, model))
            return endings, done, doubtful

        self._controller.status_message.emit(f"Following object {number} through the {unit}s…")
        self._controller.submit(
            job,
            partial(self._ended, unit),
            on_value=lambda value: self._write(annotated, number, group, *value),
        )

    def _place(self) -> Place | None:
        """Return the image that is annotated, its plane on show and the axis to walk."""
        viewer, annotated = self._controller.viewer, self._controller.current
        plane = None if annotated is None else plane_on_slider(viewer, annotated.image)
        if annotated is None or plane is None:
            return None
        axis = walk_axis(viewer, annotated.image, plane, annotated.look)
        return None if axis is None else (annotated, plane, axis)

    def _take_up(self, place: Place | None) -> Taken | None:
        """Accept what is active, and return what is known of the object on a slice."""
        controller = self._controller
        if place is None:
            single = "There is no stack to go through: this image is a single slice."
            controller.status_message.emit(single if controller.target() else controller.hint)
            return None
        if controller.choosing:
            controller.accept()
        if controller.active is not None:  # it could not be accepted, and that was said
            return None
        annotated, plane, axis = place
        number = controller.selected
        active = None if number is None else annotated.annotation.objects.get(number)
        part = None if active is None else active.on(plane)
        mask = None if number is None else annotated.annotation.pixels(number, plane)
        if number is None or part is None or mask is None:
            controller.status_message.emit(
                f"Choose an object on this {self.unit()} first: click on one, or in the list."
            )
            return None
        return annotated, plane, axis, number, mask, part

    def _plan(
        self, taken: Taken, direction: Direction
    ) -> tuple[PropagationConfig, list[tuple[list[int], int | None]]]:
        """Return what to follow an object with, and each way to go with what of a user ends it."""
        annotated, plane, axis, number, _, part = taken
        overlap, outline = self._controller.overlap, annotated.annotation.outline
        config = replace(
            self.config,
            mixture=_mixture_of(part),
            spacing=slice_spacing(annotated.image, plane, axis),
            free=lambda at, mask: outline(number, plane.at(axis, at), mask, overlap=overlap)[1],
        )
        steps = {"forward": (1,), "backward": (-1,), "both": (1, -1)}[direction]
        ways = [self._way(annotated, plane, axis, number, step) for step in steps]
        # It may begin at the end of the stack.
        return config, [(way, barrier) for way, barrier in ways if way or barrier is not None]

    @staticmethod
    def _way(
        annotated: AnnotatedImage, plane: Plane, axis: int, number: int, step: int
    ) -> tuple[list[int], int | None]:
        """Return the positions to go through, and where a user has been that ends them."""
        active = annotated.annotation.objects[number]
        end = spatial_shape(annotated.image)[axis] if step > 0 else -1
        way: list[int] = []
        for position in range(plane.index[axis] + step, end, step):
            part = active.on(plane.at(axis, position))
            if part is not None and part.status in _PERSONAL:
                return way, position
            way.append(position)
        return way, None

    @says_why_not
    def _write(
        self,
        annotated: AnnotatedImage,
        number: int,
        group: int,
        plane: Plane,
        found: PropagatedSlice,
        source: dict[str, Any],
        model: ModelIdentity,
    ) -> None:
        """Write a slice as it comes."""
        self._controller.autosave.begin(annotated, model)
        status: Literal["propagated", "review"] = "review" if found.doubtful else "propagated"
        proposal = found.proposal
        rounds, uncertainty = proposal.round, proposal.uncertainty
        decisions = found.decisions
        part = Part(plane, status, rounds, uncertainty, decisions, model=model, source=source)
        mask = LocalMask.crop(proposal.local_mask, proposal.region)
        with annotated.bare():
            annotated.write(number, part, mask, self._controller.overlap, group=group)
        self._controller.objects_changed.emit()

    def _ended(self, unit: str, found: tuple[list[Ending], int, int]) -> None:
        endings, done, doubtful = found
        needs = "needs" if doubtful == 1 else "need"
        look = f"; {doubtful} {needs} review" if doubtful else ""
        why = " ".join(ending.sentence(unit) for ending in endings)
        if any(ending.reason == "uncertain" for ending in endings):
            why += " Where it goes on, click again."
        self._controller.status_message.emit(
            f"Propagated to {counted(done, unit)}{look}. {why}".strip()
        )

    def _prefetch(self, *_: object) -> None:
        """Have the neighbouring slices' embeddings ready, when no one waits for anything."""
        place, session = self._place(), self._controller.session
        if place is None or session is None:
            return
        annotated, plane, axis = place
        count, look = spatial_shape(annotated.image)[axis], annotated.look
        if annotated.active is not None and annotated.active.look is not None:
            look = replace(look, channels=annotated.active.look.channels)
        near = [plane.index[axis] + step for step in (1, -1)]
        pictures = [
            image_plane_of(annotated.image, plane.at(axis, p), look) for p in near if 0 <= p < count
        ]

        def job(progress: Progress) -> None:
            for image_plane in pictures:
                progress(0.0, "")
                session.prefetch(image_plane)

        self._controller.worker.submit_idle(job)


def _to_its_end(
    found: Generator[PropagatedSlice, None, Ending], barrier: int | None, endings: list[Ending]
) -> Iterator[PropagatedSlice]:
    """Pass on the slices that are found, and take down why they end: maybe at a user's own."""
    ending = yield from found
    if ending.reason == "edge" and barrier is not None:
        ending = Ending(barrier, "yours")
    endings.append(ending)


def _look_beyond(annotated: AnnotatedImage, part: Part, axis: int) -> DisplaySettings:
    """Return how an object is looked at on other slices: its channels, in the slice's own range."""
    channels, now = looked(annotated, part.source, part.plane).channels, annotated.look
    return now if channels.axis == axis else replace(now, channels=channels)


def _mixture_of(part: Part) -> MixtureParameters | None:
    """Return what was learnt on a slice; None of one that was painted."""
    latest = part.decisions[-1] if part.decisions else None
    # A size that is held is none of the mixture's; the profile was taught it when it was accepted.
    return None if latest is None or latest.size is not None else latest.mixture
