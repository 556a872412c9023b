"""The contestants: who makes them, and which packages they need."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from zoo.bench.job import Job
from zoo.errors import UserError

INSTALL = "`pip install 'jax-cnn-zoo[bench]'` brings all peers"


@dataclass(frozen=True)
class Peer:
    """A contestant.

    Attributes:
      maker: what makes it of a job, as `package.module:function`.
      packages: what must be installed.
      keeps_memory: as in `Job`.
    """

    maker: str
    packages: tuple[str, ...] = ()
    keeps_memory: bool = False

    @property
    def missing(self) -> list[str]:
        """Those of its packages that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]


TORCH = ("torch", "torchvision", "timm")
PEERS = {
    "zoo": Peer("zoo.bench.jax_nets:make_zoo", keeps_memory=True),
    "flax": Peer("zoo.bench.jax_nets:make_flax"),
    "keras": Peer("zoo.bench.keras_nets:make", ("keras",)),
    "torch": Peer("zoo.bench.torch_nets:make_eager", TORCH),
    "torch-compile": Peer("zoo.bench.torch_nets:make_compiled", TORCH),
}


def choose_peers(names: Sequence[str] | None = None) -> list[str]:
    """zoo and the named peers, or all that are installed, in the table's order.

    Raises:
      UserError: an unknown name, or a peer that is named and not installed.
    """
    if names is None:
        return [name for name, peer in PEERS.items() if not peer.missing]
    if unknown := [name for name in names if name not in PEERS]:
        raise UserError(f"no peer is called {unknown[0]!r}", f"choose out of {', '.join(PEERS)}")
    for name in names:
        if missing := PEERS[name].missing:
            raise UserError(f"{name} needs {', '.join(missing)}, not installed here", INSTALL)
    return [name for name in PEERS if name == "zoo" or name in names]


def make_jobs(names: Sequence[str], **task: Any) -> dict[str, Job]:
    """The same task, given as fields of `Job`, for each of the named contestants."""
    return {name: Job(PEERS[name].maker, keeps_memory=PEERS[name].keeps_memory, **task) for name in names}
