"""`make gpu-check`, rehearsed on a CPU: that where it says so it measures two programs, and what is off is told."""

import importlib
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.bench import Result
from zoo.layers import add_relu, max_pool
from zoo.layers.convolution import convolve_groups
from zoo.models import registry

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def standard_promotion():
    """Flax's layers mix types."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def load(monkeypatch):
    """A file of `benchmarks/` as a module, as for the scripts there."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return importlib.import_module


@pytest.fixture
def check(load, capsys):
    """Exit code, stdout, stderr of a call."""
    return lambda *words: (load("gpu_check").main(words), *capsys.readouterr())


def read_table(out):
    """Cells of the table's rows, by what they compare and with whom."""
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in out.splitlines() if line.startswith("| ")
    ]
    assert rows[0] == ["what", "unit", "zoo", "rival", "the rival's", "gain", "roofline"]
    return {(row[0], row[3]): row for row in rows[1:]}


LAYERS = {
    *(("norm 4x4x8", "flax"), ("norm 4x4x8, ReLU, backward", "flax")),
    *((f"norm 4x4x8, one of 3{what}", "without the guard's loop") for what in ("", ": the host is free")),
    ("1x1 4x4x8 to 16, backward", "flax"),
    *(
        (f"{pool} pool 3x3 / 2, 4x4x8, backward{what}", rival)
        for pool, what in (("max", ""), ("max", ": the host is free"), ("mean", ""))
        for rival in ("flax", "zoo's choice on accelerators")
    ),
    ("3x3 4x4x8 in 4 groups, backward", "zoo's choice on accelerators"),
    ("ends of 4 blocks, 4x4x8, backward", "zoo's choice on accelerators"),
}


@pytest.mark.slow
def test_a_rehearsal_of_all_parts_ends_in_one_table(check):
    code, out, err = check("--tiny")
    assert (code, "failures" in out) == (0, False)
    assert out.startswith(f"{jax.devices()[0].device_kind} (")
    assert f"jax {jax.__version__}, " in out
    kinds = [f"{dtype}, {what}" for dtype in ("float32", "bfloat16") for what in ("logits", "gradients")]
    kinds += ["float32, farthest gradient"]
    expected = {(f"convnet_bn, {kind}", "allowed") for kind in kinds}
    expected |= {(f"convnet_bn, {mode}, 2x16x16", "flax") for mode in ("train", "infer")}
    table = read_table(out)
    assert set(table) == expected | LAYERS
    for (what, rival), row in table.items():
        assert " | ".join(row) in err, "told as soon as it was known"
        assert row[6].endswith("-" if rival == "allowed" or "free" in what else "%")


def test_contestants_of_a_case_take_the_same_arguments_and_return_the_same_shapes(load):
    layers = load("gpu_layers")
    cases = [*layers.list_cases(layers.FULL)]
    for case in cases:
        arguments = layers.describe_arguments(case, layers.FULL)
        shapes = []
        for function, context in case.contestants.values():
            with context():
                results = jax.tree.leaves(jax.eval_shape(lambda *args, function=function: function(*args), *arguments))
            shapes.append(sorted((leaf.shape, leaf.dtype.name) for leaf in results))
        assert all(one == shapes[0] for one in shapes), case.what
    assert len({case.what for case in cases}) == len(cases)


@pytest.mark.slow
def test_contestants_of_a_case_compute_the_same(load):
    """To the rounding of bfloat16; but flax's normalisation returns running statistics behind its y."""
    layers = load("gpu_layers")
    for case in layers.list_cases(layers.TINY):
        arguments, found = layers.draw_arguments(case, layers.TINY), {}
        for name, (function, context) in case.contestants.items():
            with context():
                leaves = jax.tree.leaves(jax.jit(lambda *args, function=function: function(*args))(*arguments))
            found[name] = [np.asarray(leaf).astype(np.float32) for leaf in leaves]
        same = 1 if case.what == "norm 4x4x8" else None
        for name, leaves in found.items():
            for theirs, ours in zip(leaves[:same], found["zoo"][:same], strict=True):
                np.testing.assert_allclose(theirs, ours, atol=0.02 * np.abs(ours).max(), err_msg=f"{case.what}, {name}")


def lowered(function, *shapes):
    return jax.jit(function).lower(*(jnp.ones(shape) for shape in shapes)).as_text()


def test_without_the_guard_there_is_no_loop(load):
    norm, left_out = load("batch_norm").zoo_norm, load("otherwise").leave_out_guard
    shapes = (4, 2, 2, 8), (8,), (8,)
    assert "stablehlo.while" in lowered(lambda *args: norm(*args), *shapes)
    with left_out():
        assert "stablehlo.while" not in lowered(lambda *args: norm(*args), *shapes)
    assert "stablehlo.while" in lowered(lambda *args: norm(*args), *shapes)


def test_the_other_choice_is_that_of_the_other_platforms(load, monkeypatch):
    otherwise = load("otherwise").choose_otherwise

    def pool(x):
        return max_pool(x, 3, 2, 1)

    def convolve(x, kernel):
        return convolve_groups(x, kernel, 1, [(1, 1), (1, 1)], 4)

    def find_marks():
        """Of what accelerators compute: a window's largest value as such, groups as such."""
        image, kernel = (1, 8, 8, 8), (3, 3, 2, 8)
        texts = lowered(lambda x: pool(x), image), lowered(lambda x, k: convolve(x, k), image, kernel)
        return ["reduce_window" in texts[0], "feature_group_count = 4" in texts[1]]

    assert find_marks() == [False, False]
    with otherwise():
        assert find_marks() == [True, True]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with otherwise():
        assert find_marks() == [False, False]


@pytest.mark.parametrize(("backend", "loops"), [("cpu", 0), ("gpu", 2)])
def test_ends_of_blocks_are_made_once_where_they_otherwise_are_not(load, monkeypatch, backend, loops):
    def step(x, y, dout):
        z, back = jax.vjp(add_relu, x, y)
        return z, back(dout)

    values = [jax.random.normal(jax.random.key(i), (2, 4, 4, 8)) for i in range(3)]
    expected = jax.jit(lambda *args: step(*args))(*values)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    with load("otherwise").materialise_otherwise():
        jitted = jax.jit(lambda *args: step(*args)).lower(*values)
        assert jitted.as_text().count("stablehlo.while") == loops
    jax.tree.map(np.testing.assert_array_equal, jitted.compile()(*values), expected)


def test_a_net_that_is_off_is_told_with_its_array_and_the_exit_code_is_1(load, check, monkeypatch):
    """The second figures in a type are the accelerator's: the logits are off by little, a gradient by half."""
    parity, seen = load("gpu_parity"), set()
    compute = parity.compute

    def compute_wrong(name, dtype, inputs, device):
        results = compute(name, dtype, inputs, device)
        if dtype == "float32" and dtype in seen:
            results["logits"]["logits"] *= 1.0001
            results["gradients"]["['fc1']['kernel']"] *= 1.5
        seen.add(dtype)
        return results

    assert check("--tiny", "--parts", "parity", "--models", "mlp")[0] == 0
    monkeypatch.setattr(parity, "compute", compute_wrong)
    code, out, _ = check("--tiny", "--parts", "parity", "--models", "mlp")
    failures = out.partition("failures:\n")[2].splitlines()
    assert code == 1
    assert len(failures) == 3
    assert failures[0].startswith("- mlp, float32, logits: logits is 1.0e-04 off, ")
    assert failures[1].startswith("- mlp, float32, gradients: ['fc1']['kernel'] is ")
    assert failures[2] == "- mlp, float32, farthest gradient: ['fc1']['kernel'] is 5.0e-01 off, 1.0e-01 is allowed."


def test_what_rounding_alone_takes_far_is_noted(load, check, monkeypatch):
    rows = [load("side_by_side").Comparison(f"mlp, {far}", "distance", 0.1, "allowed", far) for far in (0.4, 0.6, 0.05)]
    monkeypatch.setattr(load("gpu_parity"), "compare_with_cpu", lambda *_, **__: zip(rows, "abc", strict=True))
    code, out, _ = check("--tiny", "--parts", "parity")
    assert code == 1
    assert "- mlp, 0.6: rounding alone takes this net so far that it says little.\n" in out
    assert "- mlp, 0.05: c is 1.0e-01 off, 5.0e-02 is allowed.\n" in out.partition("failures:")[2]
    assert out.count("- mlp") == 2


def test_distances_are_relative_to_the_size_of_what_is_compared(load):
    measure = load("gpu_parity").measure_distances
    expected = {"logits": {"logits": np.array([[0.0, 2.0]])}}
    expected["gradients"] = {"a": np.array([3.0, 4.0]), "b": np.array([0.0]), "c": np.array([12.0])}
    found = {"logits": {"logits": np.array([[0.0, 2.2]])}}
    found["gradients"] = {"a": np.array([3.0, 4.5]), "b": np.array([0.0026]), "c": np.array([13.2])}
    distances = measure(found, expected)
    assert distances["logits"] == (pytest.approx(0.1), "logits")
    assert distances["gradients"] == (pytest.approx(0.1, rel=1e-5), "c")  # all are off by 1.3, of 13
    assert distances["farthest gradient"] == (pytest.approx(0.2), "b")  # a 0.1, b 0.0026 of a thousandth of 13, c 0.1
    distances = measure(found | {"gradients": found["gradients"] | {"a": np.array([np.nan, 0.0])}}, expected)
    assert distances["gradients"] == distances["farthest gradient"] == (np.inf, "a")


def test_all_families_are_compared_with_the_cpu(load):
    names = load("gpu_check").FAMILIES
    assert {registry.family(name) for name in names} == set(registry.FAMILIES)


def test_speeds_and_shares_of_nets_are_those_of_their_medians(check, load, monkeypatch):
    """Work of resnet20: 2 x 40.6 million operations an image, three times that in training."""
    results = {"train": {"zoo": Result(seconds=[0.5] * 3), "flax": Result(seconds=[1.0] * 3, note="folds nothing")}}
    results["infer"] = {"zoo": Result(failure="no memory"), "flax": Result(failure="no memory either")}
    monkeypatch.setattr("zoo.bench.race", lambda jobs, **_: dict(results[jobs["zoo"].mode]))
    monkeypatch.setattr("zoo.bench.roofline.measure_matrix_rate", lambda *_: 1e9)
    code, out, _ = check("--tiny", "--parts", "nets", "--models", "resnet20", "--batch", "4")
    share = 6 * 4 * registry.variant("resnet20").macs / 4 / 1e9 / 0.5  # images of 16x16, a quarter of the native ones
    assert code == 1
    what = "resnet20, train, 4x16x16"
    assert list(read_table(out).values()) == [[what, "images/s", "8.000", "flax", "4.000", "2.00", f"{share:.0%}"]]
    assert f"- {what}, flax: folds nothing.\n" in out
    assert "- resnet20, infer, 4x16x16, flax: no memory either.\n" in out.partition("failures:")[0]
    assert out.partition("failures:\n")[2] == "- resnet20, infer, 4x16x16, zoo: no memory.\n"


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("", "no accelerator: JAX sees CPUs alone. On a machine with one, pip install 'jax-cnn-zoo[cuda]'; or --tiny."),
        ("--tiny --batch 0", "--batch is 0: it must be at least 1."),
        ("--tiny --models resnet51", "no model is called 'resnet51': did you mean 'resnet50'?"),
    ],
)
def test_what_is_missing_is_one_line_and_the_exit_code_is_2(check, words, missing):
    code, out, err = check(*words.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"gpu-check: {missing}")


def test_without_a_cpu_or_the_platform_asked_for_it_says_what_to_do(check, monkeypatch):
    def refuse(platform=None):
        raise RuntimeError("Unknown backend cpu\nmore of it")

    monkeypatch.setattr(jax, "devices", refuse)
    assert check("--tiny") == (2, "", "gpu-check: Unknown backend cpu: unset JAX_PLATFORMS, or name it and cpu.\n")


def test_without_jax_it_says_what_to_install():
    command = [sys.executable, "-S", "-P", str(ROOT / "benchmarks/gpu_check.py")]
    process = subprocess.run(command, env={}, capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr.startswith("gpu-check: jax, flax, optax, zoo cannot be imported by ")
    assert process.stderr.count("\n") == 1
