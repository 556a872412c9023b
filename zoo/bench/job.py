"""What a contestant is told, and what it brings."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

Mode = Literal["train", "infer"]
Dtype = Literal["float32", "bfloat16"]
LEARNING_RATE, MOMENTUM = 1e-3, 0.9  # small: the images are noise, and a loss that diverges takes other paths


@dataclass(frozen=True)
class Job:
    """One contestant's task.

    Attributes:
      maker: what makes the contestant of the job, as `package.module:function`.
      model: name of the net, as in `zoo.list_models()`.
      mode: a whole training step, or the logits of a batch.
      batch: images in a step.
      size: their height and width.
      dtype: of the computation; parameters are float32.
      cores: on which all threads of the process run, as many as there are cores.
      keeps_memory: whether the process keeps freed memory, as `zoo train` does.
    """

    maker: str
    model: str
    mode: Mode
    batch: int
    size: int
    dtype: Dtype
    cores: tuple[int, ...]
    keeps_memory: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        fields = json.loads(text)
        return cls(**fields | {"cores": tuple(fields["cores"])})


@dataclass(frozen=True)
class Contestant:
    """A net that is ready to compute.

    Attributes:
      step: computes one step and waits for its end.
      device: on which.
      compile_seconds: what compiling took; None where nothing is compiled.
      memory: bytes of the compiled step's temporaries; None where that is not known.
      note: how it departs from zoo's net.
      work: multiplications and additions of a step; zoo's alone, on an accelerator.
      matrix_rate: multiplications and additions a second of a large product of matrices there.
    """

    step: Callable[[], object]
    device: str
    compile_seconds: float | None = None
    memory: int | None = None
    note: str = ""
    work: float | None = None
    matrix_rate: float | None = None
