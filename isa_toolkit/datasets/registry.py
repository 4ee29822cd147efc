"""The data sets known by name: where they lie, their constants, what to expect.

A new data set is one entry of :data:`DATASETS`. How files are read is decided in
:mod:`isa_toolkit.datasets.formats`, what is done to pixels in
:mod:`isa_toolkit.datasets.preprocessing`.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["DATASETS", "DatasetSpec", "Whitening"]

Whitening = Literal["standardise", "zca", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What the toolkit knows of a data set before it sees a file.

    name: the name ``load_dataset`` takes.
    num_classes: number of classes.
    resolution: side of the square images in pixels, after any resize.
    channels: 1 or 3; grey files of a three-channel set are repeated to RGB.
    train_count: training images of the whole set.
    test_count: test images of the whole set.
    whitening: ``"standardise"`` or ``"zca"`` (in blocks above 64 pixels).
    mean: channel means of the training pixels in [0, 1]; None: measured when loaded.
    std: channel standard deviations of the same; None: measured when loaded.
    class_names: in label order; empty: taken from the files.
    is_resized: files vary in size; crop the central square and resize it by area.
    hub_id: repository on the Hugging Face Hub; None: no known parquet copy.
    hub_revision: the commit that is read unless the user names another.
    hub_train: pattern of the training shards in that repository.
    hub_test: pattern of the test shards.
    label_columns: parquet columns tried for the labels, in order.
    test_splits: names of the split used for testing, in order of preference.
    config: folder to choose where a repository holds several versions of the set.
    note: what differs from the set of the papers; goes into the provenance.
    """

    name: str
    num_classes: int
    resolution: int
    channels: int
    train_count: int
    test_count: int
    whitening: Whitening
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] = ()
    is_resized: bool = False
    hub_id: str | None = None
    hub_revision: str = "main"
    hub_train: str = ""
    hub_test: str = ""
    label_columns: tuple[str, ...] = ("label", "labels")
    test_splits: tuple[str, ...] = ("test", "validation", "valid", "val")
    config: str | None = None
    note: str = ""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) after any resize."""
        return (self.resolution, self.resolution, self.channels)


_DIGITS = tuple("0123456789")
_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_CIFAR10 = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"
_CIFAR100 = (
    "apple,aquarium_fish,baby,bear,beaver,bed,bee,beetle,bicycle,bottle,bowl,boy,"
    "bridge,bus,butterfly,camel,can,castle,caterpillar,cattle,chair,chimpanzee,clock,"
    "cloud,cockroach,couch,crab,crocodile,cup,dinosaur,dolphin,elephant,flatfish,"
    "forest,fox,girl,hamster,house,kangaroo,keyboard,lamp,lawn_mower,leopard,lion,"
    "lizard,lobster,man,maple_tree,motorcycle,mountain,mouse,mushroom,oak_tree,orange,"
    "orchid,otter,palm_tree,pear,pickup_truck,pine_tree,plain,plate,poppy,porcupine,"
    "possum,rabbit,raccoon,ray,road,rocket,rose,sea,seal,shark,shrew,skunk,skyscraper,"
    "snail,snake,spider,squirrel,streetcar,sunflower,sweet_pepper,table,tank,telephone,"
    "television,tiger,tractor,train,trout,tulip,turtle,wardrobe,whale,willow_tree,wolf,"
    "woman,worm"
)
_IMAGENETTE = (
    "tench,English springer,cassette player,chain saw,church,French horn,garbage truck,"
    "gas pump,golf ball,parachute"
)
_IMAGEWOOF = (
    "Shih-Tzu,Rhodesian ridgeback,Beagle,English foxhound,Australian terrier,"
    "Border terrier,Golden retriever,Old English sheepdog,Samoyed,Dingo"
)
_VALIDATION_FIRST = ("validation", "valid", "val", "test")


def _names(listed: str) -> tuple[str, ...]:
    return tuple(listed.split(","))


_SPECS = (
    DatasetSpec(
        name="digits",
        num_classes=10,
        resolution=8,
        channels=1,
        train_count=1438,
        test_count=359,
        whitening="standardise",
        class_names=_DIGITS,
        note="scikit-learn's copy of the UCI optical digits' test part",
    ),
    DatasetSpec(
        name="mnist",
        num_classes=10,
        resolution=28,
        channels=1,
        train_count=60_000,
        test_count=10_000,
        whitening="standardise",
        mean=(0.1307,),
        std=(0.3081,),
        class_names=_DIGITS,
        hub_id="ylecun/mnist",
        hub_revision="77f3279092a1c1579b2250db8eafed0ad422088c",
        hub_train="mnist/train*.parquet",
        hub_test="mnist/test*.parquet",
    ),
    DatasetSpec(
        name="fashion_mnist",
        num_classes=10,
        resolution=28,
        channels=1,
        train_count=60_000,
        test_count=10_000,
        whitening="standardise",
        mean=(0.2861,),
        std=(0.3530,),
        class_names=_names(_FASHION),
        hub_id="zalando-datasets/fashion_mnist",
        hub_revision="531be5e2ccc9dba0c201ad3ae567a4f3d16ecdd2",
        hub_train="fashion_mnist/train*.parquet",
        hub_test="fashion_mnist/test*.parquet",
    ),
    DatasetSpec(
        name="cifar10",
        num_classes=10,
        resolution=32,
        channels=3,
        train_count=50_000,
        test_count=10_000,
        whitening="zca",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        class_names=_names(_CIFAR10),
        hub_id="uoft-cs/cifar10",
        hub_revision="0b2714987fa478483af9968de7c934580d0bb9a2",
        hub_train="plain_text/train*.parquet",
        hub_test="plain_text/test*.parquet",
    ),
    DatasetSpec(
        name="cifar100",
        num_classes=100,
        resolution=32,
        channels=3,
        train_count=50_000,
        test_count=10_000,
        whitening="zca",
        mean=(0.5071, 0.4866, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        class_names=_names(_CIFAR100),
        hub_id="uoft-cs/cifar100",
        hub_revision="aadb3af77e9048adbea6b47c21a81e47dd092ae5",
        hub_train="cifar100/train*.parquet",
        hub_test="cifar100/test*.parquet",
        label_columns=("fine_label", "label", "labels"),
        note="fine labels",
    ),
    DatasetSpec(
        name="tiny_imagenet",
        num_classes=200,
        resolution=64,
        channels=3,
        train_count=100_000,
        test_count=10_000,
        whitening="zca",
        mean=(0.4759, 0.4481, 0.3926),
        std=(0.2763, 0.2687, 0.2813),
        hub_id="zh-plus/tiny-imagenet",
        hub_revision="5a77092c28e51558c5586e9c5eb71a7e17a5e43f",
        hub_train="data/train*.parquet",
        hub_test="data/valid*.parquet",
        test_splits=_VALIDATION_FIRST,
        note="the validation images are the test set; grey JPEGs are repeated to RGB",
    ),
    DatasetSpec(
        name="imagenette",
        num_classes=10,
        resolution=128,
        channels=3,
        train_count=9_469,
        test_count=3_925,
        whitening="zca",
        mean=(0.4626, 0.4588, 0.4251),
        std=(0.2790, 0.2745, 0.2973),
        class_names=_names(_IMAGENETTE),
        is_resized=True,
        hub_id="frgfm/imagenette",
        hub_revision="4b23ffb92a8029db9958bdfdbd6978427d09b1a0",
        hub_train="160px/train*.parquet",
        hub_test="160px/validation*.parquet",
        test_splits=_VALIDATION_FIRST,
        config="160px",
    ),
    DatasetSpec(
        name="imagewoof",
        num_classes=10,
        resolution=128,
        channels=3,
        train_count=9_025,
        test_count=3_929,
        whitening="zca",
        mean=(0.4917, 0.4613, 0.3931),
        std=(0.2513, 0.2442, 0.2530),
        class_names=_names(_IMAGEWOOF),
        is_resized=True,
        hub_id="frgfm/imagewoof",
        hub_revision="af6c57baa87510beab1f205fa6bd0d90b5ef2a71",
        hub_train="160px/train*.parquet",
        hub_test="160px/validation*.parquet",
        test_splits=_VALIDATION_FIRST,
        config="160px",
        note="the pinned commit is on the Hub's own parquet conversion branch",
    ),
    DatasetSpec(
        name="imagenet64",
        num_classes=1000,
        resolution=64,
        channels=3,
        train_count=1_281_167,
        test_count=50_000,
        whitening="zca",
        mean=(0.4815, 0.4578, 0.4082),
        std=(0.2686, 0.2613, 0.2758),
        hub_id="benjamin-paine/imagenet-1k-64x64",
        hub_revision="f12246fedf1127d5b34bea760b61ef00e0f3d603",
        hub_train="data/train*.parquet",
        hub_test="data/validation*.parquet",
        test_splits=_VALIDATION_FIRST,
        note="resize filter may differ from imagenet_resized/64x64 of the papers",
    ),
    DatasetSpec(
        name="cub200",
        num_classes=200,
        resolution=32,
        channels=3,
        train_count=5_994,
        test_count=5_794,
        whitening="zca",
        mean=(0.4810, 0.4964, 0.4245),
        std=(0.2129, 0.2084, 0.2468),
        is_resized=True,
    ),
)

DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in _SPECS}
"""The known data sets by name.

Source: constants and resolutions of section 1.1 of the algorithms sheet (the loaders
shared by FRePo, ISA and RCIG). Hub commits are those that public code pins for these
repositories; ``load_dataset("name@revision")`` reads another.
"""
