"""Damaged profiles, logs, manifests, projects, tables, recipes, weights: an answer or one sentence.

``pytest tests/fuzz --fuzz 500 --fuzz-seed 1`` damages 500 files of each kind; a seed gives the
same damage again.
"""

import contextlib
import json
import shutil
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutating import mutated
from tiny_model import make_model

from napari_spa.batch.plan import make_plan, read_prompts
from napari_spa.batch.resume import STATE, read_previous, verify
from napari_spa.batch.runner import run_batch
from napari_spa.batch.task import KIND, BatchRecipe, read_manifest
from napari_spa.errors import SpaError
from napari_spa.io.embeddings import EmbeddingCache
from napari_spa.io.event_log import read_records
from napari_spa.io.models.formats import save_model
from napari_spa.io.models.load import load_model
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.io.projects.project import BatchFinding, Known, Project
from napari_spa.refine.annotation.annotation import ArraySurface
from napari_spa.refine.log.journal import image_facts, read_journal
from napari_spa.train.recipe import read_recipe

SHAPE = (40, 50)
SECONDS, PEAK = 20.0, 300 * 2**20
ODD = [
    None, True, -1, 0, 2**63, 2**64, 10**400, -0.0, 1e308, 5e-324, float("nan"), float("inf"),
    "", "../../x", "/dev/zero", "a" * 5000, "\0", "\ud800", "x\x1b[2J", [], {}, [[]], [None] * 50,
    {"": {"": []}},
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with one good file of each kind, as the programs write them."""
    folder = tmp_path_factory.mktemp("whole")
    model = make_model()
    save_model(model.spa, folder / "tiny.safetensors", {"data": "none"})
    (folder / "images").mkdir()
    for name in ("a", "b"):
        noise = np.random.default_rng(ord(name)).integers(0, 255, (*SHAPE, 3))
        iio.imwrite(folder / "images" / f"{name}.png", noise.astype(np.uint8))
    table = folder / "clicks.csv"
    table.write_text("image,object,row,col,label\na.png,1,20,25,1\na.png,1,3,4,0\nb.png,2,9,9,1\n")
    recipe = BatchRecipe(model=str(folder / "tiny.safetensors"), device="cpu")
    plan = make_plan(folder / "images", folder / "out", recipe, table)

    def keep_unfinished(result):
        if not (folder / "unfinished").exists():
            shutil.copytree(folder / "out", folder / "unfinished")

    run_batch(plan, on_result=keep_unfinished)
    project = Project.create(folder / "images", folder / "project")
    project.update("a.png", status="review", note="see me", uncertainty=0.5, objects=3)
    PreferenceProfile.empty(model.identity, name="ana", task="cup").save(folder / "me.json")
    EmbeddingCache(folder / "cache").put("ab" * 20, {"e": np.ones((4, 5), np.float32)})
    packaged = Path(str(read_recipe.__globals__["__file__"])).parent / "recipes" / "spa-tiny.toml"
    shutil.copyfile(packaged, folder / "recipe.toml")
    return folder


def _open_and_change(folder):
    project = Project.open(folder / "project")
    project.update("a.png", flagged=True)
    project.refresh()
    return project.items


def _read_log(folder):
    records = read_records(folder / "out" / "a.png.spa.jsonl")
    image_facts(records)
    return read_journal(records, ArraySurface(np.zeros(SHAPE, np.uint32)))


KINDS = {
    "profile": ("me.json", lambda f: PreferenceProfile.load(f / "me.json").to_json()),
    "project": ("project/project.json", _open_and_change),
    "log": ("out/a.png.spa.jsonl", _read_log),
    "manifest": ("out/manifest.json", lambda f: read_manifest(f / "out/manifest.json").to_bytes()),
    "verified": ("out/manifest.json", lambda f: verify(f / "out")),
    "unfinished": (f"unfinished/{STATE}/run.json", lambda f: read_previous(f / "unfinished")),
    "mark": (f"unfinished/{STATE}/run-*/marks/*.json", lambda f: read_previous(f / "unfinished")),
    "prompts": ("clicks.csv", lambda f: read_prompts(f / "clicks.csv")),
    "recipe": ("recipe.toml", lambda f: read_recipe(f / "recipe.toml")),
    "weights": (
        "tiny.safetensors",
        lambda f: load_model(str(f / "tiny.safetensors"), device="cpu"),
    ),
    "embedding": ("cache/ab/*.safetensors", lambda f: EmbeddingCache(f / "cache").get("ab" * 20)),
}


def reshaped(content, rng):
    """Put an odd value in the place of one of a line of JSON."""
    lines = content.split(b"\n")
    where = int(rng.integers(len(lines)))
    lines = [content] if len(lines) < 2 or b"}\n " in content or b"{\n" in content else lines
    where %= len(lines)
    try:
        value = json.loads(lines[where])
    except ValueError:
        return mutated(content, rng)
    nodes = [(None, None)]
    for parent, _ in nodes:  # it grows while it is gone through
        there = value if parent is None else parent
        inner = there.items() if isinstance(there, dict) else enumerate(there)
        for key, item in inner if isinstance(there, dict | list) else ():
            nodes.append((there, key))
            if isinstance(item, dict | list) and item:
                nodes.append((item, None))
        if len(nodes) > 4000:
            break
    parent, key = nodes[int(rng.integers(1, len(nodes)))] if len(nodes) > 1 else (None, None)
    odd = ODD[int(rng.integers(len(ODD)))]
    if key is not None:
        parent[key] = odd
    else:
        value = odd
    lines[where] = json.dumps(value).encode()
    return b"\n".join(lines)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_an_answer_or_one_sentence(
    kind, whole, tmp_path, fuzz_count, fuzz_seed, capsys
):
    pattern, call = KINDS[kind]
    counts, slowest, foreign, sentences = Counter(), 0.0, [], []
    (good,) = whole.glob(pattern)
    content = good.read_bytes()
    tracemalloc.start()
    for number in range(fuzz_count):
        rng = np.random.default_rng([fuzz_seed, number])
        folder = tmp_path / "damaged"
        for part in {good.relative_to(whole).parts[0], "images"}:
            there = whole / part
            copy = shutil.copytree if there.is_dir() else shutil.copyfile
            folder.mkdir(exist_ok=True)
            copy(there, folder / part)
        damage = reshaped if good.suffix in (".json", ".jsonl") and number % 2 else mutated
        (folder / good.relative_to(whole)).write_bytes(damage(content, rng))
        start = time.process_time()
        try:
            call(folder)
            counts["answer"] += 1
        except SpaError as error:
            counts["sentence"] += 1
            sentences.append(str(error))
        except Exception as error:  # noqa: BLE001  that is what is looked for
            counts["foreign"] += 1
            foreign.append(f"{number}: {type(error).__name__}: {str(error)[:100]}")
        slowest = max(slowest, time.process_time() - start)
        shutil.rmtree(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{kind}: seed {fuzz_seed}, {fuzz_count} files, {dict(counts)}, "
            f"slowest {slowest:.2f} s, peak {peak / 1e6:.0f} MB\n"
        )
    assert all(said.isprintable() and len(said) < 1100 for said in sentences)
    assert not foreign, foreign[:5]
    assert slowest < SECONDS
    assert peak < PEAK


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)
names = st.sampled_from(
    ["status", "flagged", "note", "uncertainty", "objects", "outcome", "number"]
)


@given(st.dictionaries(names, values) | values)
def test_what_is_known_of_an_image_is_read_from_anything(record):
    known = Known.of(record)
    json.dumps(known.record(), allow_nan=False) if _finite(known.rest) else None
    if isinstance(record, dict):
        BatchFinding.of(record)


@given(
    recipe=values,
    environments=values,
    images=values
    | st.dictionaries(
        st.text(max_size=8),
        st.fixed_dictionaries(
            {
                "outcome": st.sampled_from(["done", "failed"]) | values,
                "objects": values, "doubtful": values, "input_sha256": values,
                "outputs": values, "problem": values, "environment": values,
            }
        ),
    ),
)  # fmt: skip
def test_a_manifest_of_any_shape_is_one_or_one_sentence(tmp_path_factory, **content):
    path = tmp_path_factory.getbasetemp() / "shape.json"
    path.write_text(json.dumps({"kind": KIND, "version": 1, **content}))
    with contextlib.suppress(SpaError):
        read_manifest(path).to_bytes()


def _finite(value):
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
