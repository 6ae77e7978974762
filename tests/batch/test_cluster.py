"""A batch in several processes: the same bytes, and what is lost when one of them dies."""

import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_batch import TOOLS, images_of, load_count, make_folder, snapshot

from napari_spa.batch import executors
from napari_spa.batch.runner import run_batch
from napari_spa.batch.task import ImageResult
from napari_spa.batch.worker import Assignment, Job, number_of_process
from napari_spa.errors import Cancelled, DataError

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
HELPERS = str(Path(__file__).parents[1] / "helpers")
PATHS = os.pathsep.join(filter(None, (HELPERS, os.environ.get("PYTHONPATH"))))


def run(plan, **options):
    return run_batch(plan, tools=TOOLS, **options)


def _environment_at_start():
    import psutil

    return psutil.Process().environ()


def undisturbed(plan):
    other = replace(plan, out=plan.out.parent / "undisturbed")
    run(other)
    return snapshot(other.out)


@pytest.fixture(scope="module")
def workers():
    """Two worker processes that several batches share, as a cluster of a site is shared."""
    with executors.local_cluster(2, 1 << 30) as running:
        yield running


def test_local_processes_write_the_same_bytes_and_survive_one_that_dies(tmp_path):
    contents = {f"{k}.png": f"blob {k}" for k in range(6)}
    contents["1.png"] = f"die once {tmp_path / 'died'}"
    contents["5.png"] = "fail"
    plan = make_folder(tmp_path, contents)
    report = run(plan, workers=2)
    assert (tmp_path / "died").exists()
    assert len(report.done) == 5
    assert report.failed == (("5.png", "5.png cannot be used."),)
    assert snapshot(plan.out) == undisturbed(plan)


def test_an_image_that_always_kills_its_process_fails_and_no_other_does(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "die", "b.png": "blob 2", "c.png": "blob 3"})
    report = run(plan, workers=2)
    assert report.done == ("b.png", "c.png")
    ((name, problem),) = report.failed
    assert name == "a.png"
    assert "died" in problem


def test_local_workers_are_numbered_and_keep_no_record_of_their_calls(workers):
    with executors.connected(workers) as client:
        kept = client.run(dask.config.get, "distributed.worker.profile.enabled")
        asked = [client.submit(number_of_process, workers=[at], pure=False) for at in kept]
        assert sorted(one.result() for one in asked) == [0, 1]
    assert number_of_process() == 0  # here
    assert set(kept.values()) == {False}


def test_the_model_is_loaded_once_in_each_worker(tmp_path, workers):
    plan = make_folder(tmp_path, {f"{k}.png": f"slow 0.02 {k}" for k in range(12)})
    report = run(plan, scheduler=workers)
    assert len(report.done) == 12
    assert load_count(plan) <= 2
    assert snapshot(plan.out) == undisturbed(plan)


def test_a_worker_starts_with_one_thread_and_keeps_its_memory(workers):
    with executors.connected(workers) as client:
        started = client.run(_environment_at_start).values()
    for variables in started:
        assert variables["OMP_NUM_THREADS"] == "1"
        assert variables["OMP_WAIT_POLICY"] == "PASSIVE"
        assert "MALLOC_TRIM_THRESHOLD_" not in variables  # dask's; all large arrays would be slow


@pytest.mark.parametrize("failures", [2, 3])
def test_a_process_that_dies_as_it_starts_is_started_again(failures, tmp_path, monkeypatch):
    started, start = [], distributed.LocalCluster

    def die_first(**options):
        started.append(options)
        if len(started) <= failures:
            raise RuntimeError("Nanny failed to start.")
        return start(**options)

    monkeypatch.setattr(distributed, "LocalCluster", die_first)
    plan = make_folder(tmp_path, {"a.png": "blob 1", "b.png": "blob 2"})
    if failures == 3:
        with pytest.raises(DataError, match=r"could be started: Nanny failed to start\.$"):
            run(plan, workers=2)
        assert not plan.out.exists()
    else:
        assert len(run(plan, workers=2).done) == 2


def test_cancelling_takes_back_what_waits(tmp_path, workers):
    plan = make_folder(tmp_path, {f"{k}.png": f"slow 0.1 {k}" for k in range(20)})
    results = []

    def stop(share, message):
        if results:
            raise Cancelled("stopped.")

    with pytest.raises(Cancelled):
        run(plan, scheduler=workers, on_result=results.append, progress=stop)
    assert 0 < len(images_of(plan)) < 20
    run(plan, scheduler=workers)
    assert snapshot(plan.out) == undisturbed(plan)


def test_a_fault_of_the_disk_on_a_worker_is_one_sentence(tmp_path, workers):
    plan = make_folder(tmp_path, {"a.png": "full", "b.png": "blob"})
    with pytest.raises(DataError, match="No space left"):
        run(plan, scheduler=workers)


def test_workers_that_do_not_see_the_folder_are_named(tmp_path, workers):
    plan = make_folder(tmp_path, {"a.png": "blob"})
    job = Job(tmp_path / "else" / "out", "run", plan.source, plan.recipe, {}, TOOLS)
    with (
        executors.connected(workers) as client,
        pytest.raises(DataError, match="share the file system"),
    ):
        list(executors.run_on(client, job, [Assignment(plan.tasks[0])]))


def test_no_scheduler_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "_CONNECT_SECONDS", 0.5)
    plan = make_folder(tmp_path, {"a.png": "blob"})
    with pytest.raises(DataError, match="no dask scheduler answers at tcp:"):
        run(plan, scheduler="tcp://127.0.0.1:1")
    assert not plan.out.exists()


def test_a_lost_scheduler_keeps_what_is_finished(tmp_path):
    plan = make_folder(tmp_path, {f"{k}.png": f"slow 0.05 {k}" for k in range(40)})
    code = (
        "import sys, time\n"
        "if __name__ == '__main__':\n"
        "    from distributed import LocalCluster\n"
        "    one = {'n_workers': 1, 'threads_per_worker': 1, 'dashboard_address': None}\n"
        "    with LocalCluster(**one) as running:\n"
        "        print(running.scheduler_address, flush=True)\n"
        "        time.sleep(600)\n"
    )
    script = tmp_path / "site.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": PATHS}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env=environment, text=True
    ) as site:
        results = []

        def enter(result):
            results.append(result)
            if len(results) == 3:
                site.send_signal(signal.SIGKILL)

        try:
            address = site.stdout.readline().strip()
            with pytest.raises(DataError, match="scheduler was lost"):
                run(plan, scheduler=address, on_result=enter)
        finally:
            site.kill()
    assert set(images_of(plan)) >= {result.name for result in results}
    assert logging.getLogger("distributed").level != logging.CRITICAL
    report = run(plan)
    assert len(report.done) < 40 - 2
    assert snapshot(plan.out) == undisturbed(plan)


def test_memory_decides_how_many_workers_there_are(tmp_path, monkeypatch):
    import psutil

    plan = make_folder(tmp_path, {"a.png": "blob"})
    job = Job(plan.out, "run", plan.source, plan.recipe, {}, TOOLS)
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=5 << 29))
    assert executors.share_of_memory(job, 1) == (1, 5 << 29)
    assert executors.share_of_memory(job, 8) == (2, 5 << 28)


def test_without_dask_one_worker_works_and_more_are_refused(tmp_path, monkeypatch):
    plan = make_folder(tmp_path, {"a.png": "blob 1", "b.png": "blob 2"})
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DataError, match=r"napari-spa\[batch\]"):
        run(plan, workers=2)
    assert not plan.out.exists()
    assert len(run(plan).done) == 2


def test_a_batch_that_is_killed_goes_on_and_its_workers_end_with_it(tmp_path):
    plan = make_folder(tmp_path, {f"{k}.png": f"slow 0.05 {k}" for k in range(12)})
    expected = undisturbed(plan)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from fake_batch import TOOLS, make_folder\n"
        "from napari_spa.batch.runner import run_batch\n"
        "if __name__ == '__main__':\n"
        "    contents = {f'{k}.png': f'slow 0.05 {k}' for k in range(12)}\n"
        "    plan = make_folder(Path(sys.argv[1]), contents)\n"
        "    run_batch(plan, tools=TOOLS, workers=2)\n"
    )
    script = tmp_path / "batch.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": PATHS}
    with subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment) as batch:
        while batch.poll() is None and not list(plan.out.glob("*.tif")):
            time.sleep(0.01)
        batch.kill()
    assert 0 < len(list(plan.out.glob("*.tif"))) < 12
    report = run(plan)
    assert report.unchanged
    assert snapshot(plan.out) == expected


def test_nobody_else_can_command_the_workers():
    """What listens talks TLS only, and only to the certificate of this run."""
    import psutil

    with executors.local_cluster(1, 1 << 30) as running:
        assert running.scheduler_address.startswith("tls://127.0.0.1:")
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        ports = {c.laddr for p in processes for c in p.net_connections() if c.status == "LISTEN"}
        assert len(ports) >= 3  # scheduler, nanny, worker
        assert {place.ip for place in ports} == {"127.0.0.1"}
        for place in ports:
            assert _answer_to_a_stranger(place, tls=True) == b""
            said = _answer_to_a_stranger(place, tls=False)
            assert said == b"" or said.startswith(b"HTTP/1.1 404")


def _answer_to_a_stranger(place, *, tls):
    """Ask as a client that looks at no certificate, and has one that someone else made."""
    context = distributed.security.Security.temporary().get_connection_args("client")["ssl_context"]
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(place, timeout=2) as plain,
            context.wrap_socket(plain) if tls else plain as line,
        ):
            line.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            return line.recv(100)
    except OSError:  # refused, closed, or left without an answer
        return b""


def test_a_scheduler_of_a_site_is_reached_over_its_tls(tmp_path):
    ours = distributed.security.Security.temporary()
    keys = {"ca-file": ours.tls_ca_file, "client.key": ours.tls_client_key}
    files = {}
    for name, content in {**keys, "client.cert": ours.tls_client_cert}.items():
        files[f"distributed.comm.tls.{name}"] = str(tmp_path / name)
        (tmp_path / name).write_text(content)
    plan = make_folder(tmp_path, {"a.png": "blob"})
    with (
        distributed.LocalCluster(
            n_workers=1, processes=False, protocol="tls://", security=ours, dashboard_address=":0"
        ) as site,
        dask.config.set(files),
    ):
        assert not executors.exposed(site.scheduler_address)
        assert run(plan, scheduler=site.scheduler_address).done == ("a.png",)
    assert snapshot(plan.out) == undisturbed(plan)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://10.0.0.1:8786", True), ("10.0.0.1:8786", True), ("tcp://node1:8786", True),
        ("tls://10.0.0.1:8786", False), ("tcp://127.0.0.1:8786", False), ("localhost:8786", False),
    ],
)  # fmt: skip
def test_a_connection_that_others_can_change_is_told(address, expected):
    assert executors.exposed(address) == expected


def test_an_answer_for_another_image_is_refused(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob"})
    tools = replace(TOOLS, segment=_answer_for_another)
    with (
        executors.local_cluster(1, 1 << 30) as running,
        pytest.raises(DataError, match="something else"),
    ):
        run_batch(plan, tools=tools, scheduler=running)


def _answer_for_another(task, recipe, engine, out):
    return ImageResult("../b.png", "failed", problem="no.")


def test_modules_of_the_current_folder_are_not_run(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    for name in ("numpy", "torch", "multiprocessing", "distributed"):
        (tmp_path / "images" / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path / "images")
    with executors.local_cluster(1, 1 << 30) as running, executors.connected(running) as client:
        assert client.submit(os.getcwd, pure=False).result() == str(tmp_path / "images")
    assert not (tmp_path / "ran").exists()
