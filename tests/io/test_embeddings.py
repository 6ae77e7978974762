"""Unit: the embedding cache: exact arrays back, bounded, and no disk can make it fail."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from napari_spa.io.embeddings import (
    EmbeddingCache,
    default_folder,
    embedding_key,
)

LOGGER = "napari_spa.io.embeddings"
A, B, C, D = (digit * 40 for digit in "abcd")


def _arrays(seed: int = 0, side: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "tokens": rng.normal(size=(1, 4, side, side)).astype(np.float32),
        "skip0": rng.normal(size=(1, 2, side, side)).astype(np.float32),
    }


def _assert_same(found, expected) -> None:
    assert found is not None
    assert list(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].tobytes() == np.ascontiguousarray(array).tobytes()
        np.testing.assert_array_equal(found[name], array, strict=True)
        with pytest.raises(ValueError, match="read-only"):
            found[name][...] = 0


def _has(cache: EmbeddingCache, key: str) -> bool:
    """Tell whether there is an entry, without using it."""
    files = cache._files
    return key in cache._memory or (files is not None and os.path.isfile(files._path(key)))


def _file(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.safetensors"


def _keys(folder: Path) -> str:
    """Return the first digits of what is on disk, in order."""
    return "".join(sorted(path.name[0] for path in folder.rglob("*") if path.is_file()))


def _used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def _age(folder: Path, key: str, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(_file(folder, key), (when, when))


@pytest.fixture
def three(tmp_path) -> int:
    """Return the bytes of three files."""
    EmbeddingCache(tmp_path / "probe").put(A, _arrays())
    return 3 * _file(tmp_path / "probe", A).stat().st_size


# -- keys ---------------------------------------------------------------------


def test_a_key_depends_on_all_that_the_network_sees() -> None:
    x = np.arange(6, dtype=np.float32)
    bumped = x.copy()
    bumped[3] = np.nextafter(bumped[3], 9)
    keys = [
        embedding_key("encode", "w", x),
        embedding_key("encode2", "w", x),
        embedding_key("encode", "w2", x),
        embedding_key("encodew", "", x),
        embedding_key("encode", "w", x.reshape(2, 3)),
        embedding_key("encode", "w", x.reshape(3, 2)),
        embedding_key("encode", "w", x.view(np.int32)),
        embedding_key("encode", "w", x[:3], x[3:]),
        embedding_key("encode", "w", x[:2], x[2:]),
        embedding_key("encode", "w", x[::-1]),
        embedding_key("encode", "w", -x),
        embedding_key("encode", "w", bumped),
        embedding_key("encode", "w"),
        embedding_key("encode", "w", x[:0]),
        embedding_key("encode", "w", x[:0, None]),
        embedding_key("encode", "w", x[0]),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 40 and set(key) <= set("0123456789abcdef") for key in keys)


def test_a_key_is_that_of_values_not_of_their_place_in_memory() -> None:
    x = np.random.default_rng(0).random((4, 5, 3)).astype(np.float32)
    views = (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x.copy().transpose(0, 1, 2))
    assert {embedding_key("k", "w", view) for view in views} == {embedding_key("k", "w", x)}


def test_keys_are_the_same_in_every_process_and_version() -> None:
    # A change here makes every cache on disk useless: change `kind` where it is called instead.
    key = embedding_key("kind", "weights", np.arange(3, dtype="<f4"), np.array(True))
    assert key == "4fcb7a558a37e791e8697c93f8d89340cbad06be"


# -- there and back -------------------------------------------------------------


@pytest.mark.parametrize("memory_bytes", [0, 2**20])
@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint32", "int64", "float16", "float32", "float64"]
)
def test_arrays_come_back_bit_for_bit(tmp_path, dtype, memory_bytes) -> None:
    bits = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, 96, np.uint8)
    full = bits.view(dtype)  # floats among them that are NaN or subnormal
    arrays = {
        "z last": full,
        "a": full[0].reshape(()),
        "empty": full[:0].reshape(0, 3),
        "turned": full.reshape(2, 2, -1).T,
        "every other": full[::2],
        "": full[:1],
    }
    key = embedding_key("k", "w", full)
    EmbeddingCache(tmp_path, memory_bytes=memory_bytes).put(key, arrays)
    cache = EmbeddingCache(tmp_path, memory_bytes=memory_bytes)
    for _ in range(2):
        found = cache.get(key)
        assert found is not None
        for name, array in arrays.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            assert found[name].tobytes() == array.tobytes()
            assert not found[name].flags.writeable
            assert found[name].flags.c_contiguous
            assert found[name].flags.aligned
    _file(tmp_path, key).unlink()
    assert _has(cache, key) == bool(memory_bytes)


def test_nobody_can_change_an_entry_afterwards(tmp_path) -> None:
    arrays = _arrays()
    cache = EmbeddingCache(tmp_path)
    cache.put(A, arrays)
    arrays["tokens"][:] = 7
    cache.get(A).clear()
    _assert_same(cache.get(A), _arrays())
    _assert_same(EmbeddingCache(tmp_path).get(A), _arrays())


def test_what_was_read_stays_in_memory(tmp_path) -> None:
    EmbeddingCache(tmp_path).put(A, _arrays())
    cache = EmbeddingCache(tmp_path)
    assert _has(cache, A)
    assert not _has(cache, B)
    assert cache._used == 0
    assert cache.get(B) is None
    _assert_same(cache.get(A), _arrays())
    assert cache._used == sum(array.nbytes for array in _arrays().values())
    _file(tmp_path, A).unlink()
    assert _has(cache, A)
    _assert_same(cache.get(A), _arrays())


def test_without_a_folder() -> None:
    cache = EmbeddingCache(None)
    cache.put(A, _arrays())
    _assert_same(cache.get(A), _arrays())
    assert cache.get(B) is None
    assert not _has(cache, B)


def test_a_second_put_replaces_the_first(tmp_path) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.put(A, _arrays(1, side=16))
    cache.put(A, _arrays(2))
    _assert_same(cache.get(A), _arrays(2))
    _assert_same(EmbeddingCache(tmp_path).get(A), _arrays(2))
    assert cache._used == sum(array.nbytes for array in _arrays(2).values())


def test_the_default_folder_is_the_users_cache(user_folders) -> None:
    folder = default_folder()
    assert folder.name == "embeddings"
    assert "napari-spa" in str(folder)
    assert folder.is_relative_to(user_folders)
    assert not folder.exists()


# -- bounds -----------------------------------------------------------------------


def test_memory_keeps_the_latest_used() -> None:
    size = sum(array.nbytes for array in _arrays().values())
    cache = EmbeddingCache(None, memory_bytes=3 * size)
    for key in (A, B, C):
        cache.put(key, _arrays())
    cache.get(A)
    cache.put(D, _arrays())
    assert [key for key in (A, B, C, D) if _has(cache, key)] == [A, C, D]
    assert cache._used == 3 * size
    cache.put(A, _arrays(side=100))  # larger than the bound: and the old A is no A any more
    assert [key for key in (A, B, C, D) if _has(cache, key)] == [C, D]
    assert cache._used == 2 * size


def test_the_disk_keeps_the_latest_used(tmp_path, three) -> None:
    folder = tmp_path / "cache"
    cache = EmbeddingCache(folder, disk_bytes=three)
    for key in (A, B, C):
        cache.put(key, _arrays())
    assert cache.get(A) is not None  # from memory, yet used
    cache.put(D, _arrays())
    assert _keys(folder) == "acd"
    assert _used(folder) == three


def test_few_writes_between_looks_may_be_too_many(tmp_path, three) -> None:
    folder = tmp_path / "cache"
    cache = EmbeddingCache(folder, disk_bytes=32 * three)
    keys = [f"{number:02x}" * 20 for number in range(120)]
    for key in keys:
        cache.put(key, _arrays())
        assert _used(folder) <= 34 * three
    assert all(_file(folder, key).exists() for key in keys[-90:])


def test_files_that_others_used_stay(tmp_path, three) -> None:
    folder = tmp_path / "cache"
    cache = EmbeddingCache(folder, disk_bytes=three)
    for key in (A, B, C):
        cache.put(key, _arrays())
    for ahead, key in enumerate((B, A, C)):
        _age(folder, key, -1000 - ahead)  # used by another process, whose clock is ahead
    cache.put(D, _arrays())
    assert _keys(folder) == "acd"
    cache.put("e" * 40, _arrays())  # the one written before has no more privilege
    assert _keys(folder) == "ace"


def test_a_hit_on_disk_is_a_use(tmp_path, three, monkeypatch) -> None:
    folder = tmp_path / "cache"
    cache = EmbeddingCache(folder, memory_bytes=0, disk_bytes=three)
    for age, key in enumerate((A, B, C)):
        now = time.time_ns() // 10**6 * 10**6 - 10**9
        with monkeypatch.context() as clock:
            clock.setattr("time.time_ns", lambda now=now: now)
            cache.put(key, _arrays())
        assert _file(folder, key).stat().st_mtime_ns == now  # finer than the kernel's clock
        _age(folder, key, 100 - age)
    assert cache.get(A) is not None
    cache.put(D, _arrays())
    assert _keys(folder) == "acd"


def test_what_other_processes_wrote_counts(tmp_path, three) -> None:
    folder = tmp_path / "cache"
    mine, other = (EmbeddingCache(folder, disk_bytes=three) for _ in range(2))
    mine.put(A, _arrays())
    for key in (B, C, D):
        other.put(key, _arrays())
    assert _keys(folder) == "bcd"
    mine.put(A, _arrays())
    assert _keys(folder) == "acd"
    assert _used(folder) == three


def test_the_one_just_written_stays_whatever_its_time(tmp_path, three) -> None:
    folder = tmp_path / "cache"
    cache = EmbeddingCache(folder, disk_bytes=three)
    for key in (A, B, C):
        cache.put(key, _arrays())
        _age(folder, key, -1000)  # a clock that is ahead
    cache.put(D, _arrays())
    assert "d" in _keys(folder)
    assert len(_keys(folder)) == 3


def test_one_larger_than_the_bound_is_not_written(tmp_path, three) -> None:
    folder = tmp_path / "cache"
    cache = EmbeddingCache(folder, disk_bytes=three)
    cache.put(A, _arrays())
    cache.put(B, _arrays(side=100))
    assert _keys(folder) == "a"
    _assert_same(cache.get(B), _arrays(side=100))


def test_a_smaller_bound_holds_after_the_first_write(tmp_path, three) -> None:
    folder = tmp_path / "cache"
    cache = EmbeddingCache(folder)
    for age, key in enumerate((A, B, C)):
        cache.put(key, _arrays())
        _age(folder, key, 100 - age)
    EmbeddingCache(folder, disk_bytes=three // 3).put(D, _arrays())
    assert _keys(folder) == "d"


def test_the_folder_is_looked_at_once_and_not_before_a_write(tmp_path, monkeypatch) -> None:
    looked = []
    real = os.scandir
    monkeypatch.setattr("os.scandir", lambda path: looked.append(Path(path).name) or real(path))
    cache = EmbeddingCache(tmp_path)
    assert not _has(cache, A)
    cache.get(A)
    assert not looked
    for key in (A, B, C):
        cache.put(key, _arrays())
    assert len(looked) == len(set(looked)) == 256


# -- damage -----------------------------------------------------------------------


@settings(max_examples=50)
@given(st.data())
def test_a_damaged_file_is_a_miss_and_goes(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("damage")
    EmbeddingCache(folder).put(A, _arrays(side=2))
    path = _file(folder, A)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["cut", "flip", "zeros", "longer"])):
        case "cut":
            del content[place:]
        case "flip":
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        case "zeros":  # what a power cut leaves of a renamed file on some file systems
            content[place:] = bytes(len(content) - place)
        case "longer":
            content += b"\0"
    path.write_bytes(content)
    cache = EmbeddingCache(folder)
    found = cache.get(A)
    if found is None:
        assert not path.exists()
        cache.put(A, _arrays(side=2))
        found = EmbeddingCache(folder).get(A)
    _assert_same(found, _arrays(side=2))  # a flip in the header's blanks changes nothing


def _rename_one(path: Path) -> None:
    arrays = load_file(path)
    save_file({"tokens": arrays["tokens"], "skip1": arrays["skip0"]}, path, _metadata(path))


def _with_header(header: str, data: bytes = b"") -> Callable[[Path], object]:
    content = len(header).to_bytes(8, "little") + header.encode() + data
    return lambda path: path.write_bytes(content)


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as stream:
        return stream.metadata()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff" * 100),
        lambda path: path.write_bytes(bytes(4096)),
        lambda path: shutil.copy(_file(path.parents[1], B), path),
        lambda path: save_file(_arrays(), path),
        lambda path: save_file(_arrays(), path, {"checksum": "0" * 40}),
        lambda path: save_file(_arrays(1), path, _metadata(path)),
        lambda path: save_file({"tokens": _arrays()["tokens"]}, path, _metadata(path)),
        lambda path: save_file(
            {name: array.view(np.int32) for name, array in _arrays().items()},
            path,
            _metadata(path),
        ),
        _rename_one,
        _with_header("[]"),
        _with_header('{"__metadata__":null}'),
        _with_header('{"x":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}', b"ab"),
        _with_header('{"x":' * 500 + "1" + "}" * 500),
    ],
)
def test_only_what_was_written_under_this_key_is_trusted(tmp_path, damage, caplog) -> None:
    cache = EmbeddingCache(tmp_path, memory_bytes=0)
    cache.put(A, _arrays())
    cache.put(B, _arrays(1))
    _assert_same(cache.get(A), _arrays())
    damage(_file(tmp_path, A))
    with caplog.at_level(logging.INFO, LOGGER):
        assert cache.get(A) is None
    assert "removed the damaged embedding" in caplog.text
    assert _keys(tmp_path) == "b"
    assert not _has(cache, A)


# -- disks that do not help ---------------------------------------------------------


def _fail(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["os.replace", "pathlib.Path.write_bytes", "secrets.token_hex"])
def test_a_full_disk_leaves_the_memory_and_one_warning(
    tmp_path, where, monkeypatch, caplog
) -> None:
    cache = EmbeddingCache(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(where, _fail)
        cache.put(A, _arrays())
        cache.put(B, _arrays(1))
    _assert_same(cache.get(A), _arrays())
    _assert_same(cache.get(B), _arrays(1))
    warning, *more = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "kept in memory only" in warning.getMessage()
    assert "No space left on device" in warning.getMessage()
    assert not more
    assert _keys(tmp_path) == ""
    cache.put(C, _arrays())  # there is room again
    _assert_same(EmbeddingCache(tmp_path).get(C), _arrays())


def test_a_file_where_the_folder_should_be(tmp_path, caplog) -> None:
    (tmp_path / "file").write_text("mine")
    cache = EmbeddingCache(tmp_path / "file" / "deep")
    assert not _has(cache, A)
    assert cache.get(A) is None
    cache.put(A, _arrays())
    _assert_same(cache.get(A), _arrays())
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_a_read_only_folder_is_still_read(strict_folder, caplog) -> None:
    EmbeddingCache(strict_folder).put(A, _arrays())
    inner = strict_folder / A[:2]
    inner.chmod(0o500)
    cache = EmbeddingCache(strict_folder, memory_bytes=0, disk_bytes=10_000)
    _assert_same(cache.get(A), _arrays())
    assert not caplog.records
    cache.put(A[:2] + B, _arrays())
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
    inner.chmod(0o700)
    assert _has(cache, A)


def test_files_that_cannot_be_removed_end_the_search(tmp_path, three, monkeypatch) -> None:
    folder = tmp_path / "cache"
    cache = EmbeddingCache(folder, disk_bytes=three)
    for key in (A, B, C):
        cache.put(key, _arrays())
    with monkeypatch.context() as stuck:
        stuck.setattr("os.unlink", _fail)  # as Windows does while another process reads
        cache.put(D, _arrays())
    assert _keys(folder) == "abcd"
    cache.put(D, _arrays())
    assert _keys(folder) == "bcd"


# -- at the same time -------------------------------------------------------------------


def test_threads_and_caches_share_a_small_folder(tmp_path, three) -> None:
    folder = tmp_path / "cache"
    caches = [EmbeddingCache(folder, disk_bytes=three, memory_bytes=3000) for _ in range(2)]
    keys = [f"{number:02x}" * 20 for number in range(8)]
    umask = os.umask(0)
    os.umask(umask)

    def work(worker: int) -> int:
        rng, hits = np.random.default_rng(worker), 0
        for _ in range(60):
            number = int(rng.integers(len(keys)))
            cache = caches[worker % 2]
            found = cache.get(keys[number])
            if found is None:
                cache.put(keys[number], _arrays(number))
            else:
                hits += 1
                _assert_same(found, _arrays(number))
            assert cache._used <= 3000
        return hits

    try:
        with ThreadPoolExecutor(4) as pool:
            hits = sum(pool.map(work, range(4)))
    finally:
        os.umask(umask)
    assert hits > 0
    caches[0].put(keys[0], _arrays(0))
    assert _used(folder) <= three


def test_the_memory_does_not_wait_for_a_slow_disk(tmp_path, monkeypatch) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.put(A, _arrays())
    writing, go_on = threading.Event(), threading.Event()

    def slow(path: Path, content: bytes) -> None:
        writing.set()
        assert go_on.wait(30)

    monkeypatch.setattr("pathlib.Path.write_bytes", slow)
    worker = threading.Thread(target=cache.put, args=(B, _arrays()))
    worker.start()
    assert writing.wait(30)
    with cache._files._lock:  # and another thread evicts
        assert _has(cache, B)
        assert cache.get(A) is not None
    go_on.set()
    worker.join()


def test_it_brings_neither_torch_nor_napari() -> None:
    code = (
        "import sys, napari_spa.io.embeddings;"
        "print([m for m in ('torch', 'sklearn', 'napari', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
