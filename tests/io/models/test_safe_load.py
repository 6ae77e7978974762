"""Unit: what is read from a weights file, and that nothing in one is ever run."""

from __future__ import annotations

import builtins
import os
import pickle
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_spa.errors import CheckpointError, SpaError
from napari_spa.io.models.formats import StoredArray, read_weights_file
from napari_spa.io.models.load import load_model


class Touch:
    """Makes a file when it is unpickled by a careless reader."""

    def __init__(self, marker: Path, call: str) -> None:
        self.marker, self.call = marker, call

    def __reduce__(self):
        if self.call == "system":
            return os.system, (f"touch '{self.marker}'",)
        if self.call == "exec":
            return builtins.exec, (f"open({str(self.marker)!r}, 'w')",)
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("call", ["system", "exec", "open"])
@pytest.mark.parametrize("way", ["torch", "old torch", "pickle 2", "pickle 5", "renamed"])
def test_code_in_a_file_is_not_run(tmp_path, monkeypatch, call, way) -> None:
    # PyTorch lets this variable overrule callers who did not say what they want.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = tmp_path / "was-here"
    content = {"image_encoder.x": torch.zeros(1), "more": Touch(marker, call)}
    path = tmp_path / ("model.safetensors" if way == "renamed" else "model.pth")
    if way in ("torch", "renamed"):
        torch.save(content, path)
    elif way == "old torch":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        with path.open("wb") as stream:
            pickle.dump(content, stream, protocol=int(way[-1]))
    with pytest.raises(CheckpointError, match=r"model\.") as caught:
        load_model(path, device="cpu")
    assert not marker.exists()
    assert str(path) in str(caught.value)
    if way == "torch":
        assert "code" in str(caught.value)


def test_the_trap_works(tmp_path) -> None:
    """The malicious file above does act on a careless reader."""
    marker = tmp_path / "was-here"
    pickle.loads(pickle.dumps(Touch(marker, "open"))).close()
    assert marker.exists()


def test_arrays_are_read_as_numbers_and_the_allow_list_is_left_alone(tmp_path) -> None:
    path = tmp_path / "arrays.pth"
    arrays = {
        "double": np.arange(6.0).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "big": np.arange(3, dtype=">f4"),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 2), np.float32),
    }
    torch.save({**arrays, "scalar": np.float64(0.5)}, path)
    before = set(torch.serialization.get_safe_globals())
    content = read_weights_file(path).content
    assert set(torch.serialization.get_safe_globals()) == before
    assert content["scalar"] == 0.5
    for name, array in arrays.items():
        stored = content[name]
        assert isinstance(stored, StoredArray)
        np.testing.assert_array_equal(stored.values, array, strict=name != "big")


def test_arrays_written_by_numpy_1_are_read(tmp_path) -> None:
    new, old = tmp_path / "new.pth", tmp_path / "old.pth"
    torch.save({"means": np.arange(3.0), "tol": np.float32(2)}, new)
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(old, "w") as target:
        for item in source.infolist():
            raw = source.read(item)
            target.writestr(
                item.filename.replace("new/", "old/"), raw.replace(b"numpy._core", b"numpy.core")
            )
    with zipfile.ZipFile(old) as archive:
        assert b"numpy.core.multiarray" in archive.read("old/data.pkl")
    content = read_weights_file(old).content
    np.testing.assert_array_equal(content["means"].values, [0, 1, 2])
    assert content["tol"] == 2


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}], dtype=object),
        np.array(["text"]),
        np.zeros(2, dtype=[("a", "f4"), ("b", "O")]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
    ],
    ids=["object", "text", "record", "date"],
)
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, array) -> None:
    torch.save({"array": array}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"odd\.pth"):
        read_weights_file(tmp_path / "odd.pth")


def _unusable(kind: str, path: Path) -> None:
    tensors = {"a": torch.arange(1000.0)}
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("These are not the weights you are looking for.\n" * 9)
    elif kind == "html saved by a browser":
        path.write_text("<html><body>404</body></html>")
    elif kind == "list":
        torch.save([torch.zeros(2)], path)
    elif kind == "script":
        _save_script(path)
    elif kind.endswith("safetensors"):
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization="old" not in kind)
    if "half" in kind:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])


def _save_script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but such files exist
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", r"does not exist; put it back, or choose another model \(Options > Model\)"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "no weights file"),
        ("html saved by a browser", "no weights file"),
        ("list", "no tensors by name"),
        ("script", "holds code"),
        ("half torch", "damaged"),
        ("half old torch", "damaged"),
        ("half safetensors", "half-written"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ""])
def test_an_unusable_file_is_one_sentence(tmp_path, kind, says, suffix) -> None:
    if suffix == ".safetensors" and kind not in ("missing", "folder", "empty", "half safetensors"):
        says = "safetensors"  # the name promises a format that the content is not
    path = tmp_path / f"weights{suffix}"
    if kind != "missing":
        _unusable(kind, path)
    with pytest.raises(CheckpointError, match=says) as caught:
        read_weights_file(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert message.endswith(".")


def test_files_are_read_side_by_side(tmp_path) -> None:
    """PyTorch's allow-list is shared by all threads; one must not close it for another."""
    paths = [tmp_path / f"{n}.pth" for n in range(8)]
    for n, path in enumerate(paths):
        torch.save({"means": np.full(3, n)}, path)
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(read_weights_file, paths * 4))
    assert [int(file.content["means"].values[0]) for file in files] == list(range(8)) * 4


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_a_file_without_read_permission_is_one_sentence(tmp_path, monkeypatch) -> None:
    path = tmp_path / "locked.pth"
    path.write_bytes(b"x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root could read it all the same
    with pytest.raises(CheckpointError, match="Permission denied"):
        read_weights_file(path)


@pytest.mark.parametrize("layout", ["safetensors", "torch", "old torch"])
def test_damaged_bytes_give_an_answer_or_a_sentence(tmp_path, layout) -> None:
    """Fuzz: flipped, cut and overwritten bytes at seeded places."""
    rng = np.random.default_rng(0)
    path = tmp_path / "fuzzed.bin"
    tensors = {f"image_encoder.blocks.{n}.weight": torch.arange(4.0) for n in range(3)}
    if layout == "safetensors":
        save_file(tensors, path, metadata={"napari_spa": '{"schema": 1}'})
    else:
        content = {**tensors, "EM_means": np.arange(3.0)}
        torch.save(content, path, _use_new_zipfile_serialization=layout == "torch")
    whole = path.read_bytes()
    refused = 0
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(int(rng.integers(1, 8))):
            broken[rng.integers(len(broken))] = rng.integers(256)
        if rng.random() < 0.2:
            broken = broken[: rng.integers(len(broken))]
        path.write_bytes(broken)
        try:
            read_weights_file(path)
        except SpaError:
            refused += 1
    assert refused > 20
