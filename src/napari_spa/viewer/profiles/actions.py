"""What a user does with profiles: choose, make, rename, copy, merge, reset, delete, compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine.preference import (
    FIRST_COLOUR,
    SECOND_COLOUR,
    ProfileDisagreement,
    disagree,
    evidence,
    merge_profiles,
    start_from,
)
from napari_spa.viewer.annotation.controller import BUSY, AnnotationController
from napari_spa.viewer.layers.candidates import MOST_VERTICES, mask_polygons
from napari_spa.viewer.layers.planes import image_plane_of
from napari_spa.viewer.profiles.active import recent_profiles, remember_profile, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Labels

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import DoubleArray, MixtureParameters, Proposal
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.settings import Settings


class ProfileActions(QObject):
    """The actions on the profiles of a dock."""

    setting_wanted = Signal(str)  # the profile that the settings shall name; empty for none

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller, self._profiles = controller, controller.profiles
        self._settings: Settings | None = None

    def apply(self, settings: Settings) -> None:
        """Use the profile of the settings; with another model, the one used last with it."""
        before, self._settings = self._settings, settings
        profiles = self._profiles
        profiles.model_name = settings.model
        profiles.set_teaching(settings.teach)
        if before is not None and settings.model != before.model:
            profiles.release()
            if settings.profile == before.profile:
                wanted = recent_profiles().get(settings.model, "")
                if wanted != settings.profile:
                    self.setting_wanted.emit(wanted)
                    return
        elif before is not None:
            if settings.profile == before.profile:
                return  # one that was refused is not tried again
            remember_profile(settings.model, settings.profile)
        path = Path(settings.profile) if settings.profile else None
        news = before is not None and path != profiles.chosen  # from another window, or model
        profiles.use(path)
        if news:
            who = "no profile" if path is None else self._name_of(path)
            self._controller.status_message.emit(f"Objects start from {who} now.")

    def choose(self, path: Path | None) -> None:
        """Use a profile from the next object on, or from this one if nothing was picked yet."""
        wanted = "" if path is None else str(path)
        if path == self._profiles.chosen:
            self.setting_wanted.emit(wanted)  # which may still name one that was refused
            return
        session = self._controller.session
        before = None if session is None else session.profile
        self._profiles.use(path)
        self.setting_wanted.emit(wanted)
        self._start_again(before)
        if path is not None and not self._profiles.teaching:
            self._controller.status_message.emit(
                f"{self._name_of(path)} learns nothing for now: Teach was switched off in Options."
            )

    def _name_of(self, path: Path) -> str:
        entry = self._profiles.entry
        return shortened(path.stem if entry is None else entry.name)

    # ------------------------------------------------------------------ in the store

    def new(self, name: str, task: str) -> None:
        """Put an empty profile for the model in use in the store, and use it."""

        def make(session: RefinementSession) -> None:
            model = session.model.identity
            self._put(lambda: PreferenceProfile.empty(model, name=name.strip(), task=task.strip()))

        controller = self._controller
        if controller.model.session is not None:
            make(controller.model.session)
        elif controller.busy:
            controller.status_message.emit(BUSY)
        else:
            controller.submit(controller.model.loader(), make)

    def keep(self, name: str, task: str) -> None:
        """Put what this window learnt without a profile in the store, and use it."""
        loose = self._profiles.loose
        if loose is None:
            return

        def then(path: Path) -> None:
            self._profiles.loose = None
            self.choose(path)

        self._put(lambda: replace(loose, name=name.strip(), task=task.strip()), then)

    def merge(self, others: Sequence[Path], name: str, task: str) -> None:
        """Put one profile of the one in use and others in the store, and use it."""
        path, updates = self._profiles.chosen, self._profiles.updates
        if path is None:
            return
        paths = [path, *others]

        def make() -> PreferenceProfile:
            return merge_profiles([updates.read(p) for p in paths], name.strip(), task.strip())

        def then(merged: Path) -> None:
            self.choose(merged)
            self._controller.status_message.emit(
                f"{name.strip()} is made of {len(paths)} profiles and in use from here on."
            )

        self._put(make, then)

    def copy(self, name: str, task: str) -> None:
        """Put a copy of the profile in use in the store; where its file is gone, use that."""
        profiles = self._profiles
        path, held = profiles.chosen, profiles.profile
        if path is None:
            return

        def make() -> tuple[Path, bool]:
            gone = held is not None and not path.exists()
            profile = held if gone and held is not None else profiles.updates.read(path)
            copied = profiles.store.add(replace(profile, name=name.strip(), task=task.strip()))
            if gone:
                profiles.updates.drop(path)
            return copied, gone

        def then(made: tuple[Path, bool]) -> None:
            copied, gone = made
            if gone and profiles.chosen == path:
                self.choose(copied)
            self._controller.status_message.emit(f"Saved a copy, {name.strip()}.")
            profiles.refresh()

        profiles.files.ask(make, then)

    def rename(self, name: str, task: str) -> None:
        """Call the profile in use something else."""
        profiles = self._profiles
        path = profiles.chosen
        if path is not None:
            profiles.files.ask(
                lambda: profiles.store.rename(path, name, task), partial(self._on_changed, path)
            )

    def reset(self) -> None:
        """Let the profile in use forget what it has learnt."""
        profiles = self._profiles
        path = profiles.chosen
        if path is None:
            return

        def forget() -> PreferenceProfile:
            before = profiles.store.reset(path)
            profiles.updates.drop(path)
            return before

        def then(before: PreferenceProfile) -> None:
            self._controller.status_message.emit(f"{before.name}: {evidence(before)} forgotten.")
            self._on_changed(path, before.emptied())

        profiles.files.ask(forget, then)

    def delete(self) -> None:
        """Take the profile in use out of the store, and use none."""
        profiles, known = self._profiles, self._profiles.entry
        path = profiles.chosen
        if path is None:
            return

        def remove() -> None:
            if path.exists():
                profiles.store.delete(path)
            profiles.updates.drop(path)

        def then(_: None) -> None:
            if profiles.chosen == path:
                self.choose(None)
            self._controller.status_message.emit(
                f"{path.stem if known is None else known.name} is deleted."
            )
            profiles.refresh()

        profiles.files.ask(remove, then)

    def _put(
        self, make: Callable[[], PreferenceProfile], then: Callable[[Path], None] | None = None
    ) -> None:
        profiles = self._profiles
        profiles.files.ask(lambda: profiles.store.add(make()), then or self.choose)

    def _on_changed(self, path: Path, profile: PreferenceProfile) -> None:
        self._profiles.hold(path, profile)
        self._profiles.refresh()

    def _start_again(self, before: PreferenceProfile | None) -> None:
        """Propose the active object again; its clicks stay.

        One that was picked from, was accepted before, or is carried on from another slice
        has learnt already, and stays as it is.
        """
        controller, profiles = self._controller, self._profiles
        choice = controller.choice
        if choice is None:
            return
        other_model = choice.shown.session is not controller.model.session
        timeline = choice.shown.timeline
        first, *rest = timeline.latest
        undone, initial = len(timeline.future), timeline.state.initial
        picked = any(decision.act in ("pick", "look") for decision in rest)
        untaught = _equal(first.mixture, start_from(initial, before))
        if controller.busy or picked or choice.active.reopened or other_model or not untaught:
            controller.status_message.emit("The next object starts from this profile.")
            return

        def action(session: RefinementSession, progress: Progress) -> Proposal:
            profiles.equip(session, again=True)
            decision = replace(first, mixture=start_from(initial, session.profile))
            return session.restore([decision, *rest], undone=undone, progress=progress)

        controller.run(action)


def _equal(one: MixtureParameters, other: MixtureParameters) -> bool:
    names = ("weights", "means", "variances")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


MODEL_ALONE = "the model alone"
_SHADES = tuple(f"#{bytes(colour).hex()}" for colour in (FIRST_COLOUR, SECOND_COLOUR))


@dataclass(frozen=True, slots=True, eq=False)
class Disagreement:
    """Where two profiles disagree."""

    names: tuple[str, str]  # of the two
    # Polygons, (row, column), of what only the first would draw, and of what only the second would.
    only: tuple[list[DoubleArray], list[DoubleArray]]
    areas: tuple[int, int]  # pixels that each would draw
    dice: float  # their agreement, in [0, 1]

    @property
    def words(self) -> str:
        """Both areas and the agreement, in one line."""
        (one, other), (first, second) = self.names, self.areas
        if not any(self.only):
            return f"{one} and {other} draw the same here: {first:,} px."
        # A number and its unit, or its name, stay on one line.
        return f"{one}: {first:,}\u00a0px, {other}: {second:,}\u00a0px, Dice\u00a0{self.dice:.2f}"


def outlined(found: ProfileDisagreement, names: tuple[str, str], *, axis: int = 1) -> Disagreement:
    """Outline where two profiles disagree; ``axis`` is that of :func:`mask_polygons`."""
    (first, second), corner = found.local_masks, (found.region.row, found.region.column)
    one, other = (
        mask_polygons(mask, corner, most=MOST_VERTICES, axis=axis)
        for mask in (first & ~second, second & ~first)
    )
    return Disagreement(names, (one, other), (found.first.area, found.second.area), found.dice)


class Disagreements(QObject):
    """Compare the profile in use with another one on the active object."""

    changed = Signal(object)  # the ``Disagreement`` that is shown, or None

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller = controller
        self._shown: AnnotatedImage | None = None  # on which one is
        self._under: Labels | None = None  # the mask, hidden meanwhile
        controller.cleared.connect(self.clear)
        controller.proposed.connect(lambda *_: self.clear())  # it was about the round before

    @property
    def possible(self) -> bool:
        """Whether there is an object to compare on; blind reading shows no mask."""
        choice = self._controller.choice
        return choice is not None and not (self._controller.blind or choice.active.blind)

    def compare(self, other: Path | None, name: str = MODEL_ALONE) -> None:
        """Show where the profile in use and another one disagree; None is the model alone."""
        controller = self._controller
        choice = controller.choice
        if not self.possible or not controller.ready() or choice is None:
            return
        (annotated, active, shown), profiles = choice, controller.profiles
        session, state = shown.session, shown.timeline.state
        image_plane = image_plane_of(annotated.image, active.plane, active.look or annotated.look)
        prompts = replace(state.prompts, clicks=state.own_clicks, anchor=None)
        mine = session.profile
        names = "you" if profiles.entry is None else shortened(profiles.entry.name), shortened(name)
        rows, columns = controller.viewer.dims.displayed[-2:]

        def job(progress: Progress) -> Disagreement:
            theirs = None if other is None else PreferenceProfile.load(other)
            found = disagree(session, image_plane, prompts, mine, theirs, progress=progress)
            return outlined(found, names, axis=int(rows < columns))

        controller.status_message.emit(f"Comparing with {name}…")
        controller.submit(job, lambda found: self._show(found, annotated, active.plane))

    def clear(self) -> None:
        """Show the comparison no more."""
        under, self._under = self._under, None
        if under is not None:
            under.visible = True
        annotated, self._shown = self._shown, None
        if annotated is not None:
            annotated.prompts.show_areas(())
            annotated.candidates.set_hidden(False)
            self.changed.emit(None)

    def _show(self, found: Disagreement, annotated: AnnotatedImage, plane: Plane) -> None:
        self.clear()
        words = f"{found.names[0]} and {found.names[1]} agree on this object."
        if any(found.only):
            words = "Where they disagree is drawn in the image."
            both = zip(found.only, _SHADES, strict=True)
            areas = [(polygon, shade) for polygons, shade in both for polygon in polygons]
            annotated.prompts.show_areas(areas, plane)
            if annotated.mask.shown and annotated.mask.layer.visible:
                self._under = annotated.mask.layer  # its colour would mix with these
                self._under.visible = False
            annotated.candidates.set_hidden(True)  # they would lie over it
        self._controller.status_message.emit(words)
        self._shown = annotated
        self.changed.emit(found)
