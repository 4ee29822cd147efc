"""The table of known data sets holds together."""

import re

import pytest

from isa_toolkit.datasets import DATASETS


@pytest.mark.parametrize("spec", DATASETS.values(), ids=DATASETS)
def test_an_entry_is_complete(spec):
    assert DATASETS[spec.name] is spec
    assert spec.channels in (1, 3)
    for numbers in (spec.mean, spec.std):
        assert numbers is None or len(numbers) == spec.channels
        assert numbers is None or all(0 < number < 1 for number in numbers)
    assert (spec.mean is None) == (spec.std is None)
    assert len(spec.class_names) in (0, spec.num_classes)
    assert len(set(spec.class_names)) == len(spec.class_names)
    # Grey sets are standardised only, coloured ones whitened (section 1.1).
    assert (spec.whitening == "zca") == (spec.channels == 3)


def test_everything_on_the_hub_is_pinned_to_a_commit():
    on_the_hub = {spec.name: spec for spec in DATASETS.values() if spec.hub_id}
    assert set(on_the_hub) == {
        "mnist",
        "fashion_mnist",
        "cifar10",
        "cifar100",
        "tiny_imagenet",
        "imagenette",
        "imagewoof",
        "imagenet64",
    }
    for spec in on_the_hub.values():
        assert re.fullmatch("[0-9a-f]{40}", spec.hub_revision), spec.name
        assert spec.hub_train.endswith("*.parquet")
        assert spec.hub_test.endswith("*.parquet")
