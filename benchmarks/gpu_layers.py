"""Layers in bfloat16 on an accelerator: beside flax's, beside what zoo chooses on other platforms, and at best.

At best means at the machine's matrix rate, or reading the arguments and writing the results once at its bandwidth,
whichever takes longer. A normalisation has to read its maps twice in each direction: it can come to two thirds forward,
and to half with the backward pass. Where the host is free again long before a program ends, it does not wait for it.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from batch_norm import SHAPES, flax_norm, zoo_norm
from layers import CONVOLUTIONS, POOLS
from otherwise import choose_otherwise, leave_out_guard, materialise_otherwise
from side_by_side import Call, Comparison, compiled, forward_and_back, medians

from zoo.bench import flax_layers
from zoo.layers import Conv, add_relu, avg_pool, max_pool
from zoo.layers.convolution import convolve_groups

WITHOUT = "without the guard's loop"
BRANCHES = 4  # residual blocks in a row
ROUNDS = 8  # at least, of each comparison
Shape = tuple[int, ...]  # of three: a map [H, W, C], the batch comes before it; of one or four: a parameter
Contestant = tuple[Callable, Callable[[], AbstractContextManager]]  # a function, and within what it is compiled


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long.

    Attributes:
      batch: images.
      norms: maps that are normalised.
      convolutions: maps, and the features that a 1x1 convolution makes of them.
      pools: maps, window, stride, padding.
      groups: maps, and the groups of their channels in a 3x3 convolution.
      ends: maps where residual blocks end.
      chain: normalisations in one program.
      repeats: of any other program, enqueued before the last of them is waited for.
      seconds: of measuring each comparison.
    """

    batch: int
    norms: tuple[Shape, ...]
    convolutions: tuple[tuple[Shape, int], ...]
    pools: tuple[tuple[Shape, int, int, int], ...]
    groups: tuple[tuple[Shape, int], ...]
    ends: tuple[Shape, ...]
    chain: int
    repeats: int
    seconds: float


FULL = Plan(
    batch=256,
    norms=tuple(shape[1:] for shape in SHAPES),
    convolutions=tuple((shape[1:], features) for shape, features in CONVOLUTIONS),
    pools=tuple((shape[1:], *rest) for shape, *rest in POOLS),
    groups=(((56, 56, 128), 32), ((14, 14, 512), 32)),  # of ResNeXt-50
    ends=((56, 56, 256), (14, 14, 1024)),  # of ResNet-50
    chain=20,
    repeats=10,
    seconds=1.0,
)
TINY = Plan(
    batch=2,
    norms=((4, 4, 8),),
    convolutions=(((4, 4, 8), 16),),
    pools=(((4, 4, 8), 3, 2, 1),),
    groups=(((4, 4, 8), 4),),
    ends=((4, 4, 8),),
    chain=3,
    repeats=2,
    seconds=0.0,
)


@dataclass(frozen=True)
class Roofline:
    """What the machine can do: multiplications and additions a second in bfloat16, and bytes a second."""

    matrix_rate: float
    bandwidth: float


@dataclass(frozen=True)
class Case:
    """A function of zoo's and others that compute the same, by name; the first is zoo's.

    Attributes:
      what: they compute.
      contestants: the functions.
      shapes: of their arguments.
      work: multiplications and additions of one of them.
      layers: in one program; the time told is that of each.
      decides: whether the program goes one way or another by what it has computed, and the host may have to wait.
    """

    what: str
    contestants: Mapping[str, Contestant]
    shapes: tuple[Shape, ...]
    work: float = 0
    layers: int = 1
    decides: bool = False


def list_cases(plan: Plan) -> Iterator[Case]:
    for some in (list_norms, list_chains, list_convolutions, list_pools, list_groups, list_ends):
        yield from some(plan)


def compare(case: Case, plan: Plan, roofline: Roofline) -> Iterator[Comparison]:
    """The time of each other contestant beside zoo's; and of a case that decides, when the host is free again."""
    arguments, calls = draw_arguments(case, plan), {}
    programs = 1 if case.layers > 1 else plan.repeats
    for name, (function, context) in case.contestants.items():
        with context():
            calls[name], _ = compiled(function, *arguments, repeats=programs)
    times = medians(calls, seconds=plan.seconds, rounds=ROUNDS)
    times = {name: ms / programs / case.layers for name, ms in times.items()}
    share = 1e3 * find_least_seconds(case, arguments, roofline) / times["zoo"]
    rivals = [name for name in times if name != "zoo"]
    for rival in rivals:
        yield Comparison(case.what, "ms", times["zoo"], rival, times[rival], share)
    if case.decides:
        back = {name: time_return(call) for name, call in calls.items()}
        for rival in rivals:
            yield Comparison(f"{case.what}: the host is free", "ms", back["zoo"], rival, back[rival])


def list_norms(plan: Plan) -> Iterator[Case]:
    """The batch's statistics, and with them y; and the three gradients, behind a ReLU."""
    contestants = {"zoo": zoo_norm, "flax": flax_norm}
    for shape in plan.norms:
        vectors = (shape[-1:],) * 2
        yield Case(f"norm {_name(shape)}", {n: (f, nullcontext) for n, f in contestants.items()}, (shape, *vectors))
        back = {name: (differentiate(_then_relu(function)), nullcontext) for name, function in contestants.items()}
        yield Case(f"norm {_name(shape)}, ReLU, backward", back, (shape, shape, *vectors))


def list_chains(plan: Plan) -> Iterator[Case]:
    """Normalisations one after the other, as in a net, with the guard of the variance and without."""

    def chain(x, scale, bias):
        for _ in range(plan.chain):
            x, _ = zoo_norm(x, scale, bias)
        return x

    for shape in plan.norms:
        contestants = {"zoo": (chain, nullcontext), WITHOUT: (chain, leave_out_guard)}
        what, shapes = f"norm {_name(shape)}, one of {plan.chain}", (shape, shape[-1:], shape[-1:])
        yield Case(what, contestants, shapes, layers=plan.chain, decides=True)


def list_convolutions(plan: Plan) -> Iterator[Case]:
    """1x1 convolutions: ours is a product of matrices, flax's is `lax.conv_general_dilated`."""
    for shape, features in plan.convolutions:
        height, width, channels = shape
        layers = {"zoo": Conv(features, 1), "flax": flax_layers.conv(features, 1)}
        contestants = {name: (differentiate(partial(_apply, layer)), nullcontext) for name, layer in layers.items()}
        shapes = (height, width, features), (1, 1, channels, features), shape
        work = 6 * plan.batch * math.prod(shape) * features
        yield Case(f"1x1 {_name(shape)} to {features}, backward", contestants, shapes, work)


def list_pools(plan: Plan) -> Iterator[Case]:
    """Flax's derivative of a largest value is XLA's own; ours is chosen by pixels on every platform."""
    pools = {"max": (max_pool, flax_layers.max_pool), "mean": (avg_pool, flax_layers.avg_pool)}
    for shape, window, stride, padding in plan.pools:
        sizes = window, stride, padding
        pooled = [(n + 2 * padding - window) // stride + 1 for n in shape[:2]]
        for name, functions in pools.items():
            ours, theirs = (differentiate(lambda x, pool=pool, sizes=sizes: pool(x, *sizes)) for pool in functions)
            contestants = {
                "zoo": (ours, nullcontext),
                "flax": (theirs, nullcontext),
                _other(): (ours, choose_otherwise),
            }
            what = f"{name} pool {window}x{window} / {stride}, {_name(shape)}, backward"
            yield Case(what, contestants, ((*pooled, shape[-1]), shape), decides=name == "max")  # by NaNs


def list_groups(plan: Plan) -> Iterator[Case]:
    """On accelerators one convolution in groups, on a CPU chunks of dense ones."""
    for shape, groups in plan.groups:
        kernel = 3, 3, shape[-1] // groups, shape[-1]

        def convolve(x, kernel, groups=groups):
            return convolve_groups(x, kernel.astype(x.dtype), 1, [(1, 1), (1, 1)], groups)

        back = differentiate(convolve)
        contestants = {"zoo": (back, nullcontext), _other(): (back, choose_otherwise)}
        work = 6 * plan.batch * math.prod(shape) * math.prod(kernel[:3])
        yield Case(f"3x3 {_name(shape)} in {groups} groups, backward", contestants, (shape, shape, kernel), work)


def list_ends(plan: Plan) -> Iterator[Case]:
    """Sums at the ends of residual blocks: on a CPU they are kept from being computed in every reader."""

    def end_blocks(x, *branches):
        for branch in branches:
            x = add_relu(x, branch)
        return x

    back = differentiate(end_blocks)
    for shape in plan.ends:
        contestants = {"zoo": (back, nullcontext), _other(): (back, materialise_otherwise)}
        yield Case(f"ends of {BRANCHES} blocks, {_name(shape)}, backward", contestants, (shape,) * (BRANCHES + 2))


def describe_arguments(case: Case, plan: Plan) -> list[jax.ShapeDtypeStruct]:
    """Maps in bfloat16, parameters in float32."""
    return [
        jax.ShapeDtypeStruct(*(((plan.batch, *shape), jnp.bfloat16) if len(shape) == 3 else (shape, jnp.float32)))
        for shape in case.shapes
    ]


def draw_arguments(case: Case, plan: Plan) -> list[jax.Array]:
    keys = jax.random.split(jax.random.key(0), len(case.shapes))
    described = describe_arguments(case, plan)
    return [jax.random.normal(key, one.shape, one.dtype) for key, one in zip(keys, described, strict=True)]


def find_least_seconds(case: Case, arguments: list[jax.Array], roofline: Roofline) -> float:
    """What zoo's function takes at best."""
    function, _ = case.contestants["zoo"]
    arrays = [*arguments, *jax.tree.leaves(jax.eval_shape(function, *arguments))]
    moved = sum(array.size * array.dtype.itemsize for array in arrays)
    return max(case.work / roofline.matrix_rate, moved / roofline.bandwidth)


def time_return(call: Call) -> float:
    """Median milliseconds after which a call that does not wait is back, where nothing else is being computed."""
    times = []
    for _ in range(ROUNDS):
        call()
        start = time.perf_counter()
        call(wait=False)
        times.append(1e3 * (time.perf_counter() - start))
    call()
    return statistics.median(times)


def differentiate(function: Callable) -> Callable:
    """The function's value, and the gradients of all its arguments but the incoming gradient, which comes first."""
    return lambda dout, *args: forward_and_back(function, dout)(*args)


def _other() -> str:
    return f"zoo's choice on {'accelerators' if jax.default_backend() == 'cpu' else 'a CPU'}"


def _name(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _apply(layer: nn.Module, kernel: jax.Array, x: jax.Array) -> jax.Array:
    return layer.apply({"params": {"kernel": kernel}}, x)


def _then_relu(function: Callable) -> Callable:
    return lambda *args: nn.relu(function(*args)[0])
