"""A batch in one process: what is done, left alone, done again, and what a fault leaves."""

import json
import re
import shutil
import threading
from dataclasses import replace

import pytest
from fake_batch import TOOLS, images_of, load_count, make_folder, snapshot

from napari_spa.batch.resume import STATE, lock_output, read_previous, verify
from napari_spa.batch.runner import estimate, run_batch
from napari_spa.batch.task import input_digest, recipe_facts
from napari_spa.errors import Cancelled, DataError, InputError, ModelError

MIXED = {"a.tif": "blob 1", "a.png": "blob 2", "sub/b.png": "doubt 3", "c.png": "fail"}


def run(plan, **options):
    return run_batch(plan, tools=TOOLS, **options)


def test_everything_is_done_and_said(tmp_path):
    plan = make_folder(tmp_path, MIXED)
    shares = []
    report = run(plan, progress=lambda share, message: shares.append((share, message)))
    assert report.done == ("a.png", "a.tif", "sub/b.png")
    assert report.failed == (("c.png", "c.png cannot be used."),)
    assert report.review == ("sub/b.png",)
    assert report.objects == 3
    assert shares[-1] == (1.0, "4 of 4 images")
    assert sorted(snapshot(plan.out)) == [
        "a.png.spa.jsonl",
        "a.png.tif",
        "a.tif.spa.jsonl",
        "a.tif.tif",
        "manifest.json",
        "sub/b.png.spa.jsonl",
        "sub/b.png.tif",
    ]
    assert load_count(plan) == 1


def test_the_manifest_says_what_was_made_of_what_and_nothing_of_this_machine(tmp_path):
    plan = make_folder(tmp_path, MIXED, seed=3)
    run(plan)
    text = (plan.out / "manifest.json").read_text()
    content = json.loads(text)
    assert content["recipe"]["seed"] == 3
    assert content["recipe"]["model"]["name"] == "model"
    assert content["review"] == ["sub/b.png"]
    image = content["images"]["sub/b.png"]
    assert image["outcome"] == "done"
    assert image["uncertainty"] == 0.5
    assert image["input_sha256"] == input_digest(plan.tasks[2])
    environment = content["environments"][image["environment"]]
    assert {"device", "napari-spa", "numpy", "torch"} <= set(environment)
    assert str(tmp_path) not in text


def test_two_runs_write_the_same_bytes(tmp_path):
    plan = make_folder(tmp_path, MIXED)
    run(plan)
    run(replace(plan, out=tmp_path / "other", tasks=plan.tasks[::-1]))
    assert snapshot(tmp_path / "other") == snapshot(plan.out)


def test_a_second_run_does_nothing_but_what_failed(tmp_path):
    plan = make_folder(tmp_path, MIXED)
    run(plan)
    before = {p: p.stat().st_mtime_ns for p in plan.out.rglob("*.tif")}
    report = run(plan)
    assert report.done == ()
    assert report.unchanged == ("a.tif", "a.png", "sub/b.png")
    assert [name for name, _ in report.failed] == ["c.png"]
    assert {p: p.stat().st_mtime_ns for p in plan.out.rglob("*.tif")} == before


def test_less_than_one_worker_is_refused(tmp_path):
    with pytest.raises(InputError, match="workers must be at least 1, but is 0"):
        run(make_folder(tmp_path, MIXED), workers=0)


def test_a_run_with_nothing_to_do_loads_no_model(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob"})
    run(plan)
    assert run(plan).unchanged == ("a.png",)
    assert load_count(plan) == 1


def test_what_changed_or_went_missing_is_done_again(tmp_path):
    plan = make_folder(tmp_path, {n: f"blob {n}" for n in ("a.png", "b.png", "c.png", "d.png")})
    run(plan)
    (plan.source / "a.png").write_text("blob another")
    (plan.out / "b.png.tif").unlink()
    asked = replace(plan.tasks[2], prompts=())
    report = run(replace(plan, tasks=(*plan.tasks[:2], asked, plan.tasks[3])))
    assert report.done == ("a.png", "b.png", "c.png")
    assert report.unchanged == ("d.png",)
    assert "2 images had changed" in report.notes[0]


def test_a_new_image_joins_the_others(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob 1", "b.png": "blob 2"})
    run(replace(plan, tasks=plan.tasks[:1]))
    assert run(plan).done == ("b.png",)
    assert set(images_of(plan)) == {"a.png", "b.png"}


@pytest.mark.parametrize("changes", [{"seed": 1}, {"doubtful": 0.5}, {"source": "auto"}])
def test_results_of_another_recipe_are_not_mixed(tmp_path, changes):
    plan = make_folder(tmp_path, {"a.png": "blob"})
    run(plan)
    before = snapshot(plan.out)
    other = replace(plan, recipe=replace(plan.recipe, **changes))
    with pytest.raises(InputError, match="made with another"):
        run(other)
    assert snapshot(plan.out) == before
    assert run(other, overwrite=True).done == ("a.png",)
    assert run(other).unchanged == ("a.png",)


def test_images_without_results_are_done_by_another_recipe(tmp_path):
    """As a user does whose preference has changed: *Apply my profile to the rest*, again."""
    plan = make_folder(tmp_path, {"a.png": "doubt", "b.png": "fail", "c.png": "doubt"})
    first = replace(plan, tasks=plan.tasks[:2])
    assert run(first).failed
    (plan.source / "b.png").write_text("blob")
    later = replace(plan, recipe=replace(plan.recipe, seed=1))
    rest = replace(later, tasks=plan.tasks[1:])
    before = snapshot(plan.out)
    report = run(rest)
    assert report.done == ("b.png", "c.png")
    assert report.review == ("a.png", "c.png")
    now = snapshot(plan.out)
    assert all(now[name] == before[name] for name in before if name.startswith("a.png"))
    images = images_of(plan)
    assert "recipe" not in images["b.png"]
    assert "recipe" not in images["c.png"]
    content = json.loads((plan.out / "manifest.json").read_text())
    assert content["recipe"]["seed"] == 1
    assert content["earlier recipes"][images["a.png"]["recipe"]]["seed"] == 0
    for both in (plan, later):
        with pytest.raises(InputError, match="made with another seed"):
            run(both)
    wrong = dict(verify(plan.out, later).wrong)
    assert wrong == {"a.png": "it was made with another seed"}
    assert run(rest).unchanged == ("b.png", "c.png")
    assert run(replace(plan, tasks=plan.tasks[:1])).unchanged == ("a.png",)


def test_what_no_user_changed_is_done_again_by_another_recipe_where_that_is_asked(tmp_path):
    plan = make_folder(tmp_path, dict.fromkeys(("a.png", "b.png", "c.png"), "blob"))
    run(plan)
    (plan.out / "b.png.tif").write_bytes(b"by hand")
    again = frozenset({"a.png", "b.png"})
    later = replace(plan, recipe=replace(plan.recipe, seed=1), tasks=plan.tasks[:2], again=again)
    report = run(later)
    assert (report.done, report.kept) == (("a.png",), ("b.png",))
    assert (plan.out / "b.png.tif").read_bytes() == b"by hand"
    assert ["recipe" in images_of(plan)[name] for name in ("a.png", "c.png")] == [False, True]
    assert run(later).unchanged == ("a.png",)


def test_a_stopped_batch_is_gone_on_with_by_another_recipe(tmp_path):
    plan = make_folder(tmp_path, dict.fromkeys(("a.png", "b.png", "c.png"), "blob"))
    done = []

    def stop(result):
        done.append(result.name)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, on_result=stop)
    rest = tuple(task for task in plan.tasks if task.name not in done)
    assert run(replace(plan, tasks=rest, recipe=replace(plan.recipe, seed=1))).failed == ()
    images = images_of(plan)
    assert [name for name in images if "recipe" in images[name]] == done
    assert not (plan.out / STATE).exists()


def test_results_are_never_taken_for_those_of_a_recipe_that_only_began(tmp_path):
    """The process ended after it said what it would do and before the manifest was written."""
    plan = make_folder(tmp_path, {"a.png": "blob", "b.png": "blob"})
    with pytest.raises(KeyboardInterrupt):
        run(plan, on_result=lambda result: (_ for _ in ()).throw(KeyboardInterrupt))
    facts = recipe_facts(replace(plan.recipe, seed=1))
    with lock_output(plan.out) as folder:
        folder.begin(facts, {}, overwrite=False)
    manifest = read_previous(plan.out).manifest
    assert manifest.recipe == facts
    assert manifest.entries
    assert {entry.recipe["seed"] for entry in manifest.entries.values()} == {0}


def test_another_model_or_profile_is_another_recipe_and_a_renamed_one_is_not(tmp_path):
    profile = tmp_path / "me.json"
    profile.write_text("{}")
    plan = make_folder(tmp_path, {"a.png": "blob"}, profile=profile)
    run(plan)
    profile.rename(tmp_path / "you.json")
    same = replace(plan, recipe=replace(plan.recipe, profile=tmp_path / "you.json"))
    assert run(same).unchanged == ("a.png",)
    (tmp_path / "you.json").write_text("{ }")
    with pytest.raises(InputError, match="another profile"):
        run(same)
    (tmp_path / "model.pt").write_bytes(b"other weights")
    with pytest.raises(InputError, match="another model and profile"):
        run(same)


def test_what_a_person_changed_or_made_is_kept(tmp_path):
    plan = make_folder(tmp_path, {n: f"blob {n}" for n in ("a.png", "b.png", "c.png")})
    run(replace(plan, tasks=plan.tasks[:2]))
    (plan.out / "a.png.tif").write_bytes(b"by hand")
    (plan.out / "c.png.tif").write_bytes(b"by hand")
    (plan.source / "a.png").write_text("blob changed as well")
    report = run(plan)
    assert report.kept == ("a.png", "c.png")
    assert report.unchanged == ("b.png",)
    assert (plan.out / "a.png.tif").read_bytes() == b"by hand"
    assert (plan.out / "c.png.tif").read_bytes() == b"by hand"
    report = run(plan, overwrite=True)
    assert report.done == ("a.png", "b.png", "c.png")
    assert (plan.out / "a.png.tif").read_bytes() != b"by hand"


def test_what_a_person_writes_while_the_batch_runs_is_kept(tmp_path):
    plan = make_folder(tmp_path, {"a.png": f"touch {tmp_path / 'out' / 'a.png.tif'}"})
    report = run(plan)
    assert report.kept == ("a.png",)
    assert report.done == ()
    assert (plan.out / "a.png.tif").read_bytes() == b"by hand"


def test_old_labels_of_an_image_that_cannot_be_done_any_more_go(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob"})
    run(plan)
    (plan.source / "a.png").write_text("fail")
    run(plan)
    assert list(snapshot(plan.out)) == ["manifest.json"]
    (plan.source / "a.png").write_text("blob")
    assert run(plan).done == ("a.png",)


def test_a_fault_of_ours_fails_one_image(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "bug", "b.png": "blob"})
    report = run(plan)
    assert report.done == ("b.png",)
    assert report.failed[0][1].startswith("unexpected ZeroDivisionError")


def test_a_name_that_leaves_no_room_for_ours_costs_itself(tmp_path):
    name = "\u7ec6" * 82 + ".tif"  # 250 bytes; ours add up to ten
    plan = make_folder(tmp_path, {"a.tif": "blob 1", name: "blob 2"})
    report = run(plan)
    assert report.done == ("a.tif",)
    ((failed, problem),) = report.failed
    assert failed == name
    assert "File name too long" in problem


def test_cancelling_keeps_what_is_done_and_goes_on_later(tmp_path):
    plan = make_folder(tmp_path, {f"{k}.png": f"blob {k}" for k in range(4)})
    undisturbed = replace(plan, out=tmp_path / "undisturbed")
    run(undisturbed)
    results = []

    def stop(share, message):
        if len(results) == 2:
            raise Cancelled("stopped.")

    with pytest.raises(Cancelled):
        run(plan, on_result=results.append, progress=stop)
    assert set(images_of(plan)) == {"0.png", "1.png"}
    report = run(plan)
    assert report.done == ("2.png", "3.png")
    assert snapshot(plan.out) == snapshot(undisturbed.out)


def test_an_interrupted_overwriting_run_goes_on(tmp_path):
    plan = make_folder(tmp_path, {f"{k}.png": f"blob {k}" for k in range(3)})
    run(plan)
    (plan.out / "2.png.tif").write_bytes(b"by hand")
    again = replace(plan, recipe=replace(plan.recipe, seed=5))
    results = []

    def stop(share, message):
        if results:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(again, overwrite=True, on_result=results.append, progress=stop)
    with pytest.raises(InputError, match="another seed"):
        run(plan)
    assert run(again, overwrite=True).done == ("1.png", "2.png")
    undisturbed = replace(again, out=tmp_path / "undisturbed")
    run(undisturbed)
    assert snapshot(plan.out) == snapshot(undisturbed.out)


def test_an_interrupt_in_the_middle_of_an_import_is_no_fault_of_the_image(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob", "b.png": "interrupt", "c.png": "blob 3"})
    with pytest.raises(KeyboardInterrupt):
        run(plan)
    assert "b.png" not in images_of(plan)


def test_a_full_disk_stops_the_batch_with_one_sentence(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob", "b.png": "full", "c.png": "blob 3"})
    with pytest.raises(DataError, match="No space left"):
        run(plan)
    assert set(images_of(plan)) == {"a.png"}
    (plan.source / "b.png").write_text("blob 2")
    assert run(plan).done == ("b.png", "c.png")
    assert not [name for name in snapshot(plan.out) if name.startswith(".")]


def test_a_read_only_folder_is_one_sentence(strict_folder):
    plan = make_folder(strict_folder, {"a.png": "blob"})
    plan.out.mkdir(mode=0o500)
    with pytest.raises(DataError, match="cannot write"):
        run(plan)


def test_a_read_only_folder_inside_is_named(strict_folder):
    plan = make_folder(strict_folder, {"one/a.png": "blob"})
    inside = plan.out / "one"
    inside.mkdir(parents=True)
    inside.chmod(0o500)
    with pytest.raises(DataError, match=f"cannot write {re.escape(str(inside))}"):
        run(plan)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob"})
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write"):
        run(replace(plan, out=tmp_path / "file" / "out"))


def test_a_folder_that_goes_while_the_batch_runs_does_not_come_back(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob 1", "b.png": "blob 2"})
    with pytest.raises(DataError, match="taken away"):
        run(plan, on_result=lambda result: shutil.rmtree(plan.out))
    assert not plan.out.exists()


def test_two_batches_do_not_write_to_one_folder(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob"})
    refused = []

    def other(result):
        def call():
            try:
                run(plan)
            except DataError as error:
                refused.append(str(error))

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    run(plan, on_result=other)
    assert len(refused) == 1
    assert "another batch" in refused[0]
    assert not (plan.out / STATE).exists()


def test_leftovers_of_a_killed_run_go_and_those_of_others_stay(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob"})
    old = plan.out / STATE / "run-dead" / "image-xyz"
    old.mkdir(parents=True)
    (old / ".a.png-abcdefgh.tif").write_bytes(b"half")
    (plan.out / ".spa-manifest-abcdefgh.json").write_bytes(b"half")
    (plan.out / ".a.png-abcdefgh.tif").write_bytes(b"the dock is writing this")
    run(plan)
    assert sorted(snapshot(plan.out)) == [
        ".a.png-abcdefgh.tif",
        "a.png.spa.jsonl",
        "a.png.tif",
        "manifest.json",
    ]


def test_marks_of_a_killed_run_count(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob 1", "b.png": "blob 2"})
    lost = tmp_path / "lost"

    def copy(result):
        if not lost.exists():
            shutil.copytree(plan.out, lost)  # the disk as a kill would leave it now

    run(plan, on_result=copy)
    (lost / STATE / "lock").unlink(missing_ok=True)
    assert json.loads((lost / "manifest.json").read_text())["images"] == {}
    earlier = read_previous(lost)
    assert set(earlier.manifest.entries) == {"a.png"}
    report = run(replace(plan, out=lost))
    assert report.unchanged == ("a.png",)
    assert report.done == ("b.png",)
    assert snapshot(lost) == snapshot(plan.out)


@pytest.mark.parametrize("torn", ["run.json", "run-*/marks/*.json"])
def test_torn_records_of_a_killed_run_are_told(tmp_path, torn):
    plan = make_folder(tmp_path, {"a.png": "blob 1", "b.png": "blob 2"})
    lost = tmp_path / "lost"

    def copy(result):
        if not lost.exists():
            shutil.copytree(plan.out, lost)

    run(plan, on_result=copy)
    (lost / STATE / "lock").unlink(missing_ok=True)
    (record,) = (lost / STATE).glob(torn)
    record.write_bytes(record.read_bytes()[:20])
    before = snapshot(lost)
    with pytest.raises(DataError, match=r"\.spa-batch is damaged.* remove it to start again"):
        run(replace(plan, out=lost))
    assert snapshot(lost) == before
    shutil.rmtree(lost / STATE)
    report = run(replace(plan, out=lost))
    assert (report.kept, report.done) == (("a.png",), ("b.png",))


def test_wrong_calls_leave_no_trace(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob"})
    with pytest.raises(ModelError):
        run(replace(plan, recipe=replace(plan.recipe, model="no-such-model")))
    assert not plan.out.exists()


def test_other_weights_than_planned_are_refused_before_anything_is_done(tmp_path):
    plan = make_folder(tmp_path, {"a.png": "blob"})

    def other(recipe):
        engine = TOOLS.make_engine(recipe)
        engine.identity = replace(engine.identity, sha256="1" * 64)
        return engine

    with pytest.raises(ModelError, match="are others than here"):
        run_batch(plan, tools=replace(TOOLS, make_engine=other))
    assert not plan.out.exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"kind": "else"}', '{"kind": "napari-spa batch"}'])
def test_a_manifest_that_is_none_is_not_written_over(tmp_path, content):
    plan = make_folder(tmp_path, {"a.png": "blob"})
    plan.out.mkdir()
    (plan.out / "manifest.json").write_text(content)
    with pytest.raises(DataError):
        run(plan)
    assert snapshot(plan.out) == {"manifest.json": content.encode()}


def test_holding_gives_the_folder_back_after_a_fault(tmp_path):
    with pytest.raises(ZeroDivisionError), lock_output(tmp_path / "out"):
        1 / 0  # noqa: B018
    with lock_output(tmp_path / "out"):
        pass
    assert not (tmp_path / "out").exists()


def test_time_and_space_are_told_by_the_objects_that_were_clicked(tmp_path):
    """Whatever the images take on disk; and the bar does not stand still for a full one."""
    contents = {"a.png": "blob 1".ljust(90_000), "b.png": "blob 1", "c.tif": "blob 1"}
    plan = make_folder(tmp_path, contents)
    tasks = list(plan.tasks)
    tasks[2] = replace(tasks[2], prompts=tasks[2].prompts * 8)
    plan = replace(plan, tasks=tuple(tasks))
    one = estimate(replace(plan, tasks=plan.tasks[:1]), tools=TOOLS)
    assert estimate(plan, tools=TOOLS).disk == pytest.approx(10 * one.disk, rel=0.05)
    shares = []
    run(plan, progress=lambda share, message: shares.append((round(share, 3), message)))
    told = dict(shares)
    assert list(told)[-3:] == [0.1, 0.2, 1.0]
    assert told[0.2].startswith("2 of 3 images, about ")
