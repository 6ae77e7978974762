"""Connects the tab of objects with what is done to them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QMenu

from napari_spa.io.projects.classes import write_classes
from napari_spa.io.projects.paths import exports_path
from napari_spa.viewer.annotation.finding import AutomaticSegmentation
from napari_spa.viewer.annotation.objects import ObjectEditing
from napari_spa.viewer.annotation.round import says_why_not
from napari_spa.viewer.layers.planes import axis_kind, channel_axis
from napari_spa.widgets.common.buttons import add_entry, open_menu
from napari_spa.widgets.objects.rows import ObjectRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_spa.core.plane import Plane
    from napari_spa.io.export import ExportRequest
    from napari_spa.refine.annotation.objects import AnnotatedObject
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.annotation.prompts import Position, PromptController
    from napari_spa.widgets.objects.table import ObjectTable


class ObjectPresenter(QObject):
    """Names, classes, merging, splitting, editing and finding, as the table asks for them."""

    tool_wanted = Signal(str)  # the next gesture in the image shall be of this tool
    export_wanted = Signal(object, str)  # an ``ExportRequest``, and what files are called after

    def __init__(
        self,
        controller: AnnotationController,
        prompt_controller: PromptController,
        table: ObjectTable,
    ) -> None:
        super().__init__(table)
        self._controller, self._prompter, self._table = controller, prompt_controller, table
        self.reshaping, self.finding = ObjectEditing(controller), AutomaticSegmentation(controller)
        prompt_controller.merge_requested.connect(self._on_merge)
        prompt_controller.split_requested.connect(self._on_split)
        self._exported: ExportRequest | None = None  # what was wanted last
        self.reshaping.editing_changed.connect(lambda on: table.set_tool("edit" if on else None))
        table.rename_requested.connect(self.reshaping.rename)
        table.class_requested.connect(self.reshaping.classify)
        table.edit_requested.connect(self.edit)
        table.merge_requested.connect(partial(self.take_tool, "merge"))
        table.split_requested.connect(partial(self.take_tool, "split"))
        table.segment_requested.connect(self.finding.segment_all)
        table.take_requested.connect(self._on_take)
        table.export_requested.connect(self.ask_export)
        table.keep_requested.connect(self.reshaping.keep)
        table.drop_requested.connect(self.reshaping.drop)
        table.delete_all_requested.connect(self.reshaping.delete)
        bar, classes = table.classes, controller.classes
        bar.chosen.connect(classes.choose)
        bar.rename_requested.connect(self.reshaping.rename_class)
        for wanted, action in (
            (bar.add_requested, classes.add),
            (bar.colour_requested, classes.recolour),
            (bar.remove_requested, classes.remove),
            (bar.import_requested, classes.load),
            (bar.export_requested, lambda path: write_classes(path, classes.entries)),
        ):
            wanted.connect(partial(self._try, action))
        bar.by_class_requested.connect(classes.set_by_class)
        classes.changed.connect(self._on_classes)
        controller.objects_changed.connect(self._colour)
        self._on_classes()

    def actions(self) -> dict[str, Callable[[], Any]]:
        """Return what each action on objects does that has a key."""
        return {
            "edit_by_hand": self.edit,
            "merge_objects": partial(self.take_tool, "merge"),
            "split_object": partial(self.take_tool, "split"),
            "next_class": self._next_class,
        }

    def close(self) -> None:
        """Follow the viewer no more."""
        self.reshaping.close()

    def edit(self) -> None:
        """Begin to edit the selected object by hand, or end it."""
        self.reshaping.toggle()
        self._table.set_tool("edit" if self.reshaping.editing else None)

    def ask_export(self) -> None:
        """Ask what shall be exported of the image that is annotated, and where to."""
        annotated = self._controller.current
        if annotated is None:
            self._controller.status_message.emit("There is no object yet.")
            return
        if not self._controller.free():  # which says why, before anything is filled in
            return
        # These are not imported as the dock opens, which would stop the window longer.
        from napari_spa.io.export import ExportRequest
        from napari_spa.viewer.export import axes_of, file_name
        from napari_spa.widgets.common.export import ExportDialog, start_folder

        project = annotated.classes_file
        beside = start_folder(annotated.image.source.path)
        folder = beside if project is None else exports_path(project.parent)
        request = self._exported or ExportRequest(folder)
        deep = "Z" in axes_of(annotated.image)
        names = [file_name(annotated.image)]
        dialog = ExportDialog(request, names, self._table, single=True, deep=deep)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.start_requested.connect(self._on_export)
        dialog.open()

    def _on_export(self, request: ExportRequest, name: str) -> None:
        self._exported = replace(request, replace=False)
        self.export_wanted.emit(request, name)

    def take_tool(self, tool: str) -> None:
        """Take the tool to merge or to split, or put it away."""
        self.reshaping.end()
        if self._prompter.gestures.tool == tool:
            self.put_away()
            return
        missing = "" if self._controller.target() else self._controller.hint
        if not missing and tool == "merge" and self._controller.selected is None:
            missing = "Choose an object first: click on one, or in the list."
        if missing:
            self._table.set_tool(None)
            self._controller.status_message.emit(missing)
            return
        self.tool_wanted.emit(tool)
        self._table.set_tool(tool)
        number = self._controller.selected
        self._controller.status_message.emit(
            f"Click on the object that becomes a part of object {number}."
            if tool == "merge"
            else "Draw a line across the object, from one side to the other."
        )

    def put_away(self) -> None:
        """Go back to clicks."""
        self.tool_wanted.emit("click")
        self._table.set_tool(None)

    def _on_merge(self, position: Position) -> None:
        self.put_away()
        self.reshaping.merge_at(position)

    def _on_split(self, path: list[Position]) -> None:
        self.put_away()
        self.reshaping.split(path)

    def _on_classes(self) -> None:
        classes = self._controller.classes
        self._table.classes.by_class = classes.by_class
        self._colour()
        self._table.set_classes(classes.entries, classes.current)

    def _colour(self) -> None:
        """Draw objects in the colours that are wanted."""
        annotated, classes = self._controller.current, self._controller.classes
        if annotated is not None and annotated.mask.colour_by(
            classes.colours(annotated.annotation.notes)
        ):
            self._table.refresh_colours()

    def _next_class(self) -> None:
        name = self._controller.classes.step()
        self._controller.status_message.emit(
            f"New objects: {name}." if name else "New objects have no class."
        )

    @says_why_not
    def _try(self, action: Callable[..., None], *values: object) -> None:
        action(*values)

    def _on_take(self) -> None:
        """Ask which layer, unless there is nothing to choose."""
        menu = self.take_menu()
        if menu.isEmpty():
            menu.deleteLater()
            self._controller.status_message.emit(
                "There is no other labels layer; add one to take it over."
            )
            return
        open_menu(menu, self._table.buttons["take"])

    def take_menu(self) -> QMenu:
        """Make the menu of the labels layers that can be taken over, and written back to."""
        menu, finding = QMenu(self._table), self.finding
        for layer in finding.sources():
            add_entry(menu, f"Take over {layer.name}", partial(finding.take_over, layer))
        origin = finding.origin
        if origin is not None:
            menu.addSeparator()
            add_entry(menu, f"Write the objects back to {origin.name}", finding.write_back)
        return menu


def list_objects(annotated: AnnotatedImage) -> list[ObjectRow]:
    """List the accepted objects of an image, and the active one."""
    shared = channel_axis(annotated.image)
    known = annotated.annotation.objects
    rows = {number: _row(active, shared) for number, active in known.items()}
    unit = _unit(annotated, shared)
    active = annotated.active
    if active is not None and active.shown is not None:
        proposal, before = active.shown.proposal, known.get(active.number)
        others = [] if before is None else [p for p in before.parts if p.plane != active.plane]
        rows[active.number] = ObjectRow(
            number=active.number,
            places=_places([active.plane, *(part.plane for part in others)], shared),
            area=active.decided * active.area + sum(part.area for part in others),
            rounds=proposal.round,
            quality=1.0 - proposal.uncertainty if active.decided else None,  # read blind
            status="in progress",
            class_name=(active.class_name or "") if before is None else before.class_name,
            name="" if before is None else before.name,
        )
    return [replace(rows[number], unit=unit) for number in sorted(rows)]


def _unit(annotated: AnnotatedImage, shared: int | None) -> str:
    """Return what one walks through: slices, or frames where the last stack axis is time."""
    store = annotated.mask.store
    across = [axis for axis in range(len(store.shape)) if axis not in (*store.axes, shared)]
    frames = bool(across) and axis_kind(annotated.image, across[-1]) == "frame"
    return "frame" if frames else "slice"


def _places(planes: Iterable[Plane], shared: int | None) -> tuple[tuple[int, ...], ...]:
    """Return where planes lie in their stack; one is in all channels that share labels."""
    found = {tuple(p.index[axis] for axis in p.stack_axes if axis != shared) for p in planes}
    return tuple(sorted(found - {()}))


def _row(active: AnnotatedObject, shared: int | None) -> ObjectRow:
    return ObjectRow(
        number=active.number,
        places=_places((part.plane for part in active.parts), shared),
        area=active.area,
        rounds=active.rounds,
        quality=1.0 - active.uncertainty if active.rounds else None,
        status=active.status,
        class_name=active.class_name,
        name=active.name,
    )
