"""What a user does with profiles: choose, make, rename, copy, merge, reset, delete, compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.transforms import Affine
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.types import Region
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
from napari_spa.viewer.background import later
from napari_spa.viewer.layers.mask import (
    add_quietly,
    follow_space,
    place_layer,
    space_of,
    unfollow_space,
)
from napari_spa.viewer.layers.planes import image_plane_of, plane_on_show
from napari_spa.viewer.profiles.active import recent_profiles, remember_profile, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import MixtureParameters, Proposal
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.layers.candidates import CandidateShapes
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
                wanted = recent_profiles().get(settings.model, "")
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


DISAGREEMENT_NAME = "SPA disagreement"
MODEL_ALONE = "the model alone"


@dataclass(frozen=True, slots=True, eq=False)
class Disagreement:
    """Where two profiles disagree."""

    names: tuple[str, str]  # of the two
    region: Region  # the rectangle in which they do; empty when they agree
    # (region.height, region.width), uint8: 1 where only the first would draw, 2 where only the
    # second would.
    labels: NDArray[np.uint8]
    areas: tuple[int, int]  # pixels that each would draw
    dice: float  # their agreement, in [0, 1]

    @property
    def words(self) -> str:
        """Both areas and the agreement, in one line."""
        (one, other), (first, second) = self.names, self.areas
        if not self.labels.any():
            return f"{one} and {other} draw the same here: {first:,} px."
        # A number and its unit, or its name, stay on one line.
        return f"{one}: {first:,}\u00a0px, {other}: {second:,}\u00a0px, Dice\u00a0{self.dice:.2f}"


class Disagreements(QObject):
    """Compare the profile in use with another one on the active object.

    The layer stays, hidden and empty, while its image is there: napari takes long to add one,
    and longer to remove one.
    """

    changed = Signal(object)  # the ``Disagreement`` that is shown, or None

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller = controller
        self._layer: Labels | None = None
        self._image: Image | None = None
        self._drawn: tuple[Disagreement, Plane] | None = None  # what the layer holds
        self._under: Labels | None = None  # the mask, hidden meanwhile
        self._over: CandidateShapes | None = None  # the candidates, which would lie over it
        self._shown = False
        # napari may be removing several layers, this one among them: not while it counts them.
        self._remove_due = later(self, self._remove)
        controller.cleared.connect(self.clear)
        controller.proposed.connect(lambda *_: self.clear())  # it was about the round before
        controller.viewer.layers.events.removed.connect(self._on_removed)

    @property
    def possible(self) -> bool:
        """Whether there is an object to compare on; blind reading shows no mask."""
        return self._controller.choosing and not self._controller.blind

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

        def job(progress: Progress) -> Disagreement:
            found = disagree(
                session,
                image_plane,
                prompts,
                mine,
                None if other is None else PreferenceProfile.load(other),
                progress=progress,
            )
            return cut_out(found, names)

        controller.status_message.emit(f"Comparing with {name}…")
        controller.submit(job, lambda found: self._show(found, annotated, active.plane))

    def clear(self) -> None:
        """Show the comparison no more."""
        layer = self._layer
        under, self._under = self._under, None
        if under is not None:
            under.visible = True
        over, self._over = self._over, None
        if over is not None:
            over.set_hidden(False)
        if layer is not None and layer.visible:
            layer.visible = False
            layer.data = np.zeros((1,) * layer.ndim, dtype=np.uint8)
        if self._shown:
            self._shown = False
            self.changed.emit(None)

    def close(self) -> None:
        """Take the layer away, and listen to the viewer no more."""
        self._controller.viewer.layers.events.removed.disconnect(self._on_removed)
        self._remove_due.stop()
        self._remove()

    def _remove(self) -> None:
        self.clear()
        if self._image is not None:
            unfollow_space(self._image, self._place)
        layer, self._layer, self._image = self._layer, None, None
        if layer is not None and layer in self._controller.viewer.layers:
            self._controller.viewer.layers.remove(layer)

    def _show(self, found: Disagreement, annotated: AnnotatedImage, plane: Plane) -> None:
        self.clear()
        viewer, image = self._controller.viewer, annotated.image
        if image not in viewer.layers:
            return
        if found.labels.any():
            self._draw(found, image, plane)
            if annotated.mask.shown and annotated.mask.layer.visible:
                self._under = annotated.mask.layer  # its colour would mix with these
                self._under.visible = False
            self._over = annotated.candidates
            self._over.set_hidden(True)
            self._controller.status_message.emit("Where they disagree is drawn in the image.")
        else:
            self._controller.status_message.emit(
                f"{found.names[0]} and {found.names[1]} agree on this object."
            )
        self._shown = True
        self.changed.emit(found)

    def _draw(self, found: Disagreement, image: Image, plane: Plane) -> None:
        viewer, labels = self._controller.viewer, as_stack(found, image, plane)
        if self._layer is None or image is not self._image:
            self._remove()
            self._layer, self._image = disagreement_layer(labels, image), image
            follow_space(image, self._place)
        layer = self._layer
        layer.data = labels
        self._drawn = found, plane
        self._place()
        layer.visible = True
        if layer not in viewer.layers:
            add_quietly(viewer, layer)

    def _place(self, event: Any = None) -> None:
        """Put the layer where its image is now."""
        layer, image = self._layer, self._image
        if layer is None or image is None or self._drawn is None:
            return
        found, plane = self._drawn
        shown = plane_on_show(self._controller.viewer, image, plane)
        place_layer(layer, space_of(image) | {"translate": corner_of(found, image, shown)})

    def _on_removed(self, event: Any) -> None:
        if self._layer is None:
            return
        if event.value is self._image:
            self._remove_due.start()
        elif event.value is self._layer:
            self._layer = None
            self._remove()


def cut_out(found: ProfileDisagreement, names: tuple[str, str]) -> Disagreement:
    """Cut the part out of an image in which two profiles disagree."""
    (first, second), seen = found.local_masks, found.region
    labels = np.where(first & ~second, 1, 2 * (second & ~first)).astype(np.uint8)
    box = Region.bounding(labels > 0)
    region = replace(box, row=box.row + seen.row, column=box.column + seen.column)
    areas = found.first.area, found.second.area
    return Disagreement(names, region, labels[box.slices].copy(), areas, found.dice)


def as_stack(found: Disagreement, image: Image, plane: Plane) -> NDArray[np.uint8]:
    """Return the labels with as many axes as an image has, one position long beside the plane."""
    sizes = dict(zip(plane.axes, found.labels.shape, strict=True))
    return found.labels.reshape(tuple(sizes.get(axis, 1) for axis in range(image.ndim)))


def corner_of(found: Disagreement, image: Image, plane: Plane) -> NDArray[np.float64]:
    """Return the ``translate`` of a layer of :func:`as_stack` that is else placed as the image.

    It is (ndim,) float64, in the image's units.
    """
    corner = plane.points(np.array([[found.region.row, found.region.column]], dtype=float))[0]
    turned = Affine(scale=image.scale, rotate=image.rotate, shear=image.shear)
    return np.asarray(image.translate + turned(corner), dtype=np.float64)


def disagreement_layer(labels: NDArray[np.uint8], image: Image) -> Labels:
    """Make the layer *SPA disagreement* of :func:`as_stack`'s labels, at the image's corner."""
    colours: dict[int | None, Any] = {
        number: [*(value / 255 for value in colour), 1.0]
        for number, colour in ((1, FIRST_COLOUR), (2, SECOND_COLOUR))
    }
    layer = Labels(
        labels,
        name=DISAGREEMENT_NAME,
        opacity=0.75,
        colormap=DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", **colours}),
        **space_of(image),
    )
    layer.editable = False
    return layer
