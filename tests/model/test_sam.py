"""Unit: segment-anything's parts are imported with and without a usable torchvision."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_spa.errors import ModelError
from napari_spa.model import sam

OURS = """
import sys
from napari_spa.model.sam import PromptEncoder, import_modeling
assert PromptEncoder.__name__ == "PromptEncoder"
assert import_modeling() is import_modeling()
"""
UNTOUCHED = """
assert "segment_anything" not in sys.modules
assert "torchvision" not in sys.modules
"""
THEIRS = """
import segment_anything
assert segment_anything.sam_model_registry["vit_b"].__module__ == "segment_anything.build_sam"
assert segment_anything.SamPredictor
"""
BROKEN = "raise RuntimeError('operator torchvision::nms does not exist')\n"


def _run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.path.insert(0, {str(folder)!r})\n"
    return subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, check=False
    )


def _stub(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / "torchvision" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_without_torchvision(tmp_path) -> None:
    absent = "sys.modules['torchvision'] = None\n"  # what Python takes for not installed
    code = absent + OURS + "assert 'segment_anything' not in sys.modules\n"
    code += "try:\n    import segment_anything\nexcept ModuleNotFoundError:\n    print('absent')\n"
    run = _run(code, tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["absent"]  # the trap that is avoided is there


def test_with_a_torchvision_that_does_not_fit_torch(tmp_path) -> None:
    _stub(tmp_path, {"__init__.py": BROKEN})
    code = OURS + UNTOUCHED
    code += "try:\n    import segment_anything\nexcept RuntimeError as e:\n    print(e)\n"
    run = _run(code, tmp_path)
    assert run.returncode == 0, run.stderr
    assert "torchvision::nms" in run.stdout


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_beside_a_properly_imported_segment_anything(tmp_path, order) -> None:
    _stub(
        tmp_path,
        {
            "__init__.py": "",
            "ops/__init__.py": "",
            "ops/boxes.py": "batched_nms = box_area = None\n",
            "transforms/__init__.py": "",
            "transforms/functional.py": "resize = to_pil_image = None\n",
        },
    )
    code = OURS + UNTOUCHED + THEIRS if order == "ours first" else THEIRS + OURS
    run = _run(code, tmp_path)
    assert run.returncode == 0, run.stderr


def test_without_segment_anything_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, sam._ALIAS)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install segment-anything"):
        sam.import_modeling()
