"""Fetch a published model's file: with progress, and resumed, checked and cancelled.

A transfer goes to ``NAME.part`` beside its place in the models folder and is renamed once
its digest is the published one; what a broken or cancelled transfer got stays there and the
next one goes on from it.  (pooch, which napari brings, can neither resume nor cancel.)
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from napari_spa.errors import Cancelled, CheckpointError, DataError, InputError, ModelError
from napari_spa.io.files import explained, take_lock
from napari_spa.io.models.registry import (
    KNOWN,
    KnownModel,
    file_digest,
    known_file,
    list_models,
    models_folder,
    offline_folder,
)

if TYPE_CHECKING:
    import requests

MIRROR = "NAPARI_SPA_MIRROR"
PROXY = "NAPARI_SPA_PROXY"

Progress = Callable[[float, str], None]
"""Called with the share done, from 0 to 1, and words such as "120 of 375 MB"."""

_CONNECT, _SILENCE = 10.0, 20.0  # seconds to wait for a connection, and for the next bytes of one

_CHUNK = 1 << 18
_TRIES = 4
_MEGABYTE = 1_000_000
_NO_SUCH_RANGE, _TOO_BUSY = 416, 429  # the answers with a meaning of their own


class StopEvent(threading.Event):
    """An event that ends a download once it is set, even one that waits for bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._wake: Callable[[], None] | None = None

    def set(self) -> None:
        """Set it, and end the read that waits."""
        super().set()
        wake = self._wake
        if wake is not None:
            with suppress(OSError, ValueError):  # the answer has just ended
                wake()

    @contextmanager
    def ending(self, response: requests.Response) -> Iterator[None]:
        """End the reads of a response, once set."""
        self._wake = getattr(response.raw, "shutdown", None)  # of urllib3 2.3
        try:
            yield
        finally:
            self._wake = None


def download_model(
    name: str,
    *,
    progress: Progress | None = None,
    cancel: StopEvent | None = None,
    mirror: str | None = None,
    proxy: str | None = None,
    pause: float = 1.0,
) -> Path:
    """Bring a published model's file onto this machine, unless it is there."""
    known = _published(name)
    told = progress or (lambda share, message: None)
    here = known_file(known)
    if here is not None:
        if not _is_published(known, here, told):
            raise CheckpointError(
                f"{here} is not the published file of {known.name} (its digest differs); remove "
                "it and download it again."
            )
        return here
    target = models_folder() / known.files[0]
    transfer = _Transfer(
        known,
        target.with_name(f"{target.name}.part"),
        _address(known, mirror or os.environ.get(MIRROR)),
        proxy or os.environ.get(PROXY),
        told,
        cancel or StopEvent(),
        pause,
    )
    with _alone(target):
        transfer.run()
        if transfer.pieced and not _is_published(known, transfer.part, told):
            transfer.part.unlink()  # its beginning may be of another file: all of it again
            transfer.run()
        if not _is_published(known, transfer.part, told):
            transfer.part.unlink()
            raise DataError(
                f"what {transfer.host} gave is not the published file of {known.name} (its digest "
                f"differs); try again later, or {transfer.elsewhere}."
            )
        with explained("write", target):
            os.replace(transfer.part, target)
    return target


def _published(name: str) -> KnownModel:
    for known in KNOWN:
        if known.name == name:
            return known
    if any(entry.name == name and entry.path for entry in list_models()):
        raise ModelError(f"{name} is on this machine; there is nothing to download.")
    names = ", ".join(known.name for known in KNOWN)
    raise ModelError(f"no model {name!r} can be downloaded; choose one of {names}.")


def _address(known: KnownModel, mirror: str | None) -> str:
    if not mirror:
        return known.address
    if not mirror.lower().startswith(("http:", "https:")):  # the rest is looked at when it is used
        raise InputError(f"the mirror {mirror!r} is no http or https address.")
    return f"{mirror.rstrip('/')}/{known.files[0]}"


def _is_published(known: KnownModel, path: Path, told: Progress) -> bool:
    """Compare a file with the published digest; without one there is nothing to compare."""
    if known.digest is None:
        return True
    kind, _, value = known.digest.partition(":")
    told(1.0, "checking")
    return file_digest(path, kind) == value


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Let one process at a time fetch a file."""
    with explained("write", target):
        target.parent.mkdir(parents=True, exist_ok=True)
    busy = f"{target.name} is being downloaded already; wait for it."
    lock = take_lock(target.with_name(f".{target.name}.lock"), target, busy)
    try:
        yield
    finally:
        # While it is held: whoever opens it from now on makes a new one.
        with suppress(OSError):  # Windows keeps a file that is open
            Path(lock.lock_file).unlink()
        lock.release()


class _BrokenOff(Exception):
    """The connection failed in a way that may pass."""


@dataclass
class _Transfer:
    """One file on its way into its part file."""

    known: KnownModel
    part: Path
    address: str
    proxy: str | None
    told: Progress
    cancel: StopEvent
    pause: float
    pieced: bool = field(default=False, init=False)  # whether it came over several connections
    _said: tuple[str, int] = field(default=("", 0), init=False)  # words and per cent

    @property
    def host(self) -> str:
        """Whom it is asked of."""
        return urlsplit(self.address).hostname or self.address

    @property
    def elsewhere(self) -> str:
        """What to do where there is no way there."""
        place = offline_folder() or models_folder()
        return f"put {self.known.files[0]} into {place}, or set {MIRROR} or {PROXY}"

    def run(self) -> None:
        """Fetch what is missing, over as many connections as it takes."""
        import requests

        self.pieced = False
        tries = 0
        with requests.Session() as session:
            if self.proxy:
                session.proxies = {"http": self.proxy, "https": self.proxy}
            while True:
                before = self._done()
                try:
                    return self._fetch(session)
                except _BrokenOff as fault:
                    # As long as bytes come, a connection that breaks is no reason to give up.
                    tries = 1 if self._done() > before else tries + 1
                    if tries >= _TRIES:
                        raise DataError(self._sentence(fault)) from fault
                if self._done() == before:
                    share = before / max(1, self.known.megabytes * _MEGABYTE)
                    self.told(share, "no answer, trying again")
                if self.cancel.wait(self.pause * 2 ** (tries - 1)):
                    raise Cancelled("the download was stopped; it goes on from there next time.")

    def _fetch(self, session: requests.Session) -> None:
        import requests
        from urllib3.exceptions import HTTPError

        start = self._done()
        try:
            with self._ask(session, start) as response, self.cancel.ending(response):
                self._receive(response, start)
        except (requests.RequestException, HTTPError) as error:
            raise _BrokenOff(_reason(error)) from error

    def _ask(self, session: requests.Session, start: int) -> requests.Response:
        """Ask for the file from a byte on."""
        from requests.exceptions import InvalidSchema

        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        timeout = (_CONNECT, _SILENCE)
        try:
            return session.get(self.address, headers=headers, stream=True, timeout=timeout)
        except (ValueError, InvalidSchema) as error:  # the address, or one that it redirects to
            raise InputError(f"{self.address} is no address to download from.") from error

    def _receive(self, response: requests.Response, start: int) -> None:
        if response.status_code == _NO_SUCH_RANGE and start:
            whole = response.headers.get("Content-Range", "").rpartition("/")[2]
            if whole == str(start):  # it was all there
                self.pieced = True
                return
            self.part.unlink(missing_ok=True)
            raise _BrokenOff("it gives another file than before")
        if response.status_code == _TOO_BUSY or response.status_code >= 500:
            raise _BrokenOff(f"it answers HTTP {response.status_code}")
        if response.status_code not in (200, 206):
            raise DataError(
                f"cannot download {self.known.name}: {self.host} answers HTTP "
                f"{response.status_code} for {self.address}; {self.elsewhere}."
            )
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise DataError(
                f"cannot download {self.known.name}: {self.host} answers with a web page instead "
                f"of the file; log in to the network if it asks for that, or {self.elsewhere}."
            )
        kept = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        done = start if response.status_code == 206 and kept else 0
        self.pieced = self.pieced or done > 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        self._check_space((total or self.known.megabytes * _MEGABYTE) - done)
        with explained("write", self.part), self.part.open("ab" if done else "wb") as stream:
            while chunk := response.raw.read1(_CHUNK, decode_content=False):
                stream.write(chunk)
                done += len(chunk)
                self._tell(done, total)
                if self.cancel.is_set():
                    raise Cancelled("the download was stopped; it goes on from there next time.")
            stream.flush()
            os.fsync(stream.fileno())
        if total is not None and done < total:
            raise _BrokenOff("the connection ended early")

    def _done(self) -> int:
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def _tell(self, done: int, total: int | None) -> None:
        whole = total or self.known.megabytes * _MEGABYTE
        share = min(1.0, done / max(1, whole))
        said = f"{done / _MEGABYTE:.0f} of {whole / _MEGABYTE:.0f} MB", round(100 * share)
        if said != self._said:  # what comes at once may be a few kilobytes
            self._said = said
            self.told(share, said[0])

    def _check_space(self, needed: int) -> None:
        with explained("write", self.part):
            free = shutil.disk_usage(self.part.parent).free
        if free < needed:
            raise DataError(
                f"cannot download {self.known.name}: it needs {needed / _MEGABYTE:.0f} MB and "
                f"{self.part.parent} has {free / _MEGABYTE:.0f} MB left."
            )

    def _sentence(self, fault: _BrokenOff) -> str:
        got = self._done()
        kept = f" after {got / _MEGABYTE:.0f} MB, which are kept for the next try" if got else ""
        return (
            f"cannot download {self.known.name} from {self.host}{kept}: {fault}; try again when "
            f"there is internet, or {self.elsewhere}."
        )


def _reason(error: Exception) -> str:
    """Say in a few words why there was no answer."""
    import requests

    for kind, words in (
        (requests.exceptions.ProxyError, "the proxy does not answer"),
        (requests.exceptions.SSLError, "its certificate is not trusted here"),
        (requests.exceptions.Timeout, "it does not answer"),
        (requests.exceptions.ConnectionError, "there is no connection"),
        (requests.exceptions.TooManyRedirects, "it redirects in a circle"),
    ):
        if isinstance(error, kind):
            return words
    return "the connection broke"
