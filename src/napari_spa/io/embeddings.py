"""A cache of image embeddings: in memory, and files bounded in size."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import platformdirs
from safetensors import SafetensorError
from safetensors.numpy import load, save

from napari_spa.errors import DataError
from napari_spa.io.files import atomic_path, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    Arrays: TypeAlias = dict[str, NDArray[Any]]


_logger = logging.getLogger(__name__)

_SUFFIX = ".safetensors"
_ENTRY = re.compile(r"[0-9a-f]{8,128}\.safetensors")
_LOOKS = 16  # the folder is looked at again after writing this part of the bound


def default_folder() -> Path:
    """Return the folder of the user's embeddings; it need not exist."""
    return platformdirs.user_cache_path("napari-spa", appauthor=False) / "embeddings"


def embedding_key(kind: str, weights: str, *arrays: NDArray[Any]) -> str:
    """Digest what an embedding depends on, in 40 hexadecimal digits.

    ``kind`` says what is made of the input (another meaning, layout or device wants another one),
    ``weights`` is the digest of the weights file, and the arrays are all that the network sees, of
    any shape and plain dtype; contiguous ones are hashed without a copy.
    """
    return digest_arrays([kind, weights], arrays)


def digest_arrays(labels: list[str], arrays: Iterable[NDArray[Any]]) -> str:
    """Digest texts and arrays: dtype, shape and bytes in C order.

    160 bits of SHA-256, which recent processors compute in hardware, faster than BLAKE2; other
    threads run on meanwhile.
    """
    arrays = [np.asarray(array) for array in arrays]
    # Written first and self-delimiting, so that no two lists of arrays run into the same bytes.
    head = [labels, *([array.dtype.str, array.shape] for array in arrays)]
    state = hashlib.sha256(json.dumps(head).encode(), usedforsecurity=False)
    for array in arrays:
        state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return state.hexdigest()[:40]


class EmbeddingCache:
    """Named arrays by key, in memory first, then on disk; the longest unused go first.

    Any thread may call it, and processes may share the folder.  A disk that is full or cannot
    be written is no error: the cache goes on in memory and logs one warning.
    """

    def __init__(
        self, folder: Path | None, *, memory_bytes: int = 256 * 2**20, disk_bytes: int = 4 * 2**30
    ) -> None:
        self._files = None if folder is None else _Files(Path(folder), disk_bytes)
        self._memory: OrderedDict[str, Arrays] = OrderedDict()  # in order of use
        self._bound, self._used = memory_bytes, 0
        self._lock = threading.Lock()  # of the memory; never held during disk access

    def get(self, key: str) -> Arrays | None:
        """Return an entry, and mark it as used; None where there is none.

        The arrays come as they were put, bit for bit: by name in sorted order, read-only, in C
        order. ``torch.tensor`` copies them; ``torch.from_numpy`` would warn.
        """
        with self._lock:
            found = self._memory.get(key)
            if found is not None:
                self._memory.move_to_end(key)
        if found is not None and self._files is not None:
            self._files.touch(key)
        elif self._files is not None:
            found = self._files.read(key)
            if found is not None:
                self._keep(key, found)
        return None if found is None else dict(found)  # the caller's own, to add or drop names

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep a copy of one or more arrays in place of what was there, on disk at the end."""
        kept = {name: np.array(arrays[name], order="C") for name in sorted(arrays)}
        for array in kept.values():
            array.setflags(write=False)
        self._keep(key, kept)
        if self._files is not None:
            self._files.write(key, kept)

    def _keep(self, key: str, arrays: Arrays) -> None:
        """Put arrays into the memory, as far as its bound allows."""
        with self._lock:
            self._used -= _size(self._memory.pop(key, {}))
            if _size(arrays) <= self._bound:
                self._memory[key] = arrays
                self._used += _size(arrays)
            while self._used > self._bound:
                self._used -= _size(self._memory.popitem(last=False)[1])


class _Files:
    """The files of a cache; no method raises because of the disk.

    Any thread may call it, and processes may share the folder: only the files know what there
    is.  They are looked at, and the longest unused ones removed, at the first write and whenever
    a sixteenth of the bound was written since; so much too many may be there in between.
    """

    def __init__(self, folder: Path, bound: int) -> None:
        self._folder, self._bound = folder, bound
        self._lock = threading.Lock()
        self._written = bound  # bytes since the last look, which never was
        self._warned = False

    def touch(self, key: str) -> None:
        """Mark an entry as used now, if it is there."""
        # The kernel's own "now" is a few milliseconds coarse; order of use needs better.
        now = time.time_ns()
        with contextlib.suppress(OSError):
            os.utime(self._path(key), ns=(now, now))

    def read(self, key: str) -> Arrays | None:
        """Return an entry's arrays, read-only; None where it is not, or damaged and removed."""
        try:
            content = self._path(key).read_bytes()
        except OSError:  # not there, taken away by another process, or unreadable
            return None
        arrays = _unpack(key, content)
        if arrays is None:
            _logger.info("removed the damaged embedding %s", self._path(key))
            self._unlink(self._path(key))
        else:
            self.touch(key)
        return arrays

    def write(self, key: str, arrays: Arrays) -> None:
        """Write an entry; now and then remove the longest unused ones until the bound holds."""
        content = save(
            arrays, metadata={"checksum": digest_arrays([key, *arrays], arrays.values())}
        )
        if len(content) > self._bound:
            return
        try:
            with atomic_path(self._path(key)) as temporary:
                temporary.write_bytes(content)
        except (DataError, OSError) as error:
            if not self._warned:
                self._warned = True
                _logger.warning("embeddings are kept in memory only: %s", error)
            return
        self.touch(key)
        with self._lock:
            self._written += len(content)
            if self._written > self._bound // _LOOKS:
                self._written = 0
                self._evict(keep=key)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{_SUFFIX}"

    def _files(self) -> Iterator[os.DirEntry[str]]:
        for number in range(256):
            with contextlib.suppress(OSError), os.scandir(self._folder / f"{number:02x}") as found:
                yield from found

    def _evict(self, keep: str) -> None:
        """Remove the longest unused entries."""
        entries: list[tuple[int, int, str]] = []
        for entry in self._files():
            with contextlib.suppress(OSError):  # it vanishes under us
                status = entry.stat(follow_symlinks=False)
                if _ENTRY.fullmatch(entry.name):
                    entries.append((status.st_mtime_ns, status.st_size, entry.path))
        excess = sum(size for _, size, _ in entries) - self._bound
        for _, size, path in sorted(entries):
            if excess <= 0:
                return
            if path != str(self._path(keep)):
                self._unlink(path)
                excess -= size

    @staticmethod
    def _unlink(path: Path | str) -> None:
        # Windows keeps a file that another process is reading: the next look counts it again.
        with contextlib.suppress(OSError):
            os.unlink(path)


def _unpack(key: str, content: bytes) -> Arrays | None:
    """Return what was written, or None when anything about it is not as it was."""
    try:
        found = load(content)
        head = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, KeyError, ValueError):  # KeyError: a dtype that NumPy lacks
        return None
    arrays = {name: found[name] for name in sorted(found)}
    checksum = (head.get("__metadata__") or {}).get("checksum")
    if checksum != digest_arrays([key, *arrays], arrays.values()):
        return None
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
