import subprocess
import sys

import pytest

from zoo.training.memory import LIBRARY

PROGRAM = """
import resource, sys
from zoo.training.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
import jax, jax.numpy as jnp
x, kernel = jnp.ones((2**14, 64)), jnp.ones((64, 64))
step = jax.jit(lambda x: jnp.dot(jnp.dot(jnp.concatenate([x] * 16), kernel), kernel).sum(axis=0))  # arrays of 64 MiB
faults = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
for _ in range(20):
    step(x).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(sorted(after - before for before, after in zip(faults, faults[1:]))[10])
"""


@pytest.mark.skipif(not hasattr(LIBRARY, "mallopt"), reason="it is glibc that is told")
def test_a_step_needs_no_fresh_pages():
    faults = {
        how: int(
            subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout
        )
        for how in ("kept", "returned")
    }
    assert faults["kept"] < 100 < faults["returned"]  # in most steps: at first, and now and then, an array finds no gap
