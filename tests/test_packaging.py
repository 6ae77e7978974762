"""What a user gets: the manifest, the wheel's content, and imports that cost nothing."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from npe2 import PluginManifest

import napari_spa

ROOT = Path(__file__).parents[1]
MANIFEST = PluginManifest.from_file(ROOT / "napari.yaml")
COMMANDS = {command.id: command.python_name for command in MANIFEST.contributions.commands}
BINDINGS = {"PyQt5", "PyQt6", "PySide2", "PySide6"}


def modules_after(statement: str) -> set[str]:
    """Return the top-level names in ``sys.modules`` of a fresh interpreter after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return {name.partition(".")[0] for name in json.loads(run.stdout.splitlines()[-1])}


def build(target: str, source: Path, folder: Path) -> Path:
    """Build a ``wheel`` or ``sdist`` of `source` into `folder` and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "-d", str(folder)]
    run = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_installed_manifest_is_the_one_at_the_top_level():
    assert PluginManifest.from_distribution("napari-spa").contributions == MANIFEST.contributions


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_resolves(command):
    module, _, name = COMMANDS[command].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_every_widget_is_in_a_menu_and_has_a_command():
    widgets = {widget.command for widget in MANIFEST.contributions.widgets}
    segment = {item.command for item in MANIFEST.contributions.menus["napari/layers/segment"]}
    assert widgets <= set(COMMANDS)
    assert "napari-spa.refine" in widgets & segment


def test_version_without_heavy_imports():
    loaded = modules_after("import napari_spa; assert napari_spa.__version__")
    heavy = {"torch", "numpy", "scipy", "sklearn", "skimage", "napari", "qtpy", *BINDINGS}
    assert not loaded & heavy


def test_version_is_the_distributions():
    assert napari_spa.__version__ == importlib.metadata.version("napari-spa")


def test_opening_the_dock_imports_no_torch():
    loaded = modules_after("import napari_spa.widgets.refine.dock")
    assert not loaded & {"torch", "sklearn"}


def test_opening_the_dock_imports_nothing_that_is_used_later():
    """Each of them stops the window: SciPy's parts a tenth of a second, the exports a hundredth."""
    later = "{'scipy.ndimage', 'scipy.special', 'napari_spa.io.export', 'napari_spa.io.images'}"
    code = f"""
import sys, napari.layers, napari.viewer
before = set(sys.modules)
import napari_spa.widgets.refine.dock
assert not {later} & (set(sys.modules) - before)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", sorted(set(napari_spa.__all__) - {"__version__"}))
def test_public_names_load_from_their_module(name):
    assert getattr(napari_spa, name).__module__ == napari_spa._HOME[name]
    assert name in dir(napari_spa)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        _ = napari_spa.load_modle


def test_wheel_holds_manifest_types_marker_and_weights(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        manifest = archive.read("napari_spa/napari.yaml")
    assert manifest == (ROOT / "napari.yaml").read_bytes()
    assert names.count("napari_spa/napari.yaml") == 1
    assert "napari_spa/py.typed" in names
    assert "napari_spa/weights/spa-tiny.safetensors" in names
    assert "napari_spa/weights/spa-tiny.calibration.json" in names
    assert {"napari_spa/samples/ct.npz", "napari_spa/samples/em.npz"} <= set(names)


def test_wheel_needs_no_qt_binding_and_no_napari(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    base = [line for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert len(base) > 10
    assert not [line for line in base if any(n in line for n in {*BINDINGS, "napari"})]


def test_wheel_from_sdist_is_the_wheel_from_the_checkout(wheel, tmp_path):
    sdist = build("sdist", ROOT, tmp_path / "sdist")
    (tmp_path / "source").mkdir()
    subprocess.run(["tar", "-xzf", str(sdist), "-C", str(tmp_path / "source")], check=True)
    (source,) = (tmp_path / "source").iterdir()
    again = build("wheel", source, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert sorted(one.namelist()) == sorted(two.namelist())


def test_editable_install_links_the_manifest(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    link_manifest = importlib.import_module("hatch_build").link_manifest
    (tmp_path / "src" / "napari_spa").mkdir(parents=True)
    (tmp_path / "napari.yaml").write_text("name: one\n")
    for _ in range(2):  # a second install replaces the first one's link
        link_manifest(tmp_path)
    inside = tmp_path / "src" / "napari_spa" / "napari.yaml"
    assert inside.read_text() == "name: one\n"
    if inside.is_symlink():
        (tmp_path / "napari.yaml").write_text("name: two\n")
        assert inside.read_text() == "name: two\n"
