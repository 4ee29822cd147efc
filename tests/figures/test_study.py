"""A study makes runs and evaluations once, leaves gaps, and stops with checkpoints."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny_study import STEPS, TINY, three_digits, tiny_study

from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation import Run, distill
from isa_toolkit.distillation.store import RunStore
from isa_toolkit.errors import CancelledError
from isa_toolkit.figures import comparisons
from isa_toolkit.figures import study as studies
from isa_toolkit.figures.registry import DEMO, ITEMS
from isa_toolkit.figures.results_table import as_table
from isa_toolkit.figures.study import BUDGETS, Study, evaluate_run
from isa_toolkit.figures.variants import Variant
from isa_toolkit.methods import DM, FRePo

pytestmark = pytest.mark.slow

FREPO, ISA = Variant("frepo"), Variant("isa")


def count_calls(monkeypatch, name):
    calls = []
    function = getattr(studies, name)

    def counted(*args, **kwargs):
        calls.append(args)
        return function(*args, **kwargs)

    monkeypatch.setattr(studies, name, counted)
    return calls


def test_runs_and_evaluations_are_made_once(tiny, monkeypatch):
    tiny.accuracies([FREPO, ISA], 1)  # makes what is not there
    runs = count_calls(monkeypatch, "distill")
    evaluated = count_calls(monkeypatch, "evaluate")
    table = tiny.accuracies([FREPO, ISA], 1)
    assert (runs, evaluated) == ([], [])
    # Two settings, two seeds, two predictors; and each number is that of the file.
    assert len(table) == 8
    run = tiny.runs([ISA], 1)[ISA, 1]
    [path] = (run.path / "evaluations").glob(f"{STEPS:08d}-*.json")
    stored = json.loads(path.read_text())
    mine = table[(table.setting == "isa") & (table.seed == 1)].set_index("predictor")
    assert mine.value["network"] == 100 * np.mean(stored["network"])
    assert mine.value["ridge"] == 100 * np.mean(stored["ridge"])
    # Another study over the same folder finds them, too; another seed is not there.
    other = tiny_study(tiny.folder, seeds=3, run_missing=False)
    assert set(other.runs([ISA], 1)) == {(ISA, 0), (ISA, 1)}
    assert runs == []


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"network": 3, "ridge": ["x"]}', b"\xff"]
)
def test_a_damaged_evaluation_is_made_again(content, tiny):
    run = tiny.runs([FREPO], 1)[FREPO, 0]
    settings = tiny.evaluation_settings()
    first = evaluate_run(run, tiny.dataset, settings)
    for path in (run.path / "evaluations").glob(f"{STEPS:08d}-*.json"):
        path.write_bytes(content)
    again = evaluate_run(run, tiny.dataset, settings)
    assert again.network.tolist() == first.network.tolist()
    for path in (run.path / "evaluations").glob(f"{STEPS:08d}-*.json"):
        if path.read_bytes() == content:  # of other settings: of no use to other tests
            path.unlink()


def test_missing_runs_are_made_together_and_are_the_same(tiny, monkeypatch, tmp_path):
    alone = tiny.runs([FREPO, ISA], 1)
    reported = []
    monkeypatch.setattr(studies, "_is_on_cpu", lambda: False)
    study = tiny_study(tmp_path).with_progress(lambda *what: reported.append(what[1:]))
    made = count_calls(monkeypatch, "distill")
    runs = study.runs([FREPO, ISA], 1)
    assert made == []
    assert reported[:5] == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    for key, run in runs.items():
        assert run.distilled.images.tobytes() == alone[key].distilled.images.tobytes()
    # Another study that may not run anything finds them.
    assert len(tiny_study(tmp_path, run_missing=False).runs([ISA], 1)) == 2


def test_runs_made_together_stop_with_checkpoints(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(studies, "_is_on_cpu", lambda: False)

    def stop(*what):
        del what
        halted.cancel()

    halted = tiny_study(tmp_path).with_progress(stop)
    with pytest.raises(CancelledError, match="Cancelled at step"):
        halted.runs([FREPO, ISA], 1)
    stopped = [Run.open(path) for path in tmp_path.iterdir()]
    assert {run.status["status"] for run in stopped} == {"stopped"}
    again = tiny_study(tmp_path).runs([FREPO, ISA], 1)
    assert all(run.is_done for run in again.values())


def test_a_run_that_another_process_makes_is_waited_for(tiny, monkeypatch, tmp_path):
    done = tiny.runs([FREPO], 1)[FREPO, 0]
    store = RunStore(tmp_path / done.path.name)
    looked = threading.Event()

    def noted(*args, **kwargs):
        looked.set()
        return distill(*args, **kwargs)

    monkeypatch.setattr(studies, "distill", noted)
    study = tiny_study(tmp_path, seeds=1)
    with ThreadPoolExecutor(1) as pool:
        with store.lock():
            asked = pool.submit(study.runs, [FREPO], 1)
            assert looked.wait(60)
            with pytest.raises(TimeoutError):
                asked.result(2 * studies._LOCK_POLL_S)
            shutil.copytree(done.path, store.path, dirs_exist_ok=True)
        [found] = asked.result(60).values()
        assert found.distilled.manifest == done.distilled.manifest
        (store.path / "distilled.safetensors").unlink()
        with store.lock():
            looked.clear()
            asked = pool.submit(study.runs, [FREPO], 1)
            assert looked.wait(60)
            study.cancel()
            with pytest.raises(CancelledError, match="was done"):
                asked.result(60)


def test_a_study_is_short_to_print_and_loads_a_data_set_by_name(tmp_path):
    study = Study("digits", folder=tmp_path / ("long" * 100))
    assert study.dataset.name == "digits"
    assert len(repr(study)) <= 300
    with pytest.raises(TypeError, match=r"^dataset must be a Dataset or text"):
        Study(three_digits().train.images)


def test_a_missing_run_is_made_and_found_by_its_hash(tiny, monkeypatch, tmp_path):
    made, done = [], tiny.runs([FREPO], 1)[FREPO, 0]

    def pretend(experiment, *, out, **_):
        made.append(experiment)
        folder = out / experiment.resolve().name
        shutil.copytree(done.path, folder)
        return Run.open(folder)

    monkeypatch.setattr(studies, "distill", pretend)
    fresh = tiny_study(tmp_path)
    wide = Variant("frepo+drop_easy", (("drop_easy", 0.3),))
    fresh.runs([FREPO, wide], 1)
    assert [(one.method.drop_easy, one.seed) for one in made] == [
        (0.0, 0), (0.3, 0), (0.0, 1), (0.3, 1),
    ]  # fmt: skip
    names = {key: run.path.name for key, run in fresh.runs([FREPO, wide], 1).items()}
    assert len(made) == 4
    assert len(set(names.values())) == 4
    fresh.runs([FREPO], 10)
    assert len(made) == 6


def test_another_judge_or_step_gives_another_file(tiny, monkeypatch):
    run = tiny.runs([FREPO], 1)[FREPO, 0]
    calls = []

    def pretend(distilled, dataset, evaluator):
        calls.append(evaluator)
        settings = evaluator.resolve(
            image_shape=dataset.image_shape, num_distilled=len(distilled.images)
        )
        values = np.array([0.1 * len(calls)])
        return studies.Evaluation(values, values, settings)

    monkeypatch.setattr(studies, "evaluate", pretend)
    judges = [
        dataclasses.replace(tiny.evaluation_settings(), seed=seed) for seed in (71, 72)
    ]
    first = evaluate_run(run, tiny.dataset, judges[0])
    second = evaluate_run(run, tiny.dataset, judges[1])
    early = evaluate_run(run, tiny.dataset, judges[0], step=0)
    assert len(calls) == 3
    digits = three_digits()
    turned = Dataset.from_arrays(
        digits.train.images,
        digits.train.labels,
        digits.test.images[::-1],
        digits.test.labels[::-1],
    )
    evaluate_run(run, turned, judges[0])
    assert len(calls) == 4
    for expected, step, evaluator in (
        (first, None, judges[0]), (second, None, judges[1]), (early, 0, judges[0]),
    ):  # fmt: skip
        again = evaluate_run(run, tiny.dataset, evaluator, step=step)
        assert again.network == expected.network
        assert again.settings == expected.settings
    assert len(calls) == 4


# Of methods without a row for these digits.
@pytest.mark.filterwarnings("ignore:no published settings")
def test_without_runs_every_table_is_empty(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "distill", None)
    monkeypatch.setattr(studies, "feature_network", None)
    bare = tiny_study(tmp_path / "none", run_missing=False)
    for name, item in {**ITEMS, **DEMO}.items():
        if name == "cost":
            continue  # needs no run
        for keywords in item.pictures(name, bare).values():
            assert len(item.figure.compute(bare, **keywords)) == 0
        assert len(item.numbers(bare, [])) == 0
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_stops_the_other_runs_with_a_checkpoint(
    tiny, tmp_path, monkeypatch, error
):
    both = tiny_study(tmp_path, workers=2)
    real, took, failed = studies.distill, [], []
    under_way = threading.Event()

    def watched(experiment, *, callbacks, **options):
        seed = experiment.seed
        if seed == 1 and not failed:
            assert under_way.wait(60)
            failed.append(seed)
            raise error("of seed 1")

        def tell(reported):
            took.append((seed, reported.step))
            if not under_way.is_set():
                under_way.set()
                assert both._cancel.wait(60)

        return real(experiment, callbacks=[tell, *callbacks], **options)

    monkeypatch.setattr(studies, "distill", watched)
    with pytest.raises(error, match="of seed 1"):
        both.runs([FREPO], 1)
    stopped = Run.open(tmp_path / both.experiment(FREPO, 1, 0).resolve().name)
    assert (stopped.status["status"], stopped.step) == ("stopped", 1)
    # Again: the first goes on from its checkpoint, the second starts.
    found = both.runs([FREPO], 1)
    assert all(run.is_done for run in found.values())
    assert [step for seed, step in took if seed == 0] == [1, 2, 3, STEPS]
    assert [step for seed, step in took if seed == 1] == [1, 2, 3, STEPS]


def test_sizes_are_those_that_every_class_has(tiny):
    assert tiny.sizes == [1, 10]  # of 1, 10 and 50: there are 40 of each
    assert tiny.default_size == 10
    train, test = three_digits().train, three_digits().test
    images, labels = train.images, train.labels
    few = np.concatenate([np.flatnonzero(labels == 0), [40, 41], [80, 81, 82]])
    small = Dataset.from_arrays(images[few], labels[few], test.images, test.labels)
    rare = tiny_study(tiny.folder, dataset=small)
    assert (rare.sizes, rare.default_size) == ([1], 1)


def test_every_map_and_recall_fits_few_images(tiny):
    """Three classes of one image each are too few for recall, which needs six."""
    one = tiny_study(tiny.folder, scale=TINY._replace(steps={1: STEPS}))
    assert len(ITEMS["recall"].figure.compute(one)) == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"scale": "huge"}, r"scale must be one of .*'quick'.*, got 'huge'\."),
        ({"seeds": 0}, r"seeds must be .*, got 0\."),
        ({"workers": 0}, r"workers must be .*, got 0\."),
    ],
)
def test_bad_settings_are_one_sentence(changes, sentence, tmp_path):
    with pytest.raises(ValueError, match=f"^{sentence}[^.]*$"):
        Study(dataset=three_digits(), folder=tmp_path, **changes)


def test_runs_are_judged_at_the_last_step_with_nothing_held_out(tiny):
    experiment = tiny.experiment(ISA, 10, 3)
    assert (experiment.selection, experiment.seed, experiment.steps) == ("last", 3, 4)
    assert len(experiment.resolve().train.train.labels) == 120
    assert experiment.method.segment == (0.0, 0.5)
    assert experiment.method.learning_rate == TINY.learning_rate


def test_settings_of_the_user_are_distilled_as_they_are(tiny):
    for own in (FRePo(drop_easy=0.4, learning_rate=7.0), DM(learning_rate=7.0)):
        made = tiny.experiment(Variant("mine", own=own), 1, 0)
        assert made.method == own


def test_a_short_run_has_the_settings_of_its_scale_and_those_of_the_user(tmp_path):
    small = Study(three_digits(), scale="small", folder=tmp_path)
    assert small.experiment(Variant("mine", own=DM()), 1, 0).method == DM()
    made = small.experiment(Variant("mtt", (("expert_epochs", 9),)), 1, 0)
    assert (made.method.expert_count, made.method.expert_epochs) == (2, 9)
    assert made.steps == 100


def test_the_published_budget_is_the_published_one():
    paper = BUDGETS["paper"]
    assert set(paper.steps.values()) == {500_000}
    assert (paper.width, paper.batch_size, paper.learning_rate) == (128, 1024, 3e-4)
    assert (paper.networks, paper.fit) == (5, None)


# A data set that no row names.
@pytest.mark.filterwarnings("ignore:no published settings")
def test_a_published_study_follows_the_rows_of_its_data_set(monkeypatch, tmp_path):
    def study_of(name, scale="paper"):
        dataset = dataclasses.replace(three_digits(), name=name)
        return Study(dataset, scale=scale, folder=tmp_path)

    assert study_of("imagenet64").sizes == [1, 2]
    # A budget that is given stays as it is.
    assert study_of("imagenet64", BUDGETS["paper"]).sizes == [1, 10]
    study = study_of("cifar10")

    def made(key, **changes):
        return study.experiment(Variant(key, tuple(changes.items())), 1, 0)

    plain, ours = made("frepo"), made("isa")
    assert (plain.method.reduction, ours.method.reduction) == ("half_sum", "released")
    assert made("frepo+drop_easy").method.reduction == "released"
    assert made("isa", reduction="half_sum").method.reduction == "half_sum"
    widths = {key: made(key).network.width for key in ("isa", "rfad", "rcig", "dm")}
    assert widths == {"isa": 128, "rfad": 256, "rcig": 128, "dm": 128}
    assert (made("rcig").steps, made("rfad").steps) == (15_000, 100_000)
    asked = []
    monkeypatch.setattr(
        study, "accuracies", lambda _, size: asked.append(size) or as_table([])
    )
    monkeypatch.setattr(study, "initial_accuracies", lambda *_: as_table([]))
    comparisons.TABLE8.compute(study)
    comparisons.TABLE4.compute(study)
    assert asked == [1, 10, 1]


def test_results_keep_the_order_of_the_items(tmp_path):
    gates = [threading.Event() for _ in range(4)]

    def function(index):
        # The last ends first.
        if index < 3:
            assert gates[index + 1].wait(60)
        gates[index].set()
        return index * index

    reports = []
    study = tiny_study(tmp_path, workers=4).with_progress(
        lambda *report: reports.append(report)
    )
    assert study.map(function, range(4), "work") == [0, 1, 4, 9]
    assert reports == [("work", done, 4) for done in range(5)]


def test_cancelled_work_raises_and_can_be_started_again(tmp_path):
    study = tiny_study(tmp_path)

    def function(index):
        if index == 0:
            study.cancel()
        return index

    with pytest.raises(CancelledError, match="before the end of work"):
        study.map(function, range(3), "work")
    assert study.map(lambda index: index, range(3), "work") == [0, 1, 2]
