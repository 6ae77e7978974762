"""A log that looks without writing, and keeps in memory what the disk refuses."""

import errno

import numpy as np
import pytest
from tiny_model import make_model

from napari_spa.io.event_log import read_records
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.viewer.folder.reader import FolderLog


@pytest.fixture
def open_log(tmp_path):
    logs = []

    def open_it(failed=None, before=()):
        log = FolderLog(tmp_path / "a.tif.spa.jsonl", failed, before=before)
        logs.append(log)
        return log

    yield open_it
    for log in logs:
        log.close()


def fill_disk(monkeypatch, log, after=0):
    """Let writing fail as on a full disk, after so many bytes of a line."""
    real = type(log)._append_line

    def full(self, line):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FolderLog, "_append_line", full)
    return lambda: monkeypatch.setattr(FolderLog, "_append_line", real)


def kinds(path):
    return [record["kind"] for record in read_records(path)]


def test_looking_writes_nothing(open_log):
    log = open_log()
    log.append({"kind": "session"})
    log.append({"kind": "closed"})
    log.flush()
    assert not log.touched
    assert not log.path.exists()


def test_what_came_before_is_written_with_the_first_act(open_log):
    log = open_log(before=[{"kind": "edit"}])
    log.append({"kind": "session"})
    log.append({"kind": "discard"})
    log.append({"kind": "closed"})
    log.flush()
    assert log.touched
    assert kinds(log.path) == ["edit", "session", "discard", "closed"]


def test_what_a_full_disk_refuses_is_said_once_and_written_later(open_log, monkeypatch):
    said = []
    log = open_log(said.append)
    log.append({"kind": "first"})
    log.flush()
    freed = fill_disk(monkeypatch, log)
    log.append({"kind": "second"})
    log.append(lambda: {"kind": "third", "value": np.float32(0.5)})
    log.flush()
    assert not log.saved
    assert len(said) == 1
    assert "No space left" in said[0]
    assert [record["kind"] for record in log.records()] == ["first", "second", "third"]
    assert kinds(log.path) == ["first"]
    freed()
    log.flush()
    assert log.saved
    assert kinds(log.path) == ["first", "second", "third"]


def test_what_was_read_is_written_again_where_the_file_went(tmp_path):
    path = tmp_path / "a.tif.spa.jsonl"
    log = FolderLog(path, written=b'{"kind": "session"}\n{"kind": "cut')
    log.append({"kind": "discard"})
    assert [record["kind"] for record in log.records()] == ["session", "discard"]
    log.close()
    assert kinds(path) == ["session", "discard"]


def test_reading_what_waits_makes_no_folder(tmp_path):
    out = tmp_path / "out"
    log = FolderLog(out / "a.tif.spa.jsonl", within=out)
    profile = PreferenceProfile.empty(make_model().identity)

    def write():
        profile.save(out / "profile.json", within=out)
        return {"kind": "profile"}

    log.append({"kind": "first"})
    log.append(write)
    assert [record["kind"] for record in log.records()] == ["first"]
    assert not out.exists()
    out.mkdir()
    log.close()
    assert kinds(log.path) == ["first", "profile"]
    assert PreferenceProfile.load(out / "profile.json").to_json() == profile.to_json()


def test_a_half_written_line_is_taken_back(open_log, monkeypatch):
    import os

    log = open_log(lambda sentence: None)
    log.append({"kind": "first"})
    log.flush()
    whole = log.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _no_space)
        log.append({"kind": "second"})
        log.flush()
        assert log.path.read_bytes() == whole
    log.append({"kind": "third"})
    log.flush()
    assert kinds(log.path) == ["first", "second", "third"]


def _no_space(descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_record_that_is_no_json_does_not_stop_the_others(open_log):
    said = []
    log = open_log(said.append)
    log.append({"kind": "odd", "value": object()})
    log.append({"kind": "good"})
    log.flush()
    assert log.saved
    assert kinds(log.path) == ["good"]
    assert len(said) == 1
