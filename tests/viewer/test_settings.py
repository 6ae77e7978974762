"""Tests of the settings: with napari's and without, damaged values, events, default keys."""

import dataclasses
import logging
import math
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from npe2 import PluginManifest

from napari_spa.errors import DataError, InputError
from napari_spa.viewer.settings import (
    ACTION_TITLES,
    DEFAULT_KEYS,
    PLACES,
    Settings,
    SettingsStore,
    parse_key,
    read_entries,
)

MANIFEST = PluginManifest.from_file(Path(__file__).parents[2] / "napari.yaml")
CONFIGURATIONS = MANIFEST.contributions.configurations
DEFAULTS = Settings()


@pytest.fixture
def preferences(tmp_path, monkeypatch):
    """Give napari's settings a fresh folder; return the file of this plugin's."""
    from napari import settings as napari_settings
    from npe2 import PluginManager

    if "napari-spa" not in PluginManager.instance():
        PluginManager.instance().discover()
    # napari would read the manifest of every plugin again, in each test.
    monkeypatch.setattr(PluginManager, "discover", lambda self, **_: 0)
    monkeypatch.setattr(napari_settings, "_CFG_PATH", str(tmp_path / "napari" / "settings.yaml"))
    monkeypatch.setattr(napari_settings, "_PLUGIN_SETTINGS", {})
    return tmp_path / "napari" / "napari-spa.yaml"


@pytest.fixture
def no_settings(monkeypatch):
    import napari.settings

    def switched_off(plugin):
        raise KeyError(plugin)

    monkeypatch.setattr(napari.settings, "get_plugin_settings", switched_off)


@pytest.fixture(params=["preferences", "no_settings"])
def store(request):
    """Return a store where napari has settings for us, and one where it has none."""
    request.getfixturevalue(request.param)
    store = SettingsStore()
    assert (store._model is not None) == (request.param == "preferences")
    yield store
    store.close()


@pytest.fixture
def in_napari(preferences):
    store = SettingsStore()
    yield store
    store.close()


def napari_side(group):
    from napari.settings import get_plugin_settings

    return getattr(get_plugin_settings("napari-spa"), group)


# ---------------------------------------------------------------------- the manifest


@pytest.mark.parametrize("name", PLACES)
def test_the_manifest_lists_what_settings_lists(name):
    (group, entry), default = PLACES[name], getattr(DEFAULTS, name)
    listed = CONFIGURATIONS[group].properties[entry]
    assert (listed.default, listed.python_type) == (default, type(default))
    assert tuple(listed.enum or ()) == get_args(get_type_hints(Settings)[name])
    assert listed.description
    if type(default) in (int, float):
        assert listed.minimum <= default <= listed.maximum


def test_the_manifest_lists_nothing_else():
    listed = {(g, e) for g, c in CONFIGURATIONS.items() if g != "keys" for e in c.properties}
    assert listed == set(PLACES.values())
    titles = {act: entry.title for act, entry in CONFIGURATIONS["keys"].properties.items()}
    assert list(titles.items()) == list(ACTION_TITLES.items())
    keys = {act: entry.default for act, entry in CONFIGURATIONS["keys"].properties.items()}
    assert keys == DEFAULT_KEYS


# ---------------------------------------------------------------------- with napari's and without


def test_the_first_time_everything_is_at_its_default(store):
    assert store.load() == Settings()
    assert store.problems == ()


def test_what_is_saved_is_remembered(store):
    changes = {
        "model": "vit_b",
        "device": "cuda:1",
        "profile": str(Path("folder") / "mine à moi.json"),
        "teach": False,
        "overlap": "replace",
        "contrast": "layer",
        "hover": False,
        "blind": True,
        "autosave": False,
        "propagate_slices": 12,
        "propagate_uncertainty": 0.25,
        "cache_gigabytes": 20,
        "cache_on_disk": False,
    }
    assert {*changes, "keys"} == {field.name for field in dataclasses.fields(Settings)}
    saved = store.save(**changes)
    assert {name: getattr(saved, name) for name in changes} == changes
    assert store.load() == saved
    assert store.save(blind=False) == dataclasses.replace(saved, blind=False)


def test_it_outlives_the_process(in_napari, monkeypatch):
    in_napari.save(model="vit_b")
    napari_side("keys").undo = "F6"
    from napari import settings as napari_settings

    monkeypatch.setattr(napari_settings, "_PLUGIN_SETTINGS", {})  # read from disk again
    expected = Settings(model="vit_b", keys={**DEFAULT_KEYS, "undo": "F6"})
    assert in_napari.load() == expected
    other = SettingsStore()
    assert other.load() == expected
    other.close()


def test_napari_reads_no_manifest_again(preferences, monkeypatch):
    from npe2 import PluginManager

    monkeypatch.setattr(PluginManager, "discover", lambda *_, **__: pytest.fail("it reads them"))
    assert SettingsStore().load() == DEFAULTS
    assert "discover" not in vars(PluginManager.instance())


def test_a_save_is_announced_once(store):
    heard = []
    store.changed.connect(heard.append)
    saved = store.save(model="vit_b", blind=True)
    assert heard == [saved]
    store.save(model="vit_b")
    assert heard == [saved]  # nothing changed
    store.close()
    store.save(blind=False)
    assert heard == [saved]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": ""}, "model must be a model's name or path"),
        ({"model": "two\nlines"}, "model must be"),
        ({"profile": "half \ud800"}, "profile must be a path or nothing"),
        ({"profile": "a" * 5000}, "profile must be"),
        ({"device": "gpu"}, "auto, cpu, cuda, cuda:N or mps, not 'gpu'"),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence_and_changes_nothing(store, changes, sentence):
    heard = []
    store.changed.connect(heard.append)
    with pytest.raises(InputError) as error:
        store.save(**changes)
    text = str(error.value)
    assert sentence in text
    assert text.endswith(".")
    assert text.count(". ") == 0
    assert len(text) < 300
    assert store.load() == Settings()
    assert not heard


def test_two_acts_may_swap_their_keys():
    swapped, problems = read_entries({"keys": {"accept": "G", "pick_1": "n"}})
    assert (swapped.keys["accept"], swapped.keys["pick_1"]) == ("G", "N")
    assert problems == []


@pytest.mark.parametrize("key", ["Shift", "Ctrl+K Ctrl+S", "nothing", "", 7])
def test_what_is_no_key_is_the_default(key):
    found, (problem,) = read_entries({"keys": {"accept": key}})
    assert found == Settings()
    assert problem.startswith(f"{key!r} is no key")


@pytest.mark.parametrize("name", ["model", "overlap", "keys"])
def test_settings_cannot_be_changed_in_place(name):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(DEFAULTS, name, getattr(DEFAULTS, name))
    with pytest.raises(TypeError):
        DEFAULTS.keys["accept"] = "G"


def test_settings_of_another_version_are_no_damage():
    settings, problems = read_entries({"model": {"name": "vit_b", "tempo": 3}, "future": 1})
    assert settings == Settings(model="vit_b")
    assert problems == []


# ---------------------------------------------------------------------- damaged values


DAMAGED = {
    "model": {"name": "", "device": "gpu"},
    "stack": {"stop_uncertainty": 0.3},
    "keys": {"accept": "???", "undo": "F6", "redo": "F6", "help": []},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: {name: vit_b}\nstack: {max_slices: many}", Settings(model="vit_b")),
        ("model: {name: vit_b}\nannotation: {overlap: merge}", Settings(model="vit_b")),
        ("model: {name: vit_b, device: gpu}", Settings(model="vit_b")),
        ("model: {name: vit_b}\nkeys: {accept: G}", Settings(model="vit_b")),
        ("keys: 3", Settings()),
        ("model: [", Settings()),
        ("- a list", Settings()),
    ],
)
def test_damaged_values_in_naparis_file_are_defaults(preferences, caplog, text, expected):
    preferences.parent.mkdir()
    preferences.write_text(text)
    store = SettingsStore()
    assert store.load() == expected
    assert caplog.records  # ours, or napari's own
    store.close()


KEY = st.sampled_from([*DEFAULT_KEYS.values(), "shift-g", "F9", "Ctrl+", "G H", ""])


@given(st.dictionaries(st.sampled_from(sorted(DEFAULT_KEYS)), KEY, max_size=30))
@settings(max_examples=40)
@example({"pick_1": "N", "pick_2": "M", "accept": "M"})  # N is free, then is not
def test_whatever_keys_are_kept_each_act_has_one_of_its_own(keys):
    found, _ = read_entries({"keys": keys})
    assert len(set(found.keys.values())) == len(DEFAULT_KEYS) == len(found.keys)
    assert read_entries({"keys": found.keys}) == (found, [])


@pytest.mark.parametrize(
    ("group", "entry", "value"),
    [
        ("annotation", "overlap", "merge"),
        ("stack", "max_slices", -1),
        ("stack", "stop_uncertainty", math.nan),
        ("cache", "gigabytes", None),
    ],
)
def test_napari_refuses_what_the_manifest_does_not_allow(in_napari, group, entry, value):
    with pytest.raises(ValueError, match=entry):
        setattr(napari_side(group), entry, value)
    assert in_napari.load() == Settings()


def test_damaged_values_are_defaults_and_logged_once(no_settings, monkeypatch, caplog):
    monkeypatch.setattr(SettingsStore, "_read", lambda *_: DAMAGED)
    store = SettingsStore()
    keys = {**DEFAULT_KEYS, "undo": "F6"}
    assert store.load() == Settings(propagate_uncertainty=0.3, keys=keys)
    assert len(store.problems) == 5
    ours = [r for r in caplog.records if r.name.startswith("napari_spa")]
    assert [r.getMessage() for r in ours] == list(store.problems)
    assert all(r.levelno == logging.WARNING and "\n" not in r.getMessage() for r in ours)


def test_the_key_that_was_given_goes_back_not_the_one_that_was_there():
    found, problems = read_entries({"keys": {"pick_1": "N", "help": "F9"}})
    assert found.keys == {**DEFAULT_KEYS, "help": "F9"}
    assert problems == ["N is the key of two actions, so 'Pick difference 1' keeps G."]


def test_naparis_disk_that_cannot_be_written_is_one_sentence(in_napari, preferences):
    preferences.parent.write_text("a file where the folder should be")
    heard = []
    in_napari.changed.connect(heard.append)
    with pytest.raises(DataError, match=r"^cannot write the settings: .*\.$"):
        in_napari.save(model="vit_b")
    assert heard == [Settings(model="vit_b")]  # holds for this session


# ---------------------------------------------------------------------- napari's Preferences


def test_a_change_in_the_preferences_is_heard_once_the_typing_ends(in_napari, qtbot):
    heard = []
    in_napari.changed.connect(heard.append)
    for text in ("v", "vi", "vit_b"):  # as the dialog sets them, letter by letter
        napari_side("model").update({"name": text, "device": "auto"})
    assert heard == []
    qtbot.waitUntil(lambda: heard != [])
    assert heard == [Settings(model="vit_b")]


def test_a_change_taken_back_at_once_is_not_heard(in_napari, qtbot):
    heard = []
    in_napari.changed.connect(heard.append)
    napari_side("annotation").blind = True
    napari_side("annotation").blind = False
    qtbot.waitUntil(lambda: not in_napari._timer.isActive())
    assert heard == []


def test_two_docks_hear_each_other(in_napari, qtbot):
    other = SettingsStore()
    heard = []
    other.changed.connect(heard.append)
    saved = in_napari.save(overlap="replace")
    qtbot.waitUntil(lambda: heard != [])
    assert heard == [saved]
    other.close()


def test_closing_lets_go_of_napari(in_napari, qtbot):
    emitter = in_napari._model.events.changed
    before = len(emitter.callbacks)
    in_napari.changed.connect(print)
    napari_side("annotation").blind = True
    in_napari.close()
    in_napari.close()
    assert len(emitter.callbacks) == before - 1
    assert not in_napari._timer.isActive()
    assert len(in_napari.changed) == 0
    assert in_napari.load() == Settings(blind=True)  # reading goes on, hearing does not
    assert len(emitter.callbacks) == before - 1


def test_settings_that_napari_makes_anew_are_followed(in_napari, monkeypatch):
    from napari import settings as napari_settings

    old = in_napari._model
    monkeypatch.setattr(napari_settings, "_PLUGIN_SETTINGS", {})  # as when plugins change
    in_napari.load()
    assert in_napari._model is not old
    assert not old.events.changed.callbacks
    assert len(in_napari._model.events.changed.callbacks) == 1


@pytest.mark.parametrize("gone", [["keys"], list(CONFIGURATIONS)])
def test_without_our_settings_in_the_manifest_they_last_until_the_window_closes(
    preferences, monkeypatch, gone
):
    """An older installed manifest, or an npe2 that drops ``configurations``."""
    from npe2 import PluginManager

    contributions = PluginManager.instance().get_manifest("napari-spa").contributions
    left = {g: c for g, c in contributions.configurations.items() if g not in gone}
    monkeypatch.setattr(contributions, "configurations", left)
    store = SettingsStore()
    assert store._model is None
    assert store.save(model="vit_b") == store.load() == Settings(model="vit_b")
    assert SettingsStore().load() == Settings()
    assert store.problems == ()


def test_the_preferences_dialog_shows_and_sets_them(in_napari, make_napari_viewer, qtbot):
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog

    make_napari_viewer()  # the dialog's other pages need its actions
    dialog = PreferencesDialog()
    qtbot.add_widget(dialog)
    page = dialog._stack.widget(
        next(
            row
            for row in range(dialog._list.count())
            if dialog._list.item(row).text() == MANIFEST.display_name
        )
    )
    layout = page.widget().layout()
    forms = [layout.itemAt(n).widget().widget for n in range(layout.count())]
    assert [form.title() for form in forms] == [group.title for group in CONFIGURATIONS.values()]
    fields = {name: widget for form in forms for name, widget in form.widgets.items()}
    blind, accept = fields["blind"], fields["accept"]
    heard = []
    in_napari.changed.connect(heard.append)
    blind.setChecked(True)
    accept.setText("F7")
    qtbot.waitUntil(lambda: heard != [])
    assert heard == [Settings(blind=True, keys={**DEFAULT_KEYS, "accept": "F7"})]
    in_napari.save(blind=False)
    assert not blind.isChecked()  # the open dialog follows


# ---------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("text", "key"),
    [("g", "G"), ("Alt-1", "Alt+1"), ("shift-n", "Shift+N"), (" F1 ", "F1"), (".", "."),
     ("Option+1", "Alt+1"), ("Control-Shift-G", "Ctrl+Shift+G")],
)  # fmt: skip
def test_a_key_is_written_one_way(text, key):
    assert parse_key(text) == key == parse_key(key)


def test_default_keys_are_one_for_each_act_and_written_as_kept():
    assert len(set(DEFAULT_KEYS.values())) == len(DEFAULT_KEYS) == len(ACTION_TITLES)
    assert [parse_key(key) for key in DEFAULT_KEYS.values()] == list(DEFAULT_KEYS.values())


def add_layers(viewer):
    viewer.add_image(np.zeros((2, 8, 8), np.float32), name="Image")
    viewer.add_labels(np.zeros((2, 8, 8), np.uint8), name="Labels")
    viewer.add_points(np.ones((1, 3)), name="Points")
    viewer.add_shapes(None, ndim=3, name="Shapes")
    viewer.add_vectors(np.ones((1, 2, 3)), name="Vectors")
    viewer.add_surface((np.eye(3), np.array([[0, 1, 2]])), name="Surface")
    viewer.add_tracks(np.array([[0, 0, 1, 1], [0, 1, 2, 2]]), name="Tracks")
    return list(viewer.layers)


def press(viewer, key):
    """Press and release a key in the canvas, through Qt and vispy."""
    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QKeyEvent, QKeySequence
    from qtpy.QtWidgets import QApplication

    combination = QKeySequence(key)[0]
    for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
        event = QKeyEvent(kind, combination.key(), combination.keyboardModifiers())
        QApplication.sendEvent(viewer.window._qt_viewer.canvas.native, event)


def test_every_default_key_is_free_and_arrives_whichever_layer_is_active(make_napari_viewer):
    """Looked up as napari does: the active layer and its classes, the viewer, the menus."""
    from app_model.types import KeyBinding
    from napari._app_model import get_app_model

    viewer = make_napari_viewer()
    layers = add_layers(viewer)
    menus = {str(rule.keybinding) for rule in get_app_model().keybindings}
    names = [action.text() for action in viewer.window._qt_window.menuBar().actions()]
    menus |= {f"Alt+{name[name.index('&') + 1].upper()}" for name in names if "&" in name}
    assert {"Alt+S", "Alt+F"} <= menus  # the look-up sees what napari takes
    for layer in layers:
        viewer.layers.selection.active = layer
        chain = viewer.window._qt_viewer._key_map_handler.keymap_chain
        assert KeyBinding.from_str("1") in chain
        assert KeyBinding.from_str("Space") in chain
        taken = [
            key
            for key in DEFAULT_KEYS.values()
            if KeyBinding.from_str(key) in chain or key in menus
        ]
        assert taken == [], layer
    pressed = []
    for act, key in DEFAULT_KEYS.items():
        viewer.bind_key(key, lambda _, act=act: pressed.append(act))
    for layer in layers:
        viewer.layers.selection.active = layer
        for key in DEFAULT_KEYS.values():
            press(viewer, key)
        assert pressed == list(DEFAULT_KEYS), layer
        pressed.clear()


def test_reading_the_settings_imports_nothing_heavy():
    code = (
        "import sys, napari_spa.viewer.settings as s; s.Settings(); "
        "print(sorted({'torch', 'sklearn', 'napari', 'qtpy', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
