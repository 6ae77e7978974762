"""The list of models: what can be used, what can be had, and what is said when it cannot."""

import hashlib
import os
import time

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog
from weights_server import serving

from napari_spa.io.models import download, registry
from napari_spa.io.models.registry import KNOWN, KnownModel, list_models
from napari_spa.widgets.refine.options import BROWSE, TUNE, ModelBar, tip_of

CONTENT = os.urandom(300_000)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NAPARI_SPA_MIRROR", "NAPARI_SPA_PROXY", "NAPARI_SPA_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NAPARI_SPA_MODELS", str(tmp_path))
    return tmp_path


@pytest.fixture
def publish(monkeypatch):
    def put(address):
        known = KnownModel(
            "sam-small", ("small.pth",), "small", 1, "MIT", address,
            f"sha256:{hashlib.sha256(CONTENT).hexdigest()}",
        )  # fmt: skip
        for module in (registry, download):
            monkeypatch.setattr(module, "KNOWN", (known,))

    return put


@pytest.fixture
def bar(qtbot, folder):
    bars = []

    def make():
        bars.append(ModelBar())
        qtbot.addWidget(bars[-1])
        bars[-1].set_current("spa-tiny")
        bars[-1].show()
        return bars[-1]

    yield make
    for one in bars:
        one.files.close()


def choose(bar, name):
    place = bar.combo.findData(name)
    bar.combo.setCurrentIndex(place)
    bar.combo.activated.emit(place)


def test_all_known_models_are_listed_with_size_licence_and_images(bar):
    combo = bar().combo
    texts = [combo.itemText(k) for k in range(combo.count())]
    assert texts[0] == "spa-tiny"
    assert texts[-2:] == [BROWSE, TUNE]
    for known in KNOWN:
        place = combo.findData(known.name)
        assert "download" in combo.itemText(place)
        tip = combo.itemData(place, Qt.ItemDataRole.ToolTipRole)
        assert f"{known.megabytes:,} MB" in tip
        assert known.licence in tip
    assert all("For " in tip_of(entry) for entry in list_models())


def test_a_download_ends_with_the_model_in_use(bar, publish, qtbot, folder):
    with serving(CONTENT) as server:
        publish(server.address)
        one = bar()
        choose(one, "sam-small")
        assert one.combo.currentData() == "spa-tiny"  # it is not there yet
        assert one.download.isVisible()
        assert "1 MB, licence: MIT" in one.about.text()
        with qtbot.waitSignal(one.model_chosen, timeout=20_000) as chosen:
            one.download.click()
            assert one.progress.isVisible()
            assert one.cancel.isVisible()
    assert chosen.args == ["sam-small"]
    assert (folder / "small.pth").read_bytes() == CONTENT
    assert one.combo.currentText() == "sam-small"
    assert not one.download.isVisible()
    assert not one.about.isVisible()


def test_a_download_can_be_cancelled_and_goes_on(bar, publish, qtbot, folder):
    with serving(CONTENT) as server:
        server.pause, server.piece = 0.05, 1 << 12
        publish(server.address)
        one = bar()
        choose(one, "sam-small")
        with qtbot.waitSignal(one.files.progressed, check_params_cb=lambda share, _: share > 0):
            one.download.click()
        with qtbot.waitSignal(one.files.failed, timeout=20_000):
            one.cancel.click()
        assert "stopped" in one.about.text()
        assert one.download.isVisible()
        assert (folder / "small.pth.part").stat().st_size > 0
        server.pause, server.piece = 0.0, 1 << 16
        with qtbot.waitSignal(one.model_chosen, timeout=20_000):
            one.download.click()
            assert "stopped" not in one.about.text()
    assert server.asked[-1][1] is not None  # from where it was


def test_neither_cancelling_nor_closing_waits_for_a_server_that_is_silent(
    bar, publish, qtbot, folder
):
    with serving(CONTENT) as server:
        server.piece = 1 << 12
        publish(server.address)
        one = bar()
        choose(one, "sam-small")
        server.pause = 0.0
        server.silent_after = len(CONTENT) // 2
        with qtbot.waitSignal(one.files.progressed, check_params_cb=lambda share, _: share > 0.4):
            one.download.click()
        with qtbot.waitSignal(one.files.failed, timeout=2_000):
            one.cancel.click()
            assert one.progress.text() == "stopping…"
            assert not one.cancel.isEnabled()
        assert "stopped" in one.about.text()
        with qtbot.waitSignal(one.files.progressed, check_params_cb=lambda share, _: share > 0.4):
            one.download.click()
        assert one.cancel.isEnabled()
        begun = time.monotonic()
        one.files.close()
        assert time.monotonic() - begun < 1


def test_a_server_that_does_not_answer_is_said_to_be_tried_again(bar, publish, qtbot, folder):
    with serving(CONTENT) as server:
        server.failures = 1
        publish(server.address)
        one = bar()
        choose(one, "sam-small")
        with qtbot.waitSignal(
            one.files.progressed, check_params_cb=lambda _, words: "trying again" in words
        ):
            one.download.click()
        assert one.progress.text() == "no answer, trying again"
        with qtbot.waitSignal(one.model_chosen, timeout=20_000):
            pass


def test_without_internet_one_sentence_says_what_to_do(bar, publish, qtbot, monkeypatch, folder):
    monkeypatch.setattr(download, "_TRIES", 1)
    publish("http://127.0.0.1:9/none")
    one = bar()
    choose(one, "sam-small")
    with qtbot.waitSignal(one.files.failed, timeout=20_000):
        one.download.click()
    words = one.about.text()
    assert words.startswith("Cannot download sam-small")
    assert str(folder) in words
    assert words.count(". ") == 0
    assert one.download.isVisible()  # to try again
    assert one.combo.isEnabled()


def test_a_file_is_checked_when_it_is_chosen(bar, qtbot, monkeypatch, tmp_path):
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not a model")
    good = registry.packaged_folder() / "spa-tiny.safetensors"
    one, picked, chosen = bar(), [str(broken), str(good)], []
    one.model_chosen.connect(chosen.append)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a: (picked.pop(0), ""))
    with qtbot.waitSignal(one.files.failed, timeout=60_000):
        choose(one, "")
    assert "broken.pth" in one.about.text()
    assert one.combo.currentData() == "spa-tiny"
    assert not chosen
    with qtbot.waitSignal(one.model_chosen, timeout=60_000):
        choose(one, "")
    assert chosen == [str(good)]
    assert one.combo.currentText() == "spa-tiny"
    assert one.combo.currentData() == str(good)
    assert one.combo.toolTip() == str(good)  # the name in the list, the path in the tooltip


def test_closing_ends_a_download(qtbot, folder, publish):
    with serving(CONTENT) as server:
        server.pause, server.piece = 0.05, 1 << 12
        publish(server.address)
        one = ModelBar()
        qtbot.addWidget(one)
        choose(one, "sam-small")
        one.download.click()
        one.files.close()  # and the thread is gone, as the test's end checks
    assert not (folder / "small.pth").exists()
