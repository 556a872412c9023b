"""Two finished runs that several files look at."""

import json

import pytest

import zoo
from zoo.training import RunFolder, TrainConfig
from zoo.weights import read

MLP = TrainConfig("mlp", epochs=2)
NORMALISED = TrainConfig("convnet_bn", epochs=2, batch_size=355)


def read_run(folder):
    """The bytes of every weight, and the metrics without the two that are times and the digest of all."""
    rows = [json.loads(line) for line in RunFolder(folder).metrics_path.read_text().splitlines()]
    for row in rows:
        for name in ("seconds", "images_per_second", "digest"):
            row.pop(name, None)
    weights = {name: array.tobytes() for name, array in read(RunFolder(folder).weights_path).items()}
    return weights, rows


@pytest.fixture(scope="session")
def mlp(tmp_path_factory):
    """A finished run and the progress of all its steps."""
    folder = tmp_path_factory.mktemp("runs") / "mlp"
    seen = []
    return folder, zoo.fit(MLP, folder, on_step=lambda progress, state: seen.append(progress)), seen


@pytest.fixture(scope="session")
def normalised(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "normalised"
    return folder, zoo.fit(NORMALISED, folder)
