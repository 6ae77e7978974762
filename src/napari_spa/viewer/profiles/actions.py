"""What a user does with profiles: choose, make, rename, copy, merge, reset, delete."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine.preference import evidence, merge_profiles, start_from
from napari_spa.viewer.profiles.active import recent_profile, remember_profile, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_spa.core.types import MixtureParameters, Proposal
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.controller import AnnotationController
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
        if before is not None and settings.model != before.model:
            profiles.release()
            if settings.profile == before.profile:
                wanted = recent_profile(settings.model)
                if wanted != settings.profile:
                    self.setting_wanted.emit(wanted)
                    return
        elif before is not None and settings.profile != before.profile:
            remember_profile(settings.model, settings.profile)
        path = Path(settings.profile) if settings.profile else None
        news = before is not None and path != profiles.chosen  # from another window, or model
        profiles.use(path)
        if news:
            who = "no profile" if path is None else self._name_of(path)
            self._controller.status_message.emit(f"Objects start from {who} now.")

    def choose(self, path: Path | None) -> None:
        """Use a profile from the next object on, or from this one if nothing was picked yet."""
        if path == self._profiles.chosen:
            return
        session = self._controller.session
        before = None if session is None else session.profile
        self._profiles.use(path)
        self.setting_wanted.emit("" if path is None else str(path))
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

        self._controller.with_session(make)

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
        active = controller.active
        if active is None or active.shown is None:
            return
        timeline = active.shown.timeline
        first, *rest = timeline.latest
        undone, initial = len(timeline.future), timeline.state.initial
        picked = any(decision.act == "pick" for decision in rest)
        untaught = _equal(first.mixture, start_from(initial, before))
        if controller.busy or picked or active.reopened or not untaught:
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
