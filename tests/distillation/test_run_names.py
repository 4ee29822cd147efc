"""Runs are named by the settings in which they differ."""

from __future__ import annotations

from isa_toolkit.distillation.run_names import differing_settings, run_names


def described(method="frepo", drop_easy=0.2, **changes):
    return {
        "dataset": {"name": "digits"},
        "method": {"name": method, "drop_easy": drop_easy},
        "network": {"name": "convnet", "width": 8},
        "images_per_class": 1,
        "seed": 0,
        "steps": 10,
        "validation_every": 5,
        "hash": f"{method}{drop_easy}{changes}",
        **changes,
    }


def test_only_what_differs_among_similar_runs_is_named():
    runs = [described(), described(drop_easy=0.0), described("dm", drop_easy=0.5)]
    assert differing_settings(runs) == [
        {"method": "frepo", "drop_easy": 0.2},
        {"method": "frepo", "drop_easy": 0.0},
        {"method": "dm"},
    ]
    runs = [described(seed=0), described(seed=1)]
    assert differing_settings(runs, hidden=("seed",)) == [{}, {}]


def test_names_are_short_and_tell_all_runs_apart():
    runs = [
        described(segment=[0, 0.5]),
        described(segment=[0, 0], seed=1),
        described("dm"),
        described(images_per_class=10),
    ]
    assert run_names(runs) == [
        "1 per class, frepo: segment=(0, 0.5), seed=0",
        "1 per class, frepo: segment=(0, 0), seed=1",
        "1 per class, dm",
        "10 per class, frepo",
    ]
    assert run_names(runs[:1]) == ["frepo"]
    # What follows from the number of steps is not named, the hash is the last resort.
    twins = [described(hash="a" * 64), described(hash="b" * 64, validation_every=2)]
    assert run_names(twins) == ["frepo (aaaaaaaa)", "frepo (bbbbbbbb)"]
    assert run_names([]) == []
