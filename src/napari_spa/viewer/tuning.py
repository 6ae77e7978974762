"""A model of one's own, tuned in the background on the objects that a user accepted."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.presentation import capitalised, counted
from napari_spa.core.types import LocalMask
from napari_spa.errors import Cancelled, DataError
from napari_spa.io.models.registry import copy_into_models, free_model_name
from napari_spa.io.projects.paths import log_path
from napari_spa.viewer.annotation.display import looked
from napari_spa.viewer.background import FileThread
from napari_spa.viewer.compat import load_torch, old_objects
from napari_spa.viewer.layers.planes import image_plane_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_spa.core.plane import Plane
    from napari_spa.io.models.load import LoadedModel
    from napari_spa.refine.engine.image_plane import ImagePlane
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.train.personal import AcceptedObject, PersonalModel
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.layers.planes import DisplaySettings


_MOST = (
    500  # objects of the viewer's images that are learnt from: tuning draws some thousand windows
)


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """The accepted objects on one plane of an image in the viewer."""

    name: str
    image_plane: ImagePlane
    masks: tuple[LocalMask, ...]


class ModelTuning(FileThread):
    """Tune the model in use on accepted objects; what is better is offered, and kept by a name.

    The objects are those of the images in the viewer and, in a project, of its other images.
    """

    progressed = Signal(float, str)  # share done and words, in the main thread
    # What became of it, and a name for the model; without one there is nothing to be kept.
    tuned = Signal(str, str)
    ready = Signal(str)  # the name of a model that was kept

    def __init__(self, controller: AnnotationController, parent: QObject | None = None) -> None:
        super().__init__("napari-spa-tuning", parent)
        self._controller = controller
        self._stop = threading.Event()
        self._made: tuple[PersonalModel, LoadedModel] | None = None

    def start(self) -> None:
        """Learn from what is accepted now; the answer is ``tuned`` or ``failed``."""
        self._made, self._stop = None, threading.Event()
        held = _accepted(list(self._controller.images))
        project, shown = _project_of(self._controller)
        tell = partial(self._tell, self._stop)
        job = partial(_tune, self._controller.model.loader(), held, project, shown, tell)
        self.ask(job, self._on_tuned)

    def cancel(self) -> None:
        """Stop learning; nothing is kept."""
        self._stop.set()

    def keep(self, name: str) -> None:
        """Keep what was learnt as a model of a name; the answer is ``ready`` or ``failed``."""
        if self._made is not None:
            self.ask(partial(_keep, *self._made, name), lambda _: self.ready.emit(name))

    def close(self, *, wait: bool = False) -> None:
        """Stop, and let the thread end."""
        self.cancel()
        super().close(wait=wait)

    def _tell(self, stop: threading.Event, share: float, message: str) -> None:
        if stop.is_set():
            raise Cancelled
        self.emit(self.progressed, share, message)

    def _on_tuned(self, answer: tuple[PersonalModel, LoadedModel] | None) -> None:
        if answer is None:
            self.tuned.emit("Stopped; nothing is kept.", "")
            return
        made, model = answer
        figures = capitalised(made.figures)
        if made.better:
            self._made = answer
            self.tuned.emit(f"{figures}.", free_model_name(f"{model.identity.name}-own"))
        else:
            self.tuned.emit(
                f"{figures}. It is no better, so nothing is kept; accept more objects and try "
                "again.",
                "",
            )


def _accepted(images: Sequence[AnnotatedImage]) -> list[_Held]:
    """Return the accepted objects of images, by plane and channels; of many, some of each."""
    parts = [
        (annotated, number, part)
        for annotated in images
        for number, held in annotated.annotation.objects.items()
        for part in held.parts
        if part.status != "review"
    ]
    some = parts[:: -(-len(parts) // _MOST)] if parts else []
    found: dict[tuple[AnnotatedImage, Plane, DisplaySettings], list[LocalMask]] = {}
    with ExitStack() as previews:
        for annotated in images:
            previews.enter_context(annotated.bare())
        for annotated, number, part in some:
            mask = annotated.annotation.pixels(number, part.plane)
            if mask is not None:
                look = replace(looked(annotated, part.source, part.plane), limits=None)
                found.setdefault((annotated, part.plane, look), []).append(mask)
    return [
        _Held(f"{of.image.name}/{place}", image_plane_of(of.image, plane, look), tuple(masks))
        for place, ((of, plane, look), masks) in enumerate(found.items())
    ]


def _project_of(controller: AnnotationController) -> tuple[Path | None, set[Path]]:
    """Return the project that is annotated, and the logs of the images in the viewer."""
    current = controller.images.current
    if current is None or current.classes_file is None:
        return None, set()
    logs = {each.location.log for each in controller.images if each.location is not None}
    return current.classes_file.parent, logs


def _of_project(folder: Path, shown: set[Path]) -> list[AcceptedObject]:
    """Read the objects of a project's images that have the pixels they were annotated with."""
    from napari_spa.io.projects.project import Project
    from napari_spa.refine.log.replay import changed_images
    from napari_spa.train.personal import accepted_objects

    project = Project.open(folder)
    without = {item.name for item in project.items if log_path(folder, item.name) in shown}
    return accepted_objects(folder, without={*without, *changed_images(project)}, fewest=0)


@old_objects.imported()
def _tune(
    load: Callable[[Callable[[float, str], None]], RefinementSession],
    held: Sequence[_Held],
    project: Path | None,
    shown: set[Path],
    tell: Callable[[float, str], None],
) -> tuple[PersonalModel, LoadedModel] | None:
    """Tune the model; None where it was cancelled."""
    load_torch()
    from napari_spa.train.personal import FEWEST, tune

    try:
        objects = [each for part in held for each in _read(part)]
        if project is not None:
            objects += _of_project(project, shown)
        if len(objects) < FEWEST:
            raise DataError(
                f"there is {counted(len(objects), 'accepted object')} to learn from; accept at "
                f"least {FEWEST} first, better twenty."
            )
        model = load(tell).model
        return tune(model, objects, progress=tell), model
    except Cancelled:
        return None


def _read(part: _Held) -> list[AcceptedObject]:
    """Read the plane of some objects, of a large one what lies around each."""
    from napari_spa.train.personal import AcceptedObject, surroundings

    image_plane = part.image_plane
    if image_plane.small:
        pixels = image_plane.read(slice(None), slice(None))
        return [AcceptedObject(part.name, pixels, mask) for mask in part.masks]
    found = []
    for mask in part.masks:
        region = surroundings(mask, image_plane.shape)
        pixels = image_plane.read(*region.slices)
        found.append(AcceptedObject(part.name, pixels, LocalMask.crop(mask.within(region))))
    return found


@old_objects.imported()
def _keep(made: PersonalModel, model: LoadedModel, name: str) -> None:
    from napari_spa.train.personal import save_personal

    with TemporaryDirectory() as folder:
        path = Path(folder) / "spa.safetensors"
        save_personal(made, model, path)
        copy_into_models(path, name)
