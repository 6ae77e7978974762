"""One image of the viewer with everything that belongs to its annotation."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from psygnal import Signal

from napari_spa.core.types import LocalMask
from napari_spa.errors import InputError
from napari_spa.refine.annotation.annotation import Annotation, Overlap
from napari_spa.refine.annotation.objects import Change, Part, Patch
from napari_spa.refine.log.journal import ImageFacts, Journal
from napari_spa.refine.session.acts import evidence_of
from napari_spa.viewer.annotation.round import (
    ActiveObject,
    ActRecord,
    DroppedObject,
    RenderedRound,
    display_record,
)
from napari_spa.viewer.compat import old_objects
from napari_spa.viewer.layers.candidates import CandidateShapes
from napari_spa.viewer.layers.mask import MaskLayer
from napari_spa.viewer.layers.planes import (
    Channels,
    DisplaySettings,
    channel_axis,
    channel_choices,
    fellow_channels,
    image_digest,
    keep_channels_apart,
    name_channel_axis,
    shown_channel,
    spatial_shape,
)
from napari_spa.viewer.layers.prompts import PromptLayers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path
    from weakref import ReferenceType

    import numpy as np
    from napari.components import ViewerModel
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.refine.log.journal import Sink
    from napari_spa.refine.session.acts import Decision
    from napari_spa.viewer.autosave import LogLocation
    from napari_spa.viewer.layers.label_storage import LabelStore


class Choice(NamedTuple):
    """The object that is active, on its image, and its round on show."""

    annotated: AnnotatedImage
    active: ActiveObject
    shown: RenderedRound


class AnnotatedImage:
    """An image layer, our layers on it, its objects and the active one.

    The labels hold a preview of the active object, which is no object yet: whatever acts on
    objects, or counts them, does so by a method of this class, or in :meth:`bare`.
    Everything here belongs to the main thread.
    """

    edit_ended = Signal()  # the object that was edited by hand is no more
    painted_over = Signal()  # the active object's preview is being painted on

    def __init__(self, viewer: ViewerModel, image: Image, axes: tuple[int, int]) -> None:
        self.image = image
        self.facts = facts_of(image)
        self._named = str(image.name)  # what our layers are named after
        self.mask = MaskLayer(viewer, image, axes)
        self.prompts = PromptLayers(viewer, image)
        self.candidates = CandidateShapes(viewer, image, under=lambda: self.mask.known)
        self.annotation = Annotation(self.mask)
        self.display = DisplaySettings(channel_choices(image)[0])  # as a user chose it
        self.location: LogLocation | None = None  # where its work is kept, if it has its own place
        self.unlog()
        self.active: ActiveObject | None = None
        self.selected: int | None = None
        # Where the work is kept that a dock left which was closed, and its mask layer.
        self.left: tuple[Path, ReferenceType[Labels]] | None = None
        # The object that is edited by hand, and where; the classes of the image's project.
        self.edited: tuple[int, Plane] | None = None
        self.classes_file: Path | None = None
        self.acts = ActRecord()
        self._painted_after: Change | None = None  # the last act when strokes were painted
        self.mask.painted.connect(self._on_painted)
        self._viewer = viewer
        self._preview: Patch | None = None
        self._bare = 0  # blocks of :meth:`bare` that are open
        self._overlap: Overlap = "protect"
        self._hidden: list[Any] = []
        self._flipped: int | None = None
        self._sized: LocalMask | None = None  # the recommendation as it is being resized
        self._source: str | None = None

    @property
    def choice(self) -> Choice | None:
        """What there is to choose: the object that is active and shown."""
        active = self.active
        if active is None or active.shown is None:
            return None
        return Choice(self, active, active.shown)

    def owns(self, layer: object) -> bool:
        """Tell whether a layer is one of ours."""
        return any(part.owns(layer) for part in (self.mask, self.prompts, self.candidates))

    def source(self) -> str:
        """Return a digest of the whole image, the same whenever it is opened; in any thread."""
        if self._source is None:
            self._source = image_digest(self.image, self.mask.store.axes)
        return self._source

    @property
    def look(self) -> DisplaySettings:
        """How the image is looked at now: of the channels, "on show" is which one that is."""
        channels = self.display.channels
        if channels.axis is None or channels.chosen is not None:
            return self.display
        chosen = (shown_channel(self._viewer, self.image),)
        return replace(self.display, channels=replace(channels, chosen=chosen))

    def choices(self) -> tuple[Channels, ...]:
        """Return the channels that a user may choose among, those of other layers too."""
        return channel_choices(self.image, fellow_channels(self._viewer.layers, self.image))

    def share_channels(self, axis: int) -> None:
        """Let all positions along an axis have the same labels, where none has its own yet."""
        if channel_axis(self.image) is None and not _apart(axis, self.annotation):
            name_channel_axis(self.image, axis)
            self.follow_names()

    def follow_names(self) -> None:
        """Share the labels of an axis that is called channels now, and offer its channels."""
        axis = channel_axis(self.image)
        if axis is None or axis == self.mask.store.shared:
            return
        if _apart(axis, self.annotation):
            keep_channels_apart(self.image)
            return
        with self.bare():
            self.mask.share()
            if self.active is not None:
                self.active = self.active.on_channels(axis)
        self._offer_channels()
        self.follow_channel()

    def _offer_channels(self) -> None:
        """Look at the channels as before, by what they are called now; else at those on show."""
        before, choices = self.display.channels, channel_choices(self.image)
        same = (c for c in choices if (c.axis, c.chosen) == (before.axis, before.chosen))
        self.display = replace(self.display, channels=next(same, choices[0]))

    def follow_channel(self) -> None:
        """Bring what is drawn to the channel on show: an object is on all of them."""
        if channel_axis(self.image) is not None:
            self._place_on_show()

    def place(self, _: object = None) -> None:
        """Put all layers of ours where the image is now; its axes may be called otherwise."""
        if self.same_data:
            self.follow_names()
            self.mask.place()
            self._place_on_show()
            self.show_prompts()  # lines as wide as before

    def rename(self, _: object = None) -> None:
        """Name our layers after the image, which has another name."""
        before, self._named = self._named, self.image.name
        self._name_layers(before)

    def _name_layers(self, before: str) -> None:
        """Name those layers of ours after the image that were named after something else."""
        for layer in filter(self.owns, self._viewer.layers):
            if layer.name.startswith(f"{before}: "):
                layer.name = self._named + layer.name.removeprefix(before)

    def _place_on_show(self) -> None:
        self.prompts.place()
        self.candidates.place()

    def log_to(self, log: Sink) -> None:
        """Write what is done from now on into a log."""
        self.journal, self.logged = Journal(log), True

    def unlog(self) -> None:
        """Write into no log any more; what is done is noted nowhere."""
        self.journal, self.logged = Journal(deque(maxlen=0)), False

    @property
    def untouched(self) -> bool:
        """Whether nothing was done to the image yet."""
        return not self.annotation.objects and self.active is None and not self.logged

    @property
    def empty(self) -> bool:
        """Whether nothing is on its mask, neither an object nor what a user painted."""
        return not self.annotation.objects and not self.mask.used

    def forget_pixels(self) -> None:
        """Take the image for another one: its pixels were replaced."""
        self.acts.forget_dropped()
        self._source = None

    @property
    def same_data(self) -> bool:
        """Whether the image is still of the shape and type that was annotated."""
        now = facts_of(self.image)
        return (now.shape, now.dtype) == (self.facts.shape, self.facts.dtype)

    # ------------------------------------------------------------------ the active object

    def take(self, active: ActiveObject) -> None:
        """Make an object the active one; nothing is shown of it yet."""
        self.end_edit()
        self.active = active

    def showing(
        self, shown: RenderedRound, overlap: Overlap, masked: Callable[[RenderedRound], None]
    ) -> Iterator[None]:
        """Show a round of the active object: mask, prompts and view, then differences.

        What napari does for each takes a while in the GUI thread, so this is an iterator:
        between two of its steps the window may live.  ``masked`` is called in the step in which
        the mask changes, so that what is said of it changes with it.
        """
        active = self.active
        if active is None:
            return
        self.mask.make()
        yield
        yield from self.prompts.steps()
        self._flipped = self._sized = None
        self.active, self._overlap = replace(active, shown=shown, taken=False), overlap
        self._begin_preview()
        self.mask.refresh()
        masked(shown)
        yield
        self.show_prompts()
        yield
        yield from self.candidates.steps(active.plane, shown.drawn)

    def show_prompts(self) -> None:
        """Draw what was said about the active object."""
        if self.choice is not None:
            _, active, shown = self.choice
            state = shown.timeline.state
            self.prompts.show(active.plane, state.own_clicks, state.prompts.box, state.view)

    def flip(self, index: int | None) -> None:
        """Show a candidate in the place of the recommendation for a moment; None ends it."""
        shown = None if self.active is None else self.active.shown
        if index is not None and (shown is None or index >= len(shown.drawn)):
            return  # of a blind round nothing is drawn
        self._flipped = index
        self._begin_preview()
        self.mask.refresh()

    def show_sized(self, mask: LocalMask | None) -> None:
        """Show the recommendation at another size for a moment; None ends it."""
        self._sized = mask
        self._begin_preview()
        self.mask.refresh()

    def ready(self) -> Generator[None]:
        """Make the layers before they are needed, in steps: each takes napari a while."""
        yield from self.mask.steps()
        yield from self.prompts.steps()
        yield from self.candidates.make()

    def accept(self, overlap: Overlap, class_name: str = "") -> tuple[int, int]:
        """Write the round on show as the object; it is no longer active.

        An object that is new is of the class, or of the one that it had when it was accepted.
        """
        if self.choice is None:
            raise InputError("there is no active object; click on one.")
        _, active, shown = self.choice
        class_name = class_name if active.class_name is None else active.class_name
        decisions = shown.timeline.state.decisions
        rounds, uncertainty = shown.proposal.round, shown.proposal.uncertainty
        source = display_record(active.look or self.look, shown.session.sampler)
        made, plane = active.model, active.plane
        part = Part(plane, "accepted", rounds, uncertainty, decisions, model=made, source=source)
        with self.bare():
            self.write(active.number, part, shown.mask, overlap, class_name=class_name)
            self.active = None  # no preview of it comes back
        self.drop()
        self.mask.make()
        kept = self.annotation.objects[active.number].on(active.plane)
        return active.number, 0 if kept is None else kept.area

    def write(
        self,
        number: int,
        part: Part,
        mask: LocalMask,
        overlap: Overlap,
        *,
        group: int | None = None,
        class_name: str = "",
    ) -> Change:
        """Write an object on a plane: labels, table and log; ``InputError`` if no pixel is left.

        Changes of one group are taken back together; an object that is new is of the class.
        """
        self.end_edit()
        with self.bare():
            kept = self._beside_others(number, part.plane, mask, part.decisions, overlap)
            change = self.annotation.commit(
                number, part, kept, overlap=overlap, group=group, class_name=class_name
            )
        self.journal.accept(number, part, mask, overlap, group, class_name=class_name)
        return change

    def take_recommended(self) -> None:
        """Show what is recommended: it was chosen among the masks of a blind round."""
        if self.active is not None and not self.active.decided:
            self.active = replace(self.active, taken=True)
            self._begin_preview()
            self.mask.refresh()

    def remove(
        self, number: int, plane: Plane | None = None, *, group: int | None = None
    ) -> Change:
        """Take an object away, from one plane or from all: labels, table and log."""
        self.end_edit()
        with self.bare():
            change = self.annotation.remove(number, plane, group=group)
        self.journal.delete(number, plane, group)
        return change

    def describe(
        self,
        number: int,
        *,
        name: str | None = None,
        class_name: str | None = None,
        group: int | None = None,
    ) -> None:
        """Give an object a name or a class: table and log."""
        self.end_edit()
        self.annotation.describe(number, name=name, class_name=class_name, group=group)
        self.journal.describe(number, name, class_name, group)

    def keep(self, number: int, *, group: int | None = None) -> None:
        """Accept what was to be reviewed of an object: table and log."""
        self.end_edit()
        self.annotation.keep(number, group=group)
        self.journal.keep(number, group)

    def merge(self, number: int, others: Sequence[int]) -> None:
        """Give an object the pixels of others: labels, table and log."""
        self.end_edit()
        with self.bare():
            self.annotation.merge(number, others)
        self.journal.merge(number, others)

    def divide(self, number: int, plane: Plane, pieces: Sequence[LocalMask]) -> tuple[int, ...]:
        """Make pieces of an object objects: labels, table and log; return their numbers."""
        self.end_edit()
        first = self.annotation.next_number
        named = dict(enumerate(pieces, start=first))
        with self.bare():
            self.annotation.divide(number, plane, named)
        self.journal.divide(number, plane, named)
        return tuple(named)

    def begin_edit(self, number: int, plane: Plane) -> None:
        """Take what is painted on a plane from now on for one act on an object."""
        self.end_edit()
        self.mask.forget_strokes()  # undo goes back to here, stroke by stroke, and then ends it
        self.annotation.begin_edit(plane, self.mask.read_plane(plane))
        self.journal.begin_edit(plane)
        self.edited = number, plane

    def end_edit(self) -> None:
        """End the act that :meth:`begin_edit` began; whatever else is done ends it first."""
        if self.edited is None:
            return
        (number, plane), self.edited = self.edited, None
        labels = self.mask.read_plane(plane)
        if self.annotation.recount(plane, labels):
            self.journal.edit(plane, labels)
        self.annotation.end_edit(number, labels)
        self.mask.forget_strokes()  # they are one act now
        self.journal.end_edit(number, plane)
        self.edit_ended.emit()

    def undo(self, *, redo: bool = False) -> Change:
        """Take the last act on objects back, or do it again; ``InputError`` without one."""
        self.end_edit()
        with self.bare():
            change = self.annotation.redo() if redo else self.annotation.undo()
        self.journal.note("redo" if redo else "undo")
        return change

    def unpaints(self, *, redo: bool = False) -> bool:
        """Tell whether the last that was done, or taken back, is a stroke on the mask."""
        latest = self._painted_after is self.annotation.last_change
        return latest and self.active is None and bool(self.mask.stroke(redo=redo))

    def _on_painted(self, planes: object) -> None:
        if self.active is not None:  # the next round would wipe it away
            if self.mask.painted_with(self.active.number):
                self.painted_over.emit()
            else:
                self.mask.forget_strokes()
        elif self._painted_after is not self.annotation.last_change:
            self.mask.forget_strokes(but=1)
        self._painted_after = self.annotation.last_change

    def labels_in_use(self) -> list[tuple[Plane, NDArray[np.integer]]]:
        """Return the labels, (H, W), of all planes that hold an object."""
        parts = (part for active in self.annotation.objects.values() for part in active.parts)
        planes = dict.fromkeys(part.plane for part in parts)
        with self.bare():
            return [(plane, self.mask.read_plane(plane)) for plane in planes]

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Take the preview out of the labels for the block; after it they are shown.

        A block may be in another one: the preview comes back after the outermost.
        """
        self._end_preview()
        self._bare += 1
        try:
            yield
        finally:
            self._bare -= 1
            if not self._bare:
                self._begin_preview()
                self.mask.refresh()

    def set_overlap(self, overlap: Overlap) -> None:
        """Preview the active object as it would be written now."""
        if overlap != self._overlap:
            with self.bare():
                self._overlap = overlap

    def active_again(self) -> DroppedObject | None:
        """Return what brings the active object back, should it be dropped; None without a round."""
        if self.choice is None:
            return None
        _, active, shown = self.choice
        timeline, latest = shown.timeline, self.annotation.last_change
        follows, undone = self.acts.followed.get(active.number), len(timeline.future)
        rest, strokes = active.at_rest(), self.mask.strokes
        return DroppedObject(rest, timeline.latest, undone, follows, latest, strokes)

    def drop(self) -> None:
        """Take away what is shown of the active object; objects stay as they were."""
        self._end_preview()
        self.mask.refresh()
        self.prompts.clear()
        self.candidates.clear()
        self.active = self._flipped = self._sized = None

    def restore(self, annotation: Annotation, store: LabelStore) -> None:
        """Take objects and labels that were read from a log."""
        shared = channel_axis(self.image)
        if shared is not None and _apart(shared, annotation):
            keep_channels_apart(self.image)
            self.display = replace(self.display, channels=channel_choices(self.image)[0])
        elif shared is not None:
            store = store.sharing(shared)
        self.mask.adopt(store)
        self.annotation = annotation
        self.annotation.move_to(self.mask)
        layer, self.left = None if self.left is None else self.left[1](), None
        if layer is None or not self.mask.take_back(layer):
            self.mask.make()
        self.acts.forget_dropped()

    def set_hidden(self, hidden: bool) -> None:
        """Hide all layers of ours, or show those again that were shown before."""
        self.candidates.set_hidden(hidden)
        if hidden and not self._hidden:
            ours = (layer for layer in self._viewer.layers if self.owns(layer))
            self._hidden = [layer for layer in ours if layer.visible]
        for layer in self._hidden:
            layer.visible = not hidden
        if not hidden:
            self._hidden = []

    def take_over(self, other: AnnotatedImage, *, saved: bool = False) -> None:
        """Use our layers of an image that was left: napari takes long to make and remove one.

        Its mask comes along where nothing is on it, or where what is on it was saved elsewhere;
        else it stays, as the user's work.
        """
        other.drop()
        free = saved or other.empty
        if other.image.ndim != self.image.ndim:
            with old_objects.search_later():
                other.clear_layers(mask=free)
            return
        # napari draws the list again after each change; after several at once, once.
        with self._viewer.layers.batched_update():
            if free and self.mask.shown:
                other.mask.remove()
            elif free:
                self.mask.take_over(other.mask)
            self.prompts.take_over(other.prompts)
            self.candidates.take_over(other.candidates)
            self._name_layers(other._named)
            self._raise_layers()

    def remove_layers(self, *, mask: bool = False) -> None:
        """Let our layers go as the image does; the mask, the user's work, stays unless asked."""
        self.drop()
        self.clear_layers(mask=mask)
        self.mask.release()

    def clear_layers(self, *, mask: bool = False) -> None:
        """Take our layers out of the viewer; a mask that stays is listened to."""
        # napari collects garbage after each layer; of several at once, after all of them, and
        # after none, too, as where the whole window closes.
        layers = self._viewer.layers
        several = any(self.owns(layer) for layer in layers)
        with layers.batched_update() if several else nullcontext():
            self.prompts.remove()
            self.candidates.remove()
            if mask:
                self.mask.remove()

    def _raise_layers(self) -> None:
        """Bring our layers above the image, if it is in the viewer yet."""
        layers = self._viewer.layers
        if self.image in layers:
            for layer in filter(self.owns, list(layers)[: layers.index(self.image)]):
                layers.move(layers.index(layer), len(layers))

    def _begin_preview(self) -> None:
        """Count what accepting would write; show it, but not to a blind reader."""
        self._end_preview()  # a preview of a preview would forget the labels under both
        if self.choice is None:
            return
        _, active, shown = self.choice
        mask, state = shown.mask, shown.timeline.state
        if self._sized is not None:
            mask = self._sized
        elif self._flipped is not None:
            other = shown.proposal.candidates[self._flipped]
            mask = LocalMask.crop(other.local_mask, other.region)
        number, plane = active.number, active.plane
        mask = self._beside_others(number, plane, mask, state.decisions, self._overlap)
        patch, kept = self.annotation.outline(number, plane, mask, overlap=self._overlap)
        if self._flipped is None and self._sized is None:
            self.active = replace(active, area=kept.area)
        if active.decided:
            self.annotation.apply(patch)
            self._preview = patch

    def _beside_others(
        self,
        number: int,
        plane: Plane,
        mask: LocalMask,
        decisions: tuple[Decision, ...],
        overlap: Overlap,
    ) -> LocalMask:
        """Return a mask without what would be crumbs of it beside protected objects."""
        if overlap != "protect":
            return mask
        return self.annotation.without_leftovers(number, plane, mask, evidence_of(decisions))

    def _end_preview(self) -> None:
        if self._preview is not None:
            self.annotation.apply(self._preview.reverse)
            self._preview = None


def _apart(axis: int, annotation: Annotation) -> bool:
    """Tell whether there are objects elsewhere along an axis than where it begins."""
    held = (part.plane for one in annotation.objects.values() for part in one.parts)
    return any(plane.index[axis] for plane in held)


def facts_of(image: Image) -> ImageFacts:
    """Say what tells an image layer from another without reading it."""
    data: Any = image.data[0] if image.multiscale else image.data
    path = str(image.source.path or "")
    return ImageFacts(str(image.name), spatial_shape(image), str(data.dtype), path)
