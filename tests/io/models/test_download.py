"""Integration: downloads from a local server that is slow, cut off, wrong or not there."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import xxhash
from weights_server import serving

from napari_spa.errors import Cancelled, CheckpointError, DataError, InputError, ModelError
from napari_spa.io.models import download as download_module
from napari_spa.io.models import registry
from napari_spa.io.models.download import StopEvent, download_model
from napari_spa.io.models.load import load_model
from napari_spa.io.models.registry import KNOWN, KnownModel, find_model, list_models

CONTENT = os.urandom(700_001)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NAPARI_SPA_MIRROR", "NAPARI_SPA_PROXY", "NAPARI_SPA_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NAPARI_SPA_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def publish(monkeypatch):
    """Make a model of the given facts the only known one."""

    def put(**changes) -> KnownModel:
        known = KnownModel(
            "sam-small", ("sam_small.pth",), "small", 1, "MIT", "http://127.0.0.1:9/none",
            f"sha256:{SHA256}",
        )  # fmt: skip
        known = replace(known, **changes)
        for module in (registry, download_module):
            monkeypatch.setattr(module, "KNOWN", (known,))
        return known

    return put


@pytest.fixture
def get(server, folder, publish):
    """Return a download of the published model from the server."""

    def run(**options) -> Path:
        return download_model("sam-small", **({"mirror": server.address, "pause": 0.0} | options))

    publish()
    return run


def test_a_file_comes_whole_checked_and_with_progress(get, server, folder) -> None:
    server.piece = 100_000
    told: list[tuple[float, str]] = []
    path = get(progress=lambda share, words: told.append((share, words)))
    assert path == folder / "sam_small.pth"
    assert path.read_bytes() == CONTENT
    assert server.asked == [("/sam_small.pth", None)]
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert 0 < shares[0] < 0.5
    assert "MB" in told[0][1]
    assert told[-1][1] == "checking"
    assert [p.name for p in folder.iterdir()] == ["sam_small.pth"]
    assert find_model("sam-small").path == path


def test_progress_is_told_by_the_per_cent_and_not_for_each_piece(get, server) -> None:
    """Thousands of reports a second stall a window."""
    server.piece = 100
    told: list[float] = []
    get(progress=lambda share, _: told.append(share))
    assert len(told) < 110 < len(CONTENT) // server.piece


def test_what_is_here_is_not_fetched_again_but_checked(get, server, folder) -> None:
    path = get()
    assert get() == path
    assert len(server.asked) == 1
    path.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="not the published file of sam-small"):
        get()
    assert path.read_bytes() == b"something else"  # never deleted for the user
    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", ["sha256", "md5", "xxh128", None])
def test_every_kind_of_digest_that_publishers_give(get, publish, server, kind) -> None:
    digests = {
        "sha256": SHA256,
        "md5": hashlib.md5(CONTENT).hexdigest(),
        "xxh128": xxhash.xxh128(CONTENT).hexdigest(),
    }
    publish(digest=f"{kind}:{digests[kind]}" if kind else None)
    path = get()
    if kind is None:
        return
    path.unlink()
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(DataError, match="not the published file"):
        get()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_goes_on_by_itself(get, server, ranges) -> None:
    """With ranges each connection brings the next piece; without, all of it again."""
    server.ranges, server.cut_after = ranges, 300_000
    if not ranges:
        with pytest.raises(DataError, match="connection"):
            get()
        server.cut_after = None
    assert get().read_bytes() == CONTENT
    starts = [wanted for _, wanted in server.asked]
    if ranges:
        assert starts == [None, "bytes=300000-", "bytes=600000-"]


@pytest.mark.parametrize("way", ["chunked", "no length"])
def test_a_server_that_does_not_say_how_much_comes(get, server, way) -> None:
    server.chunked, server.says_length = way == "chunked", False
    assert get().read_bytes() == CONTENT


def test_a_cut_answer_of_unknown_length_is_seen(get, server) -> None:
    server.chunked, server.cut_after = True, 300_000
    assert get().read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_a_cancelled_download_goes_on_the_next_time(get, server, folder) -> None:
    server.pause, server.piece = 0.02, 50_000
    cancel = StopEvent()

    def stop_half_way(share: float, words: str) -> None:
        if share > 0.4:
            cancel.set()

    with pytest.raises(Cancelled, match="goes on"):
        get(progress=stop_half_way, cancel=cancel)
    kept = (folder / "sam_small.pth.part").stat().st_size
    assert 250_000 <= kept < len(CONTENT)
    assert not (folder / "sam_small.pth").exists()
    assert find_model_or_none() is None
    assert get().read_bytes() == CONTENT
    assert server.asked[-1] == ("/sam_small.pth", f"bytes={kept}-")


def find_model_or_none() -> Path | None:
    return next(entry.path for entry in list_models() if entry.name == "sam-small")


def test_cancel_is_heard_while_bytes_trickle(get, server) -> None:
    """A slow line: a few bytes at a time, far fewer than a buffer."""
    server.pause, server.piece = 0.05, 10
    cancel = StopEvent()
    threading.Timer(0.4, cancel.set).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        get(cancel=cancel)
    assert time.monotonic() - begun < 3.0


def test_cancel_is_heard_between_tries(get, server) -> None:
    server.failures = 99
    cancel = StopEvent()
    threading.Timer(0.3, cancel.set).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        get(cancel=cancel, pause=30.0)
    assert time.monotonic() - begun < 5.0


def test_a_server_that_is_busy_is_asked_again(get, server) -> None:
    server.failures = 2
    assert get().read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_a_server_that_stays_busy_is_one_sentence(get, server) -> None:
    server.failures = 99
    with pytest.raises(DataError, match="HTTP 503"):
        get()
    assert len(server.asked) == 4


@pytest.mark.parametrize("status", [404, 403])
def test_a_file_that_is_gone_is_one_sentence(get, server, status) -> None:
    server.status = status
    with pytest.raises(DataError, match=f"HTTP {status}") as caught:
        get()
    one_sentence(caught.value, "sam-small", server.address, "sam_small.pth")
    assert len(server.asked) == 1


def test_wrong_content_is_one_sentence_and_leaves_nothing(get, server, folder) -> None:
    server.content = b"x" * 1000
    with pytest.raises(DataError, match="not the published file") as caught:
        get()
    one_sentence(caught.value, "sam-small", "127.0.0.1")
    assert list(folder.iterdir()) == []


def test_a_login_page_is_one_sentence(get, server) -> None:
    server.kind, server.content = "text/html; charset=utf-8", b"<html>log in</html>"
    with pytest.raises(DataError, match="web page") as caught:
        get()
    one_sentence(caught.value, "sam-small")


@pytest.mark.parametrize("size", [300_000, len(CONTENT), 900_000])
def test_a_part_of_another_file_is_replaced(get, server, folder, size) -> None:
    """Of a former version, or damaged: shorter, as long, or longer than the file."""
    folder.mkdir()
    (folder / "sam_small.pth.part").write_bytes(b"y" * size)
    assert get().read_bytes() == CONTENT
    assert server.asked[0][1] == f"bytes={size}-"
    assert server.asked[-1][1] is None


def test_a_whole_part_needs_no_more_bytes(get, server, folder) -> None:
    folder.mkdir()
    (folder / "sam_small.pth.part").write_bytes(CONTENT)
    assert get().read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_without_internet_there_is_one_sentence(folder, publish) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    publish(address=f"http://127.0.0.1:{port}/sam_small.pth")
    with pytest.raises(DataError, match="no connection") as caught:
        download_model("sam-small", pause=0.0)
    one_sentence(caught.value, "sam-small", "127.0.0.1", "internet", str(folder), "sam_small.pth")


def test_a_name_that_cannot_be_resolved_is_one_sentence(folder, publish) -> None:
    publish(address="http://models.invalid/sam_small.pth")
    with pytest.raises(DataError, match=r"models\.invalid") as caught:
        download_model("sam-small", pause=0.0)
    one_sentence(caught.value, "sam-small", "internet")


def one_sentence(error: Exception, *parts: str) -> None:
    text = str(error)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 500
    for part in parts:
        assert part in text


def test_a_mirror_by_environment(server, folder, publish, monkeypatch) -> None:
    publish()
    monkeypatch.setenv("NAPARI_SPA_MIRROR", f"{server.address}/lab/models/")
    assert download_model("sam-small").read_bytes() == CONTENT
    assert server.asked == [("/lab/models/sam_small.pth", None)]


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_proxy_is_asked_for_the_publishers_address(
    server, folder, publish, monkeypatch, way
) -> None:
    publish(address="http://models.invalid/sam_small.pth")
    if way == "environment":
        monkeypatch.setenv("NAPARI_SPA_PROXY", server.address)
    path = download_model("sam-small", proxy=server.address if way == "argument" else None)
    assert path.read_bytes() == CONTENT
    assert server.asked == [("http://models.invalid/sam_small.pth", None)]


def test_a_proxy_that_is_not_there_is_named(folder, publish) -> None:
    publish(address="http://models.invalid/sam_small.pth")
    with pytest.raises(DataError, match="proxy does not answer"):
        download_model("sam-small", proxy="http://127.0.0.1:9", pause=0.0)


@pytest.mark.parametrize("mirror", ["ftp://models", "models", "file:///models", "http://[::"])
def test_a_mirror_that_is_no_address_is_one_sentence(get, mirror) -> None:
    with pytest.raises(InputError, match="http"):
        get(mirror=mirror)


def test_a_redirect_to_what_is_no_address_is_one_sentence(get, server) -> None:
    server.status, server.location = 302, "http://[::"
    with pytest.raises(InputError, match="no address to download from"):
        get()


@pytest.mark.parametrize("name", ["sam_small.pth", "sam-small.pth"])
def test_a_file_in_the_offline_folder_is_taken(get, server, tmp_path, monkeypatch, name) -> None:
    profile_store = tmp_path / "shelf"
    profile_store.mkdir()
    (profile_store / name).write_bytes(CONTENT)
    monkeypatch.setenv("NAPARI_SPA_OFFLINE", str(profile_store))
    assert get() == profile_store / name
    assert find_model("sam-small").path == profile_store / name
    assert server.asked == []


def test_own_models_of_the_offline_folder_are_listed(folder, tmp_path, monkeypatch) -> None:
    (tmp_path / "lab-nuclei.safetensors").write_bytes(b"1")
    monkeypatch.setenv("NAPARI_SPA_OFFLINE", str(tmp_path))
    assert find_model("lab-nuclei").path == tmp_path / "lab-nuclei.safetensors"
    monkeypatch.setenv("NAPARI_SPA_OFFLINE", str(tmp_path / "unplugged"))
    assert "lab-nuclei" not in [entry.name for entry in list_models()]


def test_two_at_once_is_one_sentence(get, server) -> None:
    server.pause, server.piece = 0.05, 50_000
    answers = []
    first = threading.Thread(target=lambda: answers.append(get()))
    first.start()
    while not server.asked:
        time.sleep(0.01)
    with pytest.raises(DataError, match="already"):
        get()
    first.join()
    assert answers[0].read_bytes() == CONTENT


def test_a_full_disk_is_one_sentence(get, monkeypatch) -> None:
    nearly_full = SimpleNamespace(free=1000)
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda path: nearly_full)
    with pytest.raises(DataError, match="needs 1 MB"):
        get()


def test_a_folder_that_cannot_be_written_is_one_sentence(get, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAPARI_SPA_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(DataError, match="cannot write"):
        get()


@pytest.mark.parametrize("name", ["nothing", ""])
def test_only_published_models_can_be_downloaded(folder, name) -> None:
    with pytest.raises(ModelError, match="choose one of sam-vit-b"):
        download_model(name)


def test_a_downloaded_model_loads_by_name(sam_file, folder, publish) -> None:
    content = sam_file.read_bytes()
    publish(digest=f"sha256:{hashlib.sha256(content).hexdigest()}", convention="medsam")
    with serving(content) as server:
        download_model("sam-small", mirror=server.address)
    model = load_model("sam-small", device="cpu")
    assert (model.config.name, model.config.convention) == ("sam-small", "medsam")
    assert isinstance(model.spa, torch.nn.Module)


def test_the_facts_of_published_models_are_whole() -> None:
    names = [known.name for known in KNOWN]
    assert len(set(names)) == len(names) == 19
    assert len({known.address for known in KNOWN}) == len({known.digest for known in KNOWN}) == 19
    for known in KNOWN:
        assert known.address.startswith("https://")
        assert known.files[0].endswith((".pth", ".pt"))
        assert known.licence
        assert 40 <= known.megabytes <= 2600
        if known.digest:
            kind, _, value = known.digest.partition(":")
            assert len(value) == {"sha256": 64, "md5": 32, "xxh128": 32}[kind]
            int(value, 16)
