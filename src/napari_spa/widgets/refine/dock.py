"""The dock *SPA Refine*: composes its parts and connects them."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils import progress as activity
from napari.utils.notifications import show_warning
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QWidget

from napari_spa.core.presentation import capitalised
from napari_spa.errors import SpaError
from napari_spa.io.event_log import work_root
from napari_spa.viewer.annotation.controller import HINT_START, AnnotationController
from napari_spa.viewer.annotation.display import DisplayController, HoverPreview
from napari_spa.viewer.annotation.objects import ObjectActions
from napari_spa.viewer.annotation.prompts import PromptController
from napari_spa.viewer.annotation.round import make_session
from napari_spa.viewer.annotation.stack import StackPropagation
from napari_spa.viewer.background import later
from napari_spa.viewer.keys import UNDO_KEYS, KeyBindings, LayoutFilter
from napari_spa.viewer.settings import Settings, SettingsStore
from napari_spa.viewer.tuning import ModelTuning
from napari_spa.widgets.common.docks import DockLayout, DockLifecycle
from napari_spa.widgets.common.layouts import column_of
from napari_spa.widgets.objects.presenter import ObjectPresenter
from napari_spa.widgets.profiles.bar import ProfilePresenter
from napari_spa.widgets.refine.image_binding import ImageBinding
from napari_spa.widgets.refine.panel import PROGRESS_STEPS, RefinePanel
from napari_spa.widgets.refine.prompt_bar import ADD, CLICK, HINTS, REMOVE, SIGNED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import napari.viewer

    from napari_spa.core.types import Proposal
    from napari_spa.viewer.annotation.round import RenderedRound, SessionFactory


_LONG = 3.0
"""Seconds after which napari's activity bar shows progress too; to make one stalls the window."""


class RefineDock(QWidget):
    """Click an object, pick a difference, accept."""

    released = Signal()  # the dock is about to let go of the viewer

    def __init__(
        self, viewer: napari.viewer.Viewer, session_factory: SessionFactory | None = None
    ) -> None:
        super().__init__()
        self.closed = False  # whether it has let go of the viewer
        # napari gives plugins a proxy that makes a new one of each layer it returns; layers
        # are held by reference here, so they have to be themselves.
        viewer = getattr(viewer, "__wrapped__", viewer)
        self._viewer = viewer
        self.store = SettingsStore()
        self.settings = self.store.load()
        root = work_root() if self.settings.autosave else None
        factory = session_factory or (lambda model: make_session(model, self.settings))
        self.controller = AnnotationController(viewer, factory, self, work_root=root)
        self.prompt_controller = PromptController(self.controller)
        self.hover = HoverPreview(self.controller, self.prompt_controller.gestures)
        self.display = DisplayController(self.controller)
        self.objects = ObjectActions(self.controller)
        self.propagation = StackPropagation(self.controller)
        self.parts = RefinePanel(self._colour_of)
        self.tab = ObjectPresenter(self.controller, self.prompt_controller, self.parts.objects)
        self.profiles = ProfilePresenter(self.controller, self.parts.profile, self)
        self.tuning = ModelTuning(self.controller, self)
        self._image = ImageBinding(self.controller, self.display, self.propagation, self.parts)
        column_of(self.parts, holder=self)
        self.places = DockLayout(self)
        self._life = DockLifecycle(self)
        self._life.ended.connect(self.release)
        self._activity: activity | None = None
        self._busy_since: float | None = None
        self._keys: KeyBindings | None = None
        self._numbers: tuple[object, KeyBindings] | None = None
        self._escape: KeyBindings | None = None  # while a tool is on that a click ends
        self._layout: LayoutFilter | None = None
        # Not while the dock is made, which sends thousands of events.
        self._layout_due = later(self, self._follow_layout)
        self._layout_due.start()
        self._peeked = 0  # the candidate that was looked at last
        self._ready_due = later(self, self.controller.get_ready)
        self._connect()
        self._apply(self.settings)
        self.parts.status.setText(HINT_START)
        self._refresh()

    # ------------------------------------------------------------------ composing

    def _connect(self) -> None:
        controller, parts = self.controller, self.parts
        controller.masked.connect(self._on_masked)
        controller.proposed.connect(self._on_proposed)
        controller.cleared.connect(self._on_cleared)
        controller.images.toggled.connect(self._on_eye)
        controller.images.undo_wanted.connect(
            lambda redo: controller.redo() if redo else controller.undo()
        )
        controller.status_message.connect(self._on_said)
        controller.failed.connect(self._on_failed)
        controller.worker.progressed.connect(self._on_progressed)
        controller.worker.busy_changed.connect(self._refresh)
        controller.waiting.changed.connect(self._refresh)
        parts.size_slider.previewed.connect(controller.preview_size)
        parts.size_slider.chosen.connect(controller.resize)
        parts.grid.candidate_chosen.connect(controller.choose)
        parts.grid.candidate_toggled.connect(self.display.set_candidate_visible)
        parts.grid.candidate_previewed.connect(self._on_previewed)
        parts.side_by_side.candidate_chosen.connect(controller.choose)
        parts.side_by_side.action_requested.connect(lambda action: self._actions()[action]())
        for name, button in parts.action_buttons.items():
            button.on_click(getattr(controller, name))
        parts.cancel.on_click(controller.cancel)
        parts.compare.on_click(self._toggle_side_by_side)
        self.profiles.actions.setting_wanted.connect(lambda path: self._save(profile=path))
        parts.profile.teach_requested.connect(lambda on: self._save(teach=on))
        parts.prompts.tool_requested.connect(self._on_tool)
        parts.prompts.point_requested.connect(self.prompt_controller.point)
        self.prompt_controller.refine_requested.connect(self.objects.refine_at)
        self._image.changed.connect(self._refresh)
        parts.options.contrast_requested.connect(self._on_contrast)
        parts.options.overlap_requested.connect(lambda name: self._save(overlap=name))
        parts.options.blind_requested.connect(lambda on: self._save(blind=on))
        self.tab.tool_wanted.connect(self._set_tool)
        table = parts.objects
        table.go_to_requested.connect(self.tab.reshaping.go_on_with)
        table.go_to_requested.connect(self.objects.go_to)
        table.reopen_requested.connect(self.objects.reopen)
        table.delete_requested.connect(self.objects.delete)
        table.delete_here_requested.connect(self.objects.delete_here)
        table.refine_requested.connect(partial(self._set_tool, "refine"))
        self.tab.export_wanted.connect(self.objects.export)
        self._connect_model()
        self.store.changed.connect(self._apply)

    def _connect_model(self) -> None:
        bar, tuning = self.parts.model, self.tuning
        bar.model_chosen.connect(lambda name: self._save(model=name))
        bar.tuning_requested.connect(tuning.start)
        bar.tuning_cancelled.connect(tuning.cancel)
        bar.name_chosen.connect(tuning.keep)
        tuning.progressed.connect(bar.show_progress)
        tuning.tuned.connect(bar.end_tuning)
        tuning.failed.connect(bar.show_failure)
        tuning.ready.connect(bar.take)

    def _actions(self) -> dict[str, Callable[[], Any]]:
        """Return what each action of :data:`~napari_spa.viewer.settings.ACTION_TITLES` does."""
        controller, propagation, parts = self.controller, self.propagation, self.parts
        actions: dict[str, Callable[[], Any]] = {
            "smaller": partial(parts.size_slider.step, -1),
            "larger": partial(parts.size_slider.step, 1),
            **self.tab.actions(),
            "accept": controller.accept,
            "undo": controller.undo,
            "redo": controller.redo,
            "discard": controller.discard,
            "carry_next": partial(propagation.propagate_one, 1),
            "carry_previous": partial(propagation.propagate_one, -1),
            "propagate": partial(propagation.propagate, "both"),
            "next_object": partial(self.objects.step, 1),
            "previous_object": partial(self.objects.step, -1),
            "reopen": partial(self._with_selected, self.objects.reopen),
            "delete_object": partial(self._with_selected, self.objects.delete),
            "prompt_sign": self._switch_sign,
            **{tool: partial(self._switch_tool, tool) for tool in ("box", "brush", "lasso")},
            "side_by_side": self._toggle_side_by_side,
            "hide_overlays": self._hide_overlays,
            "flip": self._flip,
            "export": self._accept_and_export,
            "fill": self._fill,
            "hover": self._switch_hover,
            "help": parts.help.open_help,
        }
        for position in range(4):
            actions[f"pick_{position + 1}"] = partial(self._choose_at, position)
            actions[f"toggle_{position + 1}"] = parts.grid.cards[position].toggle.toggle
        return actions

    # ------------------------------------------------------------------ settings

    def _apply(self, settings: Settings) -> None:
        """Work as the settings say; the model from the next object on."""
        before, self.settings = self.settings, settings
        controller, parts = self.controller, self.parts
        controller.overlap = settings.overlap
        controller.blind = settings.blind
        self.hover.switch(settings.hover)
        self.display.set_contrast(settings.contrast)
        self.profiles.actions.apply(settings)
        controller.set_model(settings.model)
        self._ready_due.start()
        self.propagation.limit(settings.propagate_slices, settings.propagate_uncertainty)
        parts.model.set_current(settings.model)
        parts.options.set_choices(
            contrast=settings.contrast, overlap=settings.overlap, blind=settings.blind
        )
        if self._keys is not None and settings.keys == before.keys:
            return
        parts.set_keys(settings.keys)
        if self._keys is not None:
            self._keys.release()
        actions = self._actions()
        self._keys = KeyBindings(
            self._viewer,
            {UNDO_KEYS[False]: controller.undo, UNDO_KEYS[True]: controller.redo}
            | {key: actions[action] for action, key in settings.keys.items() if action in actions},
        )

    def _save(self, **changes: object) -> None:
        try:
            self.store.save(**changes)
        except SpaError as error:
            self._on_failed(str(error))

    def _on_contrast(self, contrast: str) -> None:
        if contrast != self.settings.contrast:
            self._save(contrast=contrast)
            self.display.look_again()  # here: other windows follow with the next object

    def _follow_layout(self) -> None:
        self._layout = LayoutFilter(self)

    # ------------------------------------------------------------------ asking

    def _with_selected(self, action: Callable[[int], None]) -> None:
        if self.controller.selected is None:
            self.parts.status.setText("Choose an object in the list first.")
        else:
            action(self.controller.selected)

    def _set_tool(self, tool: str, *, negative: bool = False) -> None:
        gestures = self.prompt_controller.gestures
        gestures.tool, gestures.negative = tool, negative  # type: ignore[assignment]
        once = tool in ("refine", "merge", "split")
        if once and self._escape is None:
            self._escape = KeyBindings(self._viewer, {"Escape": self.tab.put_away})
        elif not once and self._escape is not None:
            self._escape.release()
            self._escape = None
        if tool == "refine":
            self.parts.status.setText("Click on the object to refine, in any labels layer.")
        elif tool not in ("merge", "split"):
            self.parts.prompts.set_tool(tool, negative=negative)
            if not self.controller.choosing and not self.controller.busy:
                self.parts.status.setText(self._hint())

    def _hint(self) -> str:
        """Return how an object begins: tools stay, and with some of them it is not a click."""
        hint = self.controller.hint
        return hint if hint != HINT_START else HINTS.get(self.prompt_controller.gestures.tool, hint)

    def _on_tool(self, tool: str) -> None:
        """Take the tool of a button: for a sign again, clicks; for another one, the same tool."""
        gestures = self.prompt_controller.gestures
        if tool not in (ADD, REMOVE):
            self._set_tool(tool, negative=gestures.negative and tool in SIGNED)
            return
        negative = tool == REMOVE
        keeps = negative != gestures.negative and gestures.tool in SIGNED
        self._set_tool(gestures.tool if keeps else CLICK, negative=negative)

    def _switch_tool(self, tool: str) -> None:
        self._on_tool(CLICK if self.prompt_controller.gestures.tool == tool else tool)

    def _switch_sign(self) -> None:
        self._on_tool(ADD if self.prompt_controller.gestures.negative else REMOVE)

    def _toggle_side_by_side(self) -> None:
        window = self.parts.side_by_side
        window.setVisible(not window.isVisible())

    def _hide_overlays(self) -> Generator[None, None, None]:
        self.display.set_overlays_hidden(True)
        yield
        self.display.set_overlays_hidden(False)

    def _flip(self) -> Generator[None, None, None]:
        self.display.flip(self._peeked)
        yield
        self.display.flip(None)

    def _switch_hover(self) -> None:
        on = not self.settings.hover
        self._save(hover=on)
        self.parts.status.setText(f"The preview under the pointer is {'on' if on else 'off'}.")

    def _fill(self) -> None:
        images = self.controller.images
        images.set_filled(not images.filled)

    def _bind_numbers(self) -> None:
        """Let 1 to 5 choose too, while no tool of the active layer has these keys."""
        active = self._viewer.layers.selection.active
        owner = self._viewer if active is None else active
        if not self.controller.choosing or not (active is None or _only_moves(active)):
            owner = None
        if self._numbers is not None:
            if self._numbers[0] is owner:
                return
            self._numbers[1].release()
            self._numbers = None
        if owner is not None:
            actions = {str(n + 1): partial(self._choose_at, n) for n in range(5)}
            self._numbers = owner, KeyBindings(owner, actions)

    def _choose_at(self, position: int) -> None:
        if self.parts.grid.isEnabled():
            self.parts.grid.cards[position].button.click()
        else:
            self.controller.choose(position)  # says why not

    def _accept_and_export(self) -> None:
        """Export with the current object: who exports is done with it."""
        if self.controller.waits(self._accept_and_export):
            return
        if not self.controller.choosing or self.controller.accept():
            self.tab.ask_export()

    # ------------------------------------------------------------------ answering

    def _on_masked(self, shown: RenderedRound) -> None:
        active = self.controller.active
        self.parts.show_figures(shown, protected=0 if active is None else active.protected)

    def _on_proposed(self, proposal: Proposal, shown: RenderedRound) -> None:
        parts = self.parts
        self._peeked = 0
        self._on_masked(shown)  # others' pixels may be protected or not by now
        parts.show_round(proposal, shown)
        for index in range(len(shown.words)):
            self.display.set_candidate_visible(index, parts.grid.is_toggled(index))
        state = shown.timeline.state
        view, first = state.view, state.decisions[0].view
        by_hand = view != first and any(decision.act == "view" for decision in state.decisions)
        parts.options.set_field(
            f"{view.height:.0f} x {view.width:.0f} px",
            automatic=not by_hand,
            frame=self.controller.images.framed,
        )
        self._refresh()

    def _on_eye(self, index: int, visible: bool) -> None:
        """Follow napari's eye icon with the switch of the card."""
        for position, card in enumerate(self.parts.grid.cards):
            if self.parts.grid.index_at(position) == index:
                card.toggle.setChecked(visible)

    def _on_cleared(self) -> None:
        self.parts.clear_round()
        self.parts.options.set_field("", frame=self.controller.images.framed)
        self._refresh()

    def _on_said(self, sentence: str) -> None:
        self.parts.status.setText(sentence.replace(HINT_START, self._hint()))
        if self.prompt_controller.gestures.tool == "refine":
            self._set_tool(CLICK)
        self._refresh()

    def _on_failed(self, sentence: str) -> None:
        words = capitalised(sentence)
        self._on_said(words)
        show_warning(words)

    def _on_progressed(self, share: float, message: str) -> None:
        self.parts.progress.setValue(round(share * PROGRESS_STEPS))
        self.parts.progress.setFormat(message)
        if self._busy_since is None or time.monotonic() - self._busy_since < _LONG:
            return
        if self._activity is None:
            self._activity = activity(total=PROGRESS_STEPS, desc="SPA")
        # The last thing done here: napari lets the window live inside, and the job may end.
        self._activity.update(max(0, round(share * PROGRESS_STEPS) - self._activity.n))

    def _on_previewed(self, index: int, on: bool) -> None:
        active = self.controller.active
        if active is not None and not active.blind:
            self._peeked = index if on else self._peeked
            self.display.preview_candidate(index if on else None)

    def _colour_of(self, number: int) -> tuple[float, float, float, float] | None:
        annotated = self.controller.current
        return None if annotated is None else annotated.mask.colour(number)

    def _refresh(self, _: object = None) -> None:
        """Enable what can be done now."""
        controller, parts = self.controller, self.parts
        busy, choosing = controller.busy, controller.choosing
        parts.set_busy(busy and not controller.resizing)
        parts.size_slider.setEnabled(choosing and (controller.resizing or not busy))
        if busy and self._busy_since is None:
            self._busy_since = time.monotonic()
        if not busy:
            self._busy_since = None
            self._end_activity()
            parts.progress.setValue(0)
            parts.progress.setFormat("ready")
        parts.grid.setEnabled(choosing and not busy)
        self._bind_numbers()
        active = controller.active
        parts.action_buttons["accept"].setEnabled(
            active is not None and (not active.blind if busy else active.decided)
        )
        parts.action_buttons["discard"].setEnabled(active is not None)
        parts.action_buttons["undo"].setEnabled(self.objects.undoing.can_undo or busy)
        parts.action_buttons["redo"].setEnabled(self.objects.undoing.can_redo and not busy)
        parts.model.set_active(not busy)
        parts.stack.set_active(choosing or controller.selected is not None)

    def _end_activity(self) -> None:
        if self._activity is not None:
            self._activity.close()
            self._activity = None

    # ------------------------------------------- former names, for scripts that drive a dock

    @property
    def refiner(self) -> AnnotationController:
        """Return ``controller``."""
        return self.controller

    @property
    def prompter(self) -> PromptController:
        """Return ``prompt_controller``."""
        return self.prompt_controller

    def release(self) -> None:
        """Let go of the viewer; may be called twice."""
        if self.closed:
            return
        self.closed = True
        self._ready_due.stop()
        self.released.emit()
        self._end_activity()
        self.places.close()
        self._image.close()
        for bound in (self._keys, self._numbers and self._numbers[1], self._escape):
            if bound is not None:
                bound.release()
        self._layout_due.stop()
        if self._layout is not None:
            self._layout.release()
        self.parts.side_by_side.close()
        self.store.changed.disconnect(self._apply)
        self.store.close()
        self.tab.close()
        self.hover.release()
        self.prompt_controller.gestures.release()
        self.parts.model.files.close()
        self.tuning.close()
        self.profiles.close()
        unsaved = self.controller.close()
        if unsaved:
            show_warning(f"What you taught {', '.join(unsaved)} last could not be saved.")


def _only_moves(layer: Any) -> bool:
    """Tell whether a layer is an image that the mouse moves: its keys 1 and 2 are not missed."""
    return isinstance(layer, Image) and str(layer.mode) == "pan_zoom"
