"""Tests of the background worker: order, cancel, late answers, errors, clean shutdown."""

import threading
import time

import pytest
from qtpy.QtWidgets import QApplication

from napari_spa.errors import Cancelled, InputError
from napari_spa.viewer.background import Worker


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


def blocked_job(results):
    """Return a job that waits at a gate before its progress report, and its events."""
    started, gate, done = threading.Event(), threading.Event(), threading.Event()

    def job(progress):
        started.set()
        gate.wait(10)
        try:
            progress(0.5, "half")
        finally:
            done.set()
        results.append("went on")

    return job, started, gate, done


def test_a_dropped_job_ends_at_its_next_report_unheard(qtbot, worker):
    results = []
    worker.finished.connect(results.append)
    worker.failed.connect(results.append)
    job, started, gate, done = blocked_job(results)
    worker.submit(job)
    assert started.wait(10)
    worker.drop()
    assert not worker.busy
    gate.set()
    assert done.wait(10)
    qtbot.wait(50)
    assert results == []


def test_a_stopped_job_is_waited_for(qtbot, worker):
    results = []
    job, started, gate, _ = blocked_job(results)
    worker.submit(job)
    assert started.wait(10)
    worker.stop()
    assert worker.busy
    with qtbot.waitSignal(worker.stopped):
        gate.set()
    assert results == []
    assert not worker.busy


def test_a_stopped_job_that_was_done_already_counts(qtbot, worker):
    started, gate = threading.Event(), threading.Event()

    def job(progress):
        started.set()
        return gate.wait(10) and "done"

    worker.submit(job)
    assert started.wait(10)
    worker.stop()
    with qtbot.waitSignal(worker.finished) as finished:
        gate.set()
    assert finished.args == ["done"]


def test_what_a_job_gives_on_the_way_arrives_in_order_before_its_end(qtbot, worker):
    seen = []

    def job(handle):
        for number in range(3):
            handle.report(number)
        return "end"

    with qtbot.waitSignal(worker.finished):
        worker.submit(job, seen.append, on_value=seen.append)
    assert seen == [0, 1, 2, "end"]


@pytest.mark.parametrize("after", ["nothing", "another job", "close"])
def test_a_dropped_job_is_heard_no_more_whatever_it_says(qtbot, worker, after):
    """Nothing that it reports, says or answers late is taken for the next job's."""
    inside, gate, ended = threading.Event(), threading.Event(), threading.Event()
    old, new, signals = [], [], []
    for name in ("finished", "failed", "progressed"):
        getattr(worker, name).connect(lambda *values: signals.append(values))

    def job(handle):
        inside.set()
        gate.wait(10)
        handle.report("a slice of the object that was left")
        worker.advance(handle, 0.5, "half of the old one")
        ended.set()
        return "old"

    worker.submit(job, old.append, on_value=old.append)
    assert inside.wait(10)
    worker.drop()
    if after == "another job":
        worker.submit(lambda handle: handle.report("new") or "end", new.append, on_value=new.append)
    gate.set()
    if after == "close":
        worker.close()
    qtbot.waitUntil(ended.is_set, timeout=5000)
    qtbot.waitUntil(lambda: not worker.busy, timeout=5000)
    qtbot.wait(50)
    assert old == []
    expected = (["new", "end"], [("end",)]) if after == "another job" else ([], [])
    assert (new, signals) == expected


def test_any_end_of_a_job_ends_it(qtbot, worker):
    def job(handle):
        raise SystemExit("a library gave up")

    with qtbot.waitSignal(worker.failed) as failed:
        worker.submit(job)
    assert isinstance(failed.args[0], SystemExit)
    assert not worker.busy


def test_what_cannot_be_done_with_a_result_is_the_job_s_failure(qtbot, worker):
    def then(result):
        raise InputError(f"no room for {result}.")

    with qtbot.waitSignal(worker.failed) as failed:
        worker.submit(lambda handle: "it", then)
    assert str(failed.args[0]) == "no room for it."


def test_stopping_nothing_stops_nothing_later(qtbot, worker):
    worker.stop()
    done = threading.Event()
    worker.submit_idle(lambda handle: (handle(0.5, ""), done.set()))
    assert done.wait(10)


def test_idle_works_do_not_end_each_other(qtbot, worker):
    done = [threading.Event() for _ in range(3)]
    for event in done:
        worker.submit_idle(lambda handle, event=event: (handle(0.5, ""), event.set()))
    assert all(event.wait(10) for event in done)


def test_idle_work_never_delays_a_job_and_its_errors_are_nobodys(qtbot, worker):
    gate, ended = threading.Event(), threading.Event()

    def ahead(progress):
        gate.wait(10)
        try:
            progress(0.5, "")
        finally:
            ended.set()
        raise AssertionError("idle work went on though a job came")

    worker.submit_idle(ahead)
    with qtbot.waitSignal(worker.finished, timeout=5000) as finished:
        worker.submit(lambda progress: "answer")
    assert finished.args == ["answer"]
    gate.set()
    assert ended.wait(10)


def test_what_is_to_be_done_surely_ends_with_the_worker(qtbot):
    worker, begun, ended = Worker(), threading.Event(), []

    def job(handle):
        begun.set()
        for _ in range(500):
            try:
                handle.check()
            except Cancelled:
                ended.append(True)
                raise
            time.sleep(0.01)

    worker.submit_idle(job, surely=True)
    assert begun.wait(10)
    worker.submit(lambda progress: None)
    worker.close()
    assert ended == [True]


def test_what_is_to_be_done_surely_outlives_the_jobs_before_and_after_it(qtbot, worker):
    """As looking for work to restore: a click at once must not cost it."""
    gate, done = threading.Event(), [threading.Event(), threading.Event()]
    worker.submit_idle(lambda handle: gate.wait(10))  # as a model that is loaded ahead
    worker.submit_idle(lambda handle: done[0].set(), surely=True)
    with qtbot.waitSignal(worker.finished, timeout=5000):
        worker.submit(lambda progress: worker.submit_idle(lambda _: done[1].set(), surely=True))
    gate.set()
    assert all(event.wait(10) for event in done)


def test_many_reports_do_not_pile_up_while_a_bar_lets_the_window_live(qtbot, worker):
    inside, nested, heard = [], [], []

    def bar(share, message):  # napari's draws itself so
        nested.extend(inside)
        inside.append(share)
        heard.append(share)
        QApplication.processEvents()
        inside.pop()

    def job(progress):
        for number in range(3000):
            progress(number / 3000, "planes")

    worker.progressed.connect(bar)
    with qtbot.waitSignal(worker.finished, timeout=20_000):
        worker.submit(job)
    assert heard
    assert not nested
    assert heard == sorted(heard)


def test_of_reports_that_come_fast_a_few_are_shown_and_the_last_one_always(qtbot, worker):
    """Each draws a bar: 300 slices that are exported must not draw it 300 times."""
    heard = []
    worker.progressed.connect(lambda share, message: heard.append((share, message)))
    first = threading.Event()
    worker.progressed.connect(lambda share, message: first.set())

    def job(progress):
        progress(0.0, "slice 0")
        first.wait(10)
        for number in range(1, 301):
            progress(number / 300, f"slice {number}")

    with qtbot.waitSignal(worker.finished):
        worker.submit(job)
    assert heard[0] == (0.0, "slice 0")
    assert heard[-1] == (1.0, "slice 300")
    assert len(heard) < 30


def test_a_dropped_job_does_not_silence_the_current_one(qtbot, worker):
    heard, handles, gates = [], [], [threading.Event(), threading.Event()]
    worker.progressed.connect(lambda share, message: heard.append(message))

    def job(handle):
        handles.append(handle)
        gates[len(handles) - 1].wait(10)

    worker.submit(job)
    qtbot.waitUntil(lambda: len(handles) == 1)
    worker.submit(job)
    gates[0].set()
    qtbot.waitUntil(lambda: len(handles) == 2)
    old, current = handles
    worker.advance(current, 0.1, "shown at once")
    worker.advance(current, 0.5, "waits for its turn")
    worker.advance(old, 0.9, "of what was dropped")
    qtbot.waitUntil(lambda: len(heard) == 2)
    assert heard == ["shown at once", "waits for its turn"]
    gates[1].set()


def test_what_is_begun_while_the_last_report_is_shown_is_done(qtbot, worker):
    """A bar lets the window live as it is drawn: a click may arrive there."""
    first, found = threading.Event(), []

    def bar(share, message):
        first.set()
        if message == "last":
            worker.submit(lambda _: "the click's", found.append)

    def job(progress):
        progress(0.0, "first")
        first.wait(10)
        progress(1.0, "last")
        return "the job's"

    worker.progressed.connect(bar)
    worker.submit(job, found.append)
    qtbot.waitUntil(lambda: bool(found))
    assert found == ["the click's"]


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


def test_idle_work_is_heard_unless_a_job_came_after_it(qtbot, worker):
    heard = []
    worker.submit_idle(lambda handle: "found", heard.append, queued=True)
    qtbot.waitUntil(lambda: heard == ["found"])
    assert not worker.busy
    gate = threading.Event()
    worker.submit_idle(lambda handle: gate.wait(10) and "late", heard.append, queued=True)
    with qtbot.waitSignal(worker.finished):
        worker.submit(lambda progress: "job")
        gate.set()
    qtbot.wait(50)
    assert heard == ["found"]
