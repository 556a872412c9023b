"""Which nets get XLA's own convolutions, on which processors, and that JAX then compiles them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers import choose_compiler_options, engine
from zoo.layers.engine import OWN_CONVOLUTIONS, accepts_options, has_wide_kernels, is_intel

WIDE = {"params": {"conv": {"kernel": np.zeros((3, 3, 64, 64), np.float32)}}}
NARROW = {"params": {"conv": {"kernel": np.zeros((3, 3, 16, 16), np.float32)}}}


@pytest.fixture(params=[True, False], ids=["intel", "another"])
def intel(request, monkeypatch):
    monkeypatch.setattr(engine, "is_intel", lambda: request.param)
    return request.param


def test_this_xla_knows_the_options():
    assert accepts_options()


@pytest.mark.parametrize(
    ("name", "wide"),
    [
        *((name, True) for name in ("vgg11_bn", "resnet50", "googlenet", "densenet121")),
        *((name, False) for name in ("resnext50_32x4d", "resnet20", "mlp", "lenet5")),
    ],
)
def test_wide_kernels_are_those_of_many_channels(name, wide):
    model, row = zoo.create(name), zoo.variant(name)
    image = jax.ShapeDtypeStruct((1, row.image_size, row.image_size, row.channels), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    assert has_wide_kernels(shapes["params"]) is wide


def test_training_convolves_by_xla_where_kernels_are_wide_or_the_processor_is_intels(intel):
    assert choose_compiler_options(WIDE, train=True) == OWN_CONVOLUTIONS
    assert choose_compiler_options(NARROW, train=True) == (OWN_CONVOLUTIONS if intel else None)


def test_inference_convolves_by_xla_where_kernels_are_wide_and_the_processor_is_intels(intel):
    assert choose_compiler_options(WIDE) == (OWN_CONVOLUTIONS if intel else None)
    assert choose_compiler_options(NARROW) is None
    assert choose_compiler_options({}) is None


@pytest.mark.parametrize("intel", [True], indirect=True)
def test_xla_then_convolves_itself(intel):
    images = jnp.ones((2, 16, 16, 64))

    def convolve(variables, x):
        return jax.lax.conv_general_dilated(
            x, variables["params"]["conv"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def compile_text(options):
        return jax.jit(convolve, compiler_options=options).lower(WIDE, images).compile().as_text()

    assert "ynn_fusion" in compile_text(None)
    assert "ynn_fusion" not in compile_text(choose_compiler_options(WIDE))


@pytest.mark.parametrize("intel", [True], indirect=True)
def test_traced_arrays_get_no_options_because_the_outermost_jit_alone_may_have_them(intel):
    chosen = []
    jax.eval_shape(lambda variables: chosen.append(choose_compiler_options(variables, train=True)), WIDE)
    assert chosen == [None]


@pytest.mark.parametrize("intel", [True], indirect=True)
def test_an_xla_that_does_not_know_them_is_not_told(intel, monkeypatch):
    monkeypatch.setattr(engine, "OWN_CONVOLUTIONS", {"xla_cpu_no_such_option": "1"})
    monkeypatch.setattr(engine, "accepts_options", accepts_options.__wrapped__)
    assert choose_compiler_options(WIDE, train=True) is None


@pytest.mark.parametrize("intel", [True], indirect=True)
def test_other_platforms_get_none(intel, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    shapes = jax.eval_shape(lambda: WIDE)
    assert choose_compiler_options(shapes, train=True) is None


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("vendor_id\t: GenuineIntel\n", "", True),
        ("vendor_id\t: AuthenticAMD\n", "", False),
        (None, "Intel64 Family 6 Model 207 Stepping 2, GenuineIntel", True),
        (None, "arm", False),
    ],
)
def test_the_processor_says_whose_it_is(text, name, expected, monkeypatch):
    def read_text(path):
        assert str(path) == "/proc/cpuinfo"
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr(engine.Path, "read_text", read_text)
    monkeypatch.setattr(engine.platform, "processor", lambda: name)
    assert is_intel.__wrapped__() is expected
