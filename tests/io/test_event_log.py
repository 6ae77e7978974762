"""Tests of the log on disk: in order, synced, never in the way, readable after any crash."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_spa.errors import DataError
from napari_spa.io.event_log import RecordLog, read_records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "work.jsonl"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def log(path: Path, said: list[str]):
    log = RecordLog(path, said.append)
    yield log
    log.close()


def test_records_come_back_in_order(log, path: Path) -> None:
    log.flush()
    assert not path.parent.exists(), "nothing is made before there is something to write"
    for number in range(50):
        log.append({"number": number, "name": "Ä 細胞 \n \u2028", "values": [1.1, None, True]})
    log.flush()
    records = read_records(path)
    assert [record["number"] for record in records] == list(range(50))
    assert records[7] == {"number": 7, "name": "Ä 細胞 \n \u2028", "values": [1.1, None, True]}
    assert path.read_bytes().count(b"\n") == 50


def test_floats_come_back_to_the_last_bit(log, path: Path) -> None:
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    log.append({"values": values})
    log.flush()
    assert [v.hex() for v in read_records(path)[0]["values"]] == [v.hex() for v in values]


def test_a_callable_is_asked_in_the_logs_thread(log, path: Path) -> None:
    def record() -> dict[str, object]:
        return {"thread": threading.current_thread().name}

    log.append(record).result()
    assert read_records(path)[0]["thread"].startswith("napari-spa-log")


def test_appending_does_not_wait(log) -> None:
    gate = threading.Event()

    def slow() -> dict[str, object]:
        gate.wait(5)
        return {}

    begun = time.monotonic()
    first, second = log.append(slow), log.append({})
    assert time.monotonic() - begun < 1
    assert not first.done()
    assert not second.done()
    gate.set()
    second.result()
    assert first.done()


def test_records_of_several_threads_are_whole(log, path: Path) -> None:
    def write(thread: int) -> None:
        for number in range(20):
            log.append({"thread": thread, "number": number, "text": "x" * 500})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.flush()
    records = read_records(path)
    for thread in range(4):
        assert [r["number"] for r in records if r["thread"] == thread] == list(range(20))


def test_numbers_of_numpy_are_numbers(log, path: Path, said) -> None:
    log.append({"object": np.uint32(7), "share": np.float32(0.5), "yes": np.bool_(True)}).result()
    assert read_records(path) == [{"object": 7, "share": 0.5, "yes": True}]
    assert not said


def test_a_closed_log_takes_no_more_and_minds_nothing(log, path: Path) -> None:
    log.append({"number": 1})
    log.close()
    log.close()
    log.append({"number": 2}).result(timeout=1)
    log.flush()
    assert read_records(path) == [{"number": 1}]


def test_going_on_with_a_log(log, path: Path) -> None:
    log.append({"number": 1}).result()
    again = RecordLog(path)
    again.append({"number": 2})
    again.close()
    assert read_records(path) == [{"number": 1}, {"number": 2}]


@pytest.mark.parametrize("torn", [b'{"number": 5', b"{", b"\xe7\xb4", b'{"number": 5}'])
def test_a_line_that_was_cut_does_not_spoil_the_next(path: Path, torn: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"number": 1}\n' + torn)
    log = RecordLog(path)
    log.append({"number": 2})
    log.close()
    numbers = [record["number"] for record in read_records(path)]
    assert numbers == ([1, 5, 2] if torn.endswith(b"}") else [1, 2])


# ------------------------------------------------------------------------------------ failing


def test_what_could_not_be_written_is_written_when_that_works_again(tmp_path: Path, said) -> None:
    """One failed write is no end of saving, and both are said once."""
    (tmp_path / "folder").write_text("a file where the folder should be")
    mended: list[str] = []
    log = RecordLog(tmp_path / "folder" / "work.jsonl", said.append, mended.append)
    for number in range(3):
        log.append({"number": number})
    log.flush()
    assert not log.saved
    (tmp_path / "folder").unlink()
    log.append({"number": 3}).result()
    assert log.saved
    assert [r["number"] for r in read_records(log.path)] == [0, 1, 2, 3]
    assert (len(said), mended) == (1, ["your work is saved again (work.jsonl)."])
    log.close()


def test_what_could_not_be_written_is_written_at_the_end(tmp_path: Path, said) -> None:
    (tmp_path / "folder").write_text("a file where the folder should be")
    log = RecordLog(tmp_path / "folder" / "work.jsonl", said.append)
    log.append({"number": 1}).result()
    (tmp_path / "folder").unlink()
    log.close()
    assert read_records(log.path) == [{"number": 1}]


@pytest.mark.parametrize("there", [None, b"", b'{"number": 1', b'{"number": 7}\n' * 9])
def test_a_log_that_went_with_its_folder_is_written_whole(log, path, said, there) -> None:
    log.append({"number": 1})
    log.append({"number": 2}).result()
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    if there is not None:
        path.write_bytes(there)
    log.append({"number": 3}).result()
    log.append({"number": 4}).result()
    assert [record["number"] for record in read_records(path)] == [1, 2, 3, 4]
    other = there is not None and b"7" in there
    assert [kept.read_bytes() for kept in path.parent.glob("*.bak*")] == [there] * other
    assert len(list(path.parent.iterdir())) == 1 + other
    assert not said


def test_the_end_of_a_log_that_did_not_reach_the_disk_is_written_again(log, path) -> None:
    log.append({"number": 1}).result()
    first = path.read_bytes()
    log.append({"number": 2}).result()
    path.write_bytes(first + b'{"num')
    log.append({"number": 3}).result()
    assert [record["number"] for record in read_records(path)] == [1, 2, 3]


def _raises() -> dict[str, object]:
    raise KeyError("a record that cannot be made")


@pytest.mark.parametrize(
    "bad", [{"value": object()}, {"value": float("nan")}, _raises, {("a", 1): 2}]
)
def test_a_bad_record_costs_itself(log, path: Path, said, bad) -> None:
    log.append({"number": 1})
    log.append(bad)
    log.append({"number": 2}).result()
    assert read_records(path) == [{"number": 1}, {"number": 2}]
    assert len(said) == 1
    assert "could not be written" in said[0]


def test_names_that_are_not_utf_8_come_back(log, path: Path, said) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    log.append({"path": name}).result()
    assert read_records(path) == [{"path": name}]
    assert not said


def test_a_folder_that_cannot_be_made_is_told_once(tmp_path: Path, said) -> None:
    (tmp_path / "file").write_text("")
    names: list[str] = []

    def failed(sentence: str) -> None:
        said.append(sentence)
        names.append(threading.current_thread().name)

    log = RecordLog(tmp_path / "file" / "work.jsonl", failed)
    for number in range(3):
        log.append({"number": number}).result()
    log.close()
    (sentence,) = said
    assert sentence.startswith("your work cannot be saved as you go")
    assert sentence.endswith(".")
    assert names[0].startswith("napari-spa-log")


def test_a_full_disk_is_told_once(log, said, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log.append({"number": 1}).result()
    monkeypatch.setattr(os, "fsync", full)
    log.append({"number": 2}).result()
    log.append({"number": 3}).result()
    assert len(said) == 1
    assert os.strerror(errno.ENOSPC) in said[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes", {1, 2}])
def test_what_json_cannot_hold_is_told_and_leaves_no_half_line(log, path, said, value) -> None:
    log.append({"number": 1}).result()
    log.append({"value": value}).result()
    assert len(said) == 1
    assert read_records(path) == [{"number": 1}]
    assert path.read_bytes().endswith(b"}\n")


def test_a_record_that_cannot_be_made_is_told(log, said) -> None:
    def record() -> dict[str, object]:
        raise DataError("the profile is on a disk that is gone.")

    log.append(record).result()
    assert "on a disk that is gone" in said[0]


# ------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"no json", b"[1, 2]\n3\nnull\n", b"\x00\xff\xfe", b"[" * 100_000],
    ids=["empty", "blank", "text", "no objects", "binary", "deep"],
)
def test_what_is_no_log(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"file\.jsonl is no decision log"):
        read_records(path)


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_records(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="cannot read"):
        read_records(tmp_path)


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(b'{"n": 1}\r\n{"n": \xff}\n\n{"n": 2}\n{"n": 3')
    assert read_records(path) == [{"n": 1}, {"n": 2}]


WRITER = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a background shell
from napari_spa.io.event_log import RecordLog
log = RecordLog(Path(sys.argv[1]))
for number in range(1_000_000):
    done = log.append({"number": number, "text": "x" * 3000})
    if number % 10 == 0:
        done.result()
        print(number, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
@pytest.mark.parametrize("lines", [1, 7, 50])
def test_what_was_synced_survives_any_end(path: Path, name: str, lines: int) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert writer.stdout is not None
    synced = 0
    with writer:
        for _ in range(lines):
            synced = int(writer.stdout.readline())
        writer.send_signal(getattr(signal, name))
        writer.stdout.read()
    records = read_records(path)
    assert [record["number"] for record in records] == list(range(len(records)))
    assert len(records) > synced
    assert all(json.dumps(record["text"]) == json.dumps("x" * 3000) for record in records)
    log = RecordLog(path)
    log.append({"number": -1})
    log.close()
    assert read_records(path)[-1] == {"number": -1}
    assert len(read_records(path)) == len(records) + 1
