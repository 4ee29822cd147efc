"""What a GPU would be given, read from the program and without one.

The loop is lowered for CUDA on whatever is here. That shows what is asked of the device,
not how fast it is.
"""

from __future__ import annotations

import re
from typing import Any

import jax
import pytest

from isa_toolkit import benchmark
from isa_toolkit.networks.precision import PRECISIONS

pytestmark = pytest.mark.slow

# No other test compiles a loop of this shape: programs are kept by their settings, and these
# were made for another device than the tests run on.
SHAPE = benchmark.SETTINGS["tiny"]._replace(
    width=6, batch_size=30, num_classes=7, images_per_class=3
)
CHOSEN = {
    "default": ("DEFAULT", "f32"),
    "float32": ("HIGHEST", "f32"),
    "bfloat16": ("DEFAULT", "bf16"),
}
PRODUCT = re.compile(
    r"stablehlo\.(convolution|dot_general).*?precision\w* = \[(?:#stablehlo<precision )?"
    r"(\w+).*: \(tensor<(\d+)x[\dx]*x(\w+)>, "
)


@pytest.fixture(scope="module")
def programs() -> dict[str, tuple[str, int]]:
    """Precision -> the loop as text, and the number of arrays in its state."""
    patch = pytest.MonkeyPatch()
    data = benchmark.made_data(SHAPE)
    made = {}
    for precision in PRECISIONS:
        method = benchmark.isa(SHAPE, target_precision=precision)
        timed = benchmark.timed_loop(SHAPE, data, method)
        with patch.context() as context:
            # The loop asks which convolution it should use.
            context.setattr(jax, "default_backend", lambda: "gpu")
            chunk: Any = timed.chunk
            traced = chunk.trace(*timed.arguments(1))
        lowered = traced.lower(lowering_platforms=("cuda",))
        made[precision] = lowered.as_text(), len(jax.tree.leaves(timed.state))
    return made


def products(text: str, of: str) -> list[tuple[str, int, str]]:
    """Return precision, first length and type of every product of a kind."""
    found = [
        match.groups() for match in map(PRODUCT.search, text.splitlines()) if match
    ]
    assert len(found) == text.count(" stablehlo.convolution(") + text.count(
        " stablehlo.dot_general "
    )
    return [(level, int(rows), kind) for name, level, rows, kind in found if name == of]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing_goes_back_to_the_host_inside_a_chunk(programs, precision):
    text, _ = programs[precision]
    assert not re.findall(r"infeed|outfeed|stablehlo\.(?:send|recv)|callback", text)
    # The ridge solve's factorisation is the only call into a library by name.
    assert set(re.findall(r"custom_call @([\w.]+)", text)) == {"cusolver_potrf_ffi"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_whole_state_is_donated(programs, precision):
    text, leaves = programs[precision]
    assert text.count("tf.aliasing_output") + text.count("jax.buffer_donor") == leaves


def test_the_real_images_alone_are_read_at_the_chosen_precision(programs):
    for precision, (level, kind) in CHOSEN.items():
        text, _ = programs[precision]
        real = [
            one for one in products(text, "convolution") if one[1] == SHAPE.batch_size
        ]
        others = [one for one in products(text, "convolution") if one not in real]
        assert real == [(level, SHAPE.batch_size, kind)] * 3
        # The library's own convolution, on the distilled images.
        assert len(others) == 14
        assert {one[::2] for one in others} == {("DEFAULT", "f32")}


def test_partners_are_compared_at_the_chosen_precision(programs):
    for precision, (level, kind) in CHOSEN.items():
        # The only product of the batch with itself.
        (found,) = square_products(programs[precision][0], SHAPE.batch_size)
        assert (found[0], found[2]) == (level, kind)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_ridge_kernel_is_at_the_highest_whatever_is_chosen(programs, precision):
    count = SHAPE.images_per_class * SHAPE.num_classes
    kernels = square_products(programs[precision][0], count)
    assert kernels
    assert {one[::2] for one in kernels} == {("HIGHEST", "f32")}


def square_products(text: str, size: int) -> list[tuple[str, int, str]]:
    ends = f"-> tensor<{size}x{size}xf32>"
    lines = [line for line in text.splitlines() if line.endswith(ends)]
    return products("\n".join(lines), "dot_general")
