"""Many objects at once: found by the model, or taken over from a labels layer."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, product
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

import numpy as np
import scipy
from napari.layers import Labels
from qtpy.QtCore import QObject

from napari_spa.core.mixture import fit_size_prior
from napari_spa.core.objects import mask_outlines
from napari_spa.core.plane import Plane
from napari_spa.core.presentation import counted
from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import InputError
from napari_spa.io.models.registry import ModelIdentity
from napari_spa.refine.annotation.objects import Part, new_group
from napari_spa.viewer.annotation.controller import BUSY
from napari_spa.viewer.annotation.round import display_record, says_why_not
from napari_spa.viewer.layers.planes import (
    channel_axis,
    image_plane_of,
    shown_plane,
    spatial_shape,
    to_data,
    to_world,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_spa.batch.engine import BatchEngine, Found
    from napari_spa.batch.task import AutoConfig
    from napari_spa.core.types import DoubleArray
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.background import JobHandle

_BATCH = 50  # objects of a labels layer that are written between two looks at the window
_FEW, _UNLIKELY = 3, 2.5  # so many objects tell sizes; beyond so many deviations is another kind
_LOOK_S = 0.7  # between two looks at what was found so far
_WHAT_NOW = "Keep or drop them in the tab Objects; Undo takes all back."
_NEW = 0.5  # share of a mask that must belong to no object yet


@dataclass(slots=True)
class _Taken:
    """What was taken over from a labels layer."""

    layer: ReferenceType[Labels]
    name: str  # of the layer then
    annotated: AnnotatedImage  # whose objects they are
    planes: tuple[Plane, ...]
    numbers: dict[int, int]  # of the objects, by label; 0 for those that were left out
    written: set[int] = field(default_factory=set)  # objects that were written back


class AutomaticSegmentation(QObject):
    """Fill the image that is annotated with objects, as one act that Undo takes back."""

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller = controller
        self._taken: _Taken | None = None
        # What was written, was there already, and was left out, over all slices: labels of a layer,
        # or numbers that the model gave.
        self._written: set[int] = set()
        self._known: set[int] = set()
        self._passed: set[int] = set()
        self._seen: AnnotatedImage | None = None  # on which outlines are drawn meanwhile
        controller.worker.busy_changed.connect(self._hide)

    # ------------------------------------------------------------------ by the model

    @says_why_not
    def segment_all(self, plane: Plane | None = None) -> None:
        """Look for all objects on the slice on show; what is found waits to be kept or dropped."""
        controller = self._controller
        image = controller.image()
        plane = plane or shown_plane(controller.viewer, image)
        current = controller.current
        if controller.busy and (current is None or image is not current.image):
            controller.status_message.emit(BUSY)
            return
        if controller.waits(partial(self.segment_all, plane)):
            return
        annotated = self._ready()
        if annotated is None:
            return
        load, look, sizes = controller.model.loader(), annotated.look, _sizes(annotated, plane)
        image_plane, group = image_plane_of(annotated.image, plane, look), new_group()

        def job(handle: JobHandle) -> bool:
            from napari_spa.batch.auto import generate_plane_masks

            engine = _engine_like(load(handle))
            handle.report(engine.session.model.identity)
            engine.session.set_image(image_plane, source=annotated.source())
            looked = display_record(look, engine.session.sampler)
            config = _auto_config(sizes, engine.session.sampler.shape)
            lines: list[DoubleArray] = []
            shown = time.monotonic()

            def seen(found: Found) -> None:
                nonlocal shown
                corner = found.mask.region.row, found.mask.region.column
                for ring in chain(*mask_outlines(found.mask.pixels, corner)):
                    lines.append(np.concatenate([ring, ring[:1]]) - 0.5)
                if time.monotonic() - shown > _LOOK_S:
                    handle.report(tuple(lines))
                    shown = time.monotonic()

            for found in generate_plane_masks(config, engine, plane, looked, handle, seen):
                handle.report(found)
            return handle.stopping

        def write(value: tuple[DoubleArray, ...] | Found | ModelIdentity) -> None:
            if isinstance(value, ModelIdentity):
                controller.autosave.begin(annotated, value)
            elif isinstance(value, tuple):
                annotated.prompts.show_outline(value, plane)
                self._seen = annotated
            else:
                self._write_found(annotated, group, value)

        self._begin(job, write, "found", _WHAT_NOW)
        controller.status_message.emit("Looking for all objects…")

    def _hide(self, _: object = None) -> None:
        annotated, self._seen = self._seen, None
        if annotated is not None:
            annotated.prompts.show_outline(())

    def _write_found(self, annotated: AnnotatedImage, group: int, found: Found) -> None:
        """Write an object that was found, unless it is one of those there are."""
        decisions, number = found.decisions, annotated.annotation.next_number
        rounds, unsure = decisions[-1].round, found.uncertainty
        part = Part(found.plane, "review", rounds, unsure, decisions, source=found.source)
        told = len(self._written | self._passed) + 1
        self._write(annotated, number, part, found.mask, group, told)

    # ------------------------------------------------------------------ from a layer

    def sources(self) -> list[Labels]:
        """Return the labels layers that are not ours, those on top first."""
        ours = [annotated.mask for annotated in self._controller.images]
        return [
            layer
            for layer in reversed(self._controller.viewer.layers)
            if isinstance(layer, Labels) and not any(mask.owns(layer) for mask in ours)
        ]

    @property
    def origin(self) -> Labels | None:
        """The layer that was taken over last, while it is in the viewer.

        Of work that was brought back it is known by its name.
        """
        current, taken = self._controller.current, self._taken
        if current is not None and (taken is None or taken.annotated is not current):
            for layer in self.sources():
                plane, numbers = current.annotation.taken.get(layer.name, (None, {}))
                with suppress(InputError):  # it has another size now
                    if plane is not None:
                        planes = self._planes(current, tuple(_finest(layer).shape), plane)
                        self._taken = _Taken(ref(layer), layer.name, current, planes, numbers)
                        return layer
        layer = None if taken is None else taken.layer()
        return layer if layer is not None and layer in self._controller.viewer.layers else None

    @says_why_not
    def take_over(self, layer: Labels) -> None:
        """Make every label of a layer an object; numbers that are free are kept."""
        controller, data = self._controller, _finest(layer)
        if controller.waits(partial(self.take_over, layer)):
            return
        annotated = self._ready()
        if annotated is None:
            return
        planes = self._planes(annotated, tuple(data.shape))
        shape, name, before = spatial_shape(annotated.image), str(layer.name), self._taken
        numbers = dict(annotated.annotation.taken.get(name, (None, {}))[1])
        taken = self._taken = _Taken(ref(layer), name, annotated, planes, numbers)
        if before is not None and (before.layer(), before.annotated) == (layer, annotated):
            taken.numbers, taken.written = {**before.numbers, **numbers}, before.written
        apart = f"{name} lies elsewhere in the viewer; its labels were taken row by row."
        apart = apart if self._apart(annotated.image, layer, planes[0]) else ""

        def job(handle: JobHandle) -> None:
            for place, plane in enumerate(planes):
                handle(place / len(planes), f"reading {name}")
                labels = np.asarray(data[plane_index(plane, shape, tuple(data.shape))])
                masks: list[tuple[int, LocalMask]] = []
                for one in _masks_of(labels):
                    masks.append(one)
                    if len(masks) == _BATCH:
                        handle.report((plane, masks))
                        masks = []
                handle.report((plane, masks))

        write = partial(self._write_taken, taken, new_group())
        self._begin(job, lambda value: write(*value), "taken over", apart)
        layer.visible = False  # its objects are on show in ours from now on

    def _write_taken(
        self, taken: _Taken, group: int, plane: Plane, masks: list[tuple[int, LocalMask]]
    ) -> None:
        annotated, numbers = taken.annotated, taken.numbers
        with annotated.bare():
            annotated.mask.make_room(max((label for label, _ in masks), default=0))
            for label, mask in masks:
                objects = annotated.annotation.objects
                under = annotated.mask.read(plane, mask.region)[mask.pixels]
                known = numbers.get(label, 0)
                number = known or int(under[0])
                held = objects[number].on(plane) if number in objects else None
                areas = (0, 0) if held is None else sorted((held.area, mask.area))
                # As it was then; or corrected since, and no other object of a layer of that name.
                least = _NEW * areas[0] if known else areas[1]
                if held is not None and (under == number).sum() >= least:
                    numbers[label] = number
                    self._known.add(label)
                    continue
                free = label not in objects and label <= annotated.mask.largest
                number = label if free else annotated.annotation.next_number
                number = known if known and held is None else number
                part = Part(plane, "accepted", taken=(taken.name, label))
                wrote = self._write(annotated, number, part, mask, group, label)
                numbers[label] = number if wrote else numbers.get(label, 0)

    @says_why_not
    def write_back(self) -> None:
        """Write the objects into the layer that they were taken over from."""
        layer, taken = self.origin, self._taken
        if taken is None or layer is None or taken.annotated not in self._controller.images:
            self._controller.status_message.emit("No labels layer was taken over.")
            return
        annotated = taken.annotated
        self._controller.images.painting.flush(annotated)
        taken.numbers.update(annotated.annotation.taken.get(taken.name, (None, {}))[1])
        if taken.numbers and not {*taken.numbers.values()} & annotated.annotation.objects.keys():
            raise InputError(
                f"no object that was taken over from {layer.name} is left; it stays as it is."
            )
        data, shape = _finest(layer), spatial_shape(annotated.image)
        shared = channel_axis(annotated.image)
        if layer.multiscale or not isinstance(data, np.ndarray):
            raise InputError(f"{layer.name} cannot be written; export the labels instead.")
        after, gone = data.copy(), [*taken.numbers, *taken.written]
        with annotated.bare():
            for plane in taken.planes:
                labels = annotated.mask.read_plane(plane)
                if int(labels.max(initial=0)) > np.iinfo(after.dtype).max:
                    raise InputError(f"{layer.name} cannot hold so many objects.")
                index = plane_index(plane, shape, tuple(data.shape))
                if shared is not None and tuple(data.shape) == shape:
                    labels = np.expand_dims(labels, sum(axis < shared for axis in plane.axes))
                    index = tuple(
                        slice(None) if at == shared else part
                        for at, part in enumerate(plane.slices)
                    )
                # What was not taken over stays, such as -1, or labels that came later.
                there = np.where(np.isin(after[index], gone), 0, after[index])
                after[index] = np.where(labels > 0, labels.astype(after.dtype), there)
        changed = np.nonzero(after != data)
        if data.flags.writeable:  # as an act in the layer's own history
            layer.data_setitem(changed, after[changed])
        else:
            layer.data = after
        taken.written.update(annotated.annotation.objects)
        left_out = ", but for the one in progress: accept it first" if annotated.active else ""
        back = " Ctrl+Z on that layer takes it back." if data.flags.writeable else ""
        self._controller.status_message.emit(f"{layer.name} holds the objects now{left_out}.{back}")

    def _planes(
        self, annotated: AnnotatedImage, labels: tuple[int, ...], at: Plane | None = None
    ) -> tuple[Plane, ...]:
        """Return the planes that labels of a shape are about; ``InputError`` for none.

        Along axes that the labels do not have, it is the place on show, or that of a plane.
        """
        shape = spatial_shape(annotated.image)
        plane = at or shown_plane(self._controller.viewer, annotated.image)
        if plane_index(plane, shape, labels) is None:
            raise InputError("the labels have another size than the image; choose other labels.")
        fixed = {*range(len(shape) - len(labels)), *plane.axes, channel_axis(annotated.image)}
        places = [
            (plane.index[axis],) if axis in fixed else range(n) for axis, n in enumerate(shape)
        ]
        return tuple(Plane(plane.axes, index) for index in product(*places))

    def _apart(self, image: Image, layer: Labels, plane: Plane) -> bool:
        """Tell whether labels are seen elsewhere than on the pixels that they are taken for."""
        viewer, most = self._controller.viewer, 0.5
        last = np.add(spatial_shape(image), -1)
        for corner in (
            np.array(plane.index),
            np.where(np.isin(range(image.ndim), plane.axes), last, plane.index),
        ):
            there = to_data(viewer, layer, to_world(viewer, image, corner))
            if np.abs(there - corner[-layer.ndim :]).max() > most:
                return True
        return False

    def _ready(self) -> AnnotatedImage | None:
        """Return the image that is meant, once no object is active; None where one stays so."""
        controller = self._controller
        if controller.active is not None and not controller.accept():
            return None
        annotated = controller.images.annotate(controller.image())
        controller.images.painting.flush(annotated)
        controller.autosave.begin(annotated)
        return annotated

    def _begin(
        self,
        job: Callable[[JobHandle], bool | None],  # tells whether it was stopped before its end
        write: Callable[[Any], None],
        done: str,
        also: str,  # said after it, where an object was written
    ) -> None:
        self._written, self._known, self._passed = set(), set(), set()

        def on_value(value: Any) -> None:
            write(value)
            self._controller.objects_changed.emit()

        def then(stopped: bool | None) -> None:
            self._ended(f"{done} before it was stopped" if stopped else done, also)

        self._controller.submit(job, then, on_value=on_value)

    def _ended(self, done: str, also: str) -> None:
        words = f"{counted(len(self._written), 'object')} {done}."
        known, passed = (len(s - self._written) for s in (self._known, self._passed - self._known))
        if known:
            words += f" {known} taken over before."
        if passed:
            words += f" {passed} left out: others are there already."
        if self._written:
            words += f" {also}"
        self._controller.status_message.emit(words.strip())

    @says_why_not
    def _write(
        self,
        annotated: AnnotatedImage,
        number: int,
        part: Part,
        mask: LocalMask,
        group: int,
        told: int,  # what it is counted as
    ) -> bool:
        with annotated.bare():
            _, kept = annotated.annotation.outline(number, part.plane, mask, overlap="protect")
            if kept.area < _NEW * mask.area or not kept.area:
                self._passed.add(told)
                return False
            annotated.write(
                number,
                part,
                mask,
                "protect",
                group=group,
                class_name=self._controller.classes.current,
            )
        self._written.add(told)
        return True


def _engine_like(session: RefinementSession) -> BatchEngine:
    """Return what finds objects as a session sees them; the session stays with its object."""
    from napari_spa.batch.engine import BatchEngine
    from napari_spa.batch.task import BatchRecipe
    from napari_spa.refine.session.session import RefinementSession

    engine = BatchEngine(BatchRecipe(source="auto"), session.model)
    engine.session = RefinementSession(
        session.model, session.profile, config=session.config, cache=session.cache
    )
    return engine


def _sizes(annotated: AnnotatedImage, plane: Plane) -> list[int]:
    """Return the areas of the objects that a user accepted on a plane."""
    active = [one.on(plane) for one in annotated.annotation.objects.values()]
    return [p.area for p in active if p is not None and p.status in ("accepted", "edited")]


def _auto_config(sizes: Sequence[int], shape: tuple[int, int]) -> AutoConfig:
    """Look for objects of the size of those accepted, once there are a few."""
    from napari_spa.batch.task import AutoConfig

    plain = AutoConfig()
    prior = fit_size_prior(sizes, [1.0] * len(sizes)) if len(sizes) >= _FEW else None
    if prior is None:
        return plain
    least, most = (math.exp(prior.log_area + way * _UNLIKELY * prior.deviation) for way in (-1, 1))
    return replace(
        plain,
        smallest_area=max(plain.smallest_area, round(least)),
        largest_share=min(plain.largest_share, most / (shape[0] * shape[1])),
    )


def _finest(layer: Labels) -> Any:
    return layer.data[0] if layer.multiscale else layer.data


def _masks_of(labels: NDArray[np.integer]) -> Iterator[tuple[int, LocalMask]]:
    """Go through the objects of a plane: number and mask, by number."""
    from skimage.segmentation import relabel_sequential  # slow to import

    labels = np.where(labels > 0, labels, 0)  # some mark what is to be ignored with -1
    small, _, original = relabel_sequential(labels)
    for number, box in enumerate(scipy.ndimage.find_objects(small), start=1):
        if box is None:
            continue
        rows, columns = box
        region = Region(
            rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start
        )
        yield int(original[number]), LocalMask(region, small[box] == number)


def plane_index(
    plane: Plane, shape: tuple[int, ...], labels: tuple[int, ...]
) -> tuple[int | slice, ...] | None:
    """Index the plane in labels of the image's shape, or of its last axes; else None."""
    if labels == shape:
        return plane.slices
    if len(labels) < len(shape) and labels == shape[-len(labels) :]:
        index = plane.slices[-len(labels) :]
        return index if sum(isinstance(part, slice) for part in index) == 2 else None
    return None
