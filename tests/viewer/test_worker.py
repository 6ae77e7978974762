"""Tests of the background worker: order, cancel, late answers, errors, clean shutdown."""

import threading

import pytest

from napari_spa.errors import InputError
from napari_spa.viewer.worker import Worker


@pytest.fixture
def worker(qtbot):
    worker = Worker()
    yield worker
    worker.close()


def test_answers_arrive_in_the_main_thread(qtbot, worker):
    seen = []
    worker.finished.connect(lambda result: seen.append((result, threading.current_thread())))
    with qtbot.waitSignal(worker.finished):
        worker.submit(lambda progress: threading.current_thread().name)
    name, thread = seen[0]
    assert name.startswith("napari-spa")
    assert thread is threading.main_thread()
    assert not worker.busy


def test_a_late_answer_is_dropped(qtbot, worker):
    gate, results = threading.Event(), []
    worker.finished.connect(results.append)
    worker.submit(lambda progress: gate.wait(10) and "old")
    worker.submit(lambda progress: "new")
    with qtbot.waitSignal(worker.finished):
        gate.set()
    qtbot.wait(50)
    assert results == ["new"]


def test_cancel_stops_at_the_next_report(qtbot, worker):
    started, gate, done, results = threading.Event(), threading.Event(), threading.Event(), []
    worker.finished.connect(results.append)
    worker.failed.connect(results.append)

    def job(progress):
        started.set()
        gate.wait(10)
        try:
            progress(0.5, "half")
        finally:
            done.set()
        results.append("went on")

    worker.submit(job)
    assert started.wait(10)
    worker.cancel()
    assert not worker.busy
    gate.set()
    assert done.wait(10)
    qtbot.wait(50)
    assert results == []


def test_errors_and_progress_are_reported(qtbot, worker):
    def job(progress):
        progress(0.25, "a quarter")
        raise InputError("no good.")

    shares = []
    worker.progressed.connect(lambda share, message: shares.append((share, message)))
    with qtbot.waitSignal(worker.failed) as failed:
        worker.submit(job)
    assert str(failed.args[0]) == "no good."
    assert shares == [(0.25, "a quarter")]
    assert not worker.busy


def test_an_unexpected_error_is_not_lost(qtbot, worker):
    with qtbot.waitSignal(worker.failed) as failed:
        worker.submit(lambda progress: 1 / 0)
    assert isinstance(failed.args[0], ZeroDivisionError)


def test_close_ends_the_thread(qtbot):
    worker = Worker()
    with qtbot.waitSignal(worker.finished):
        worker.submit(lambda progress: 1)
    worker.close()
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("napari-spa") for name in names)
