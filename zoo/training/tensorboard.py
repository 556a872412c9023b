"""The metrics of a run for TensorBoard, by tensorboardX (the extra `tensorboard`)."""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from zoo.training.metrics import Epoch, Step


def check_installed() -> None:
    """Raises `ModuleNotFoundError` where tensorboardX is missing."""
    if find_spec("tensorboardX") is None:
        raise ModuleNotFoundError("tensorboardX is missing: `pip install 'jax-cnn-zoo[tensorboard]'` brings it.")


class TensorBoard:
    """The event files of a run; what is in them from `step` on, of a run that was interrupted, counts no more."""

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=step or None, flush_secs=10)

    def write(self, row: Epoch | Step, step: int) -> None:
        """The numbers of a line of metrics.jsonl, after so many steps."""
        kind = type(row).__name__.lower()
        for name, value in asdict(row).items():
            if name not in ("epoch", "step") and value is not None:
                self.writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Writes what waits, and ends the writer's thread."""
        self.writer.close()
