"""Fixtures that hold for every test: clean user folders, no leaked windows or threads."""

from __future__ import annotations

import os

# Before anything imports torch: spinning OpenMP threads of two processes slow each other
# ten times and more; and one thread here and in every process that a test starts, so that
# sums are taken in the same order and figures are the same to the last bit.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("napari-spa", deadline=None)
hypothesis.settings.load_profile("napari-spa")

THREAD_PREFIX = "napari-spa"  # every thread of ours carries it
VIEWER_FIXTURES = {"make_napari_viewer", "make_napari_viewer_proxy"}
GUI_FIXTURES = {"qapp", "qtbot", *VIEWER_FIXTURES}
USER_FOLDERS = {
    # Linux
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_STATE_HOME": "state",
    # macOS
    "HOME": "home",
    # Windows, as platformdirs reads them
    "WIN_PD_OVERRIDE_APPDATA": "data",
    "WIN_PD_OVERRIDE_LOCAL_APPDATA": "data",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run (windows, GPU), and share the tests among processes.

    With pytest-xdist all windows belong to one process, since a display has one focus;
    other tests go to a process file by file.
    """
    for item in items:
        window = GUI_FIXTURES & set(getattr(item, "fixturenames", ()))
        item.add_marker(pytest.mark.xdist_group("windows" if window else item.path.as_posix()))
    if not _has_display():
        reason = "no display: run scripts/test.sh, or xvfb-run -a pytest"
        _skip(items, reason, lambda item: GUI_FIXTURES & set(getattr(item, "fixturenames", ())))
    if any(item.get_closest_marker("gpu") for item in items) and not _has_gpu():
        _skip(items, "no GPU", lambda item: item.get_closest_marker("gpu"))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Leave bytes out of tests' names: gzip's hold the time, and processes must agree on names."""
    return argname if isinstance(val, bytes) else None


def _skip(items, reason, applies) -> None:
    for item in filter(applies, items):
        item.add_marker(pytest.mark.skip(reason=reason))


def _has_display() -> bool:
    return sys.platform != "linux" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _redirect(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for variable, name in USER_FOLDERS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv(variable, str(folder / name))


@pytest.fixture(scope="session", autouse=True)
def _session_user_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep fixtures that live longer than a test away from the user's real folders."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("session-user")
        _redirect(monkeypatch, folder)
        # Written once a session; a fresh font cache in each test would take seconds.
        monkeypatch.setenv("MPLCONFIGDIR", str(folder / "matplotlib"))
        yield


@pytest.fixture(autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test empty user folders (cache, config, data, state); return their parent."""
    folder = tmp_path_factory.mktemp("user")
    _redirect(monkeypatch, folder)
    return folder


@pytest.fixture
def strict_folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in which the modes of files count for root too."""
    from unprivileged import obeying_modes, obeys_modes

    if not obeys_modes():
        pytest.skip("modes of files do not count for this user")
    with obeying_modes():
        yield tmp_path
    for path in (path for path in tmp_path.rglob("*") if path.is_dir()):
        path.chmod(0o700)


@pytest.fixture(autouse=True)
def _own_napari_settings(
    request: pytest.FixtureRequest, user_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep napari's plugin settings, whose folder it fixes when imported, to each test."""
    if GUI_FIXTURES & set(request.fixturenames) and _has_display():
        import napari.settings

        monkeypatch.setattr(napari.settings, "_CFG_PATH", str(user_folders / "napari.yaml"))
        monkeypatch.setattr(napari.settings, "_PLUGIN_SETTINGS", {}, raising=False)


@pytest.fixture(autouse=True)
def _no_leaked_threads() -> Iterator[None]:
    """Fail a test that leaves one of our threads running."""

    def ours() -> set[threading.Thread]:
        return {t for t in threading.enumerate() if t.name.startswith(THREAD_PREFIX)}

    before = ours()
    yield
    deadline = time.monotonic() + 5
    while (leaked := ours() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not leaked, f"close the session or dock that owns {sorted(t.name for t in leaked)}"


@pytest.fixture(autouse=True)
def _no_leaked_widgets(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a top-level widget; napari's own fixtures check theirs."""
    used = set(request.fixturenames)
    if not GUI_FIXTURES & used or VIEWER_FIXTURES & used or not _has_display():
        yield
        return
    application = request.getfixturevalue("qapp")
    before = set(application.topLevelWidgets())
    yield
    from qtpy.QtCore import QEvent

    application.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    application.processEvents()
    leaked = [w for w in application.topLevelWidgets() if w not in before and w.parent() is None]
    assert not leaked, f"give these to qtbot.add_widget or a parent: {leaked}"
