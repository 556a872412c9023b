"""Files as people's scripts leave them, written by torch: `python -m tests.support.torch_files` writes the fixtures."""

from pathlib import Path

import ml_dtypes
import numpy as np

FOLDER = Path(__file__).parents[1] / "fixtures" / "torch_files"


def arrays() -> dict[str, np.ndarray]:
    """What the state dicts in the files hold: a kernel in torch's order, a view, a transposed one, every type."""
    rising = np.arange(24, dtype=np.float32)
    return {
        "conv.weight": rising.reshape(2, 3, 2, 2) / 8,
        "conv.bias": rising[5:7],
        "fc.weight": rising[:6].reshape(2, 3).T,
        "half": np.array([0.5, -2.0], np.float16),
        "brain": np.array([0.5, -2.0, 3.0], ml_dtypes.bfloat16),
        "double": np.array([[1e300]], np.float64),
        "bn.num_batches_tracked": np.array(7, np.int64),
        "mask": np.array([True, False]),
        "bytes": np.array([0, 255], np.uint8),
        "empty": np.zeros((0, 3), np.float32),
    }


def tensors():
    """The same as torch's, the bias being a part of a larger storage, the dense weight a transposed one."""
    import torch

    state = {k: torch.from_numpy(v.copy()) for k, v in arrays().items() if k != "brain"}
    state["brain"] = torch.tensor([0.5, -2.0, 3.0], dtype=torch.bfloat16)
    state["conv.bias"] = torch.arange(24, dtype=torch.float32)[5:7]
    state["fc.weight"] = torch.arange(6, dtype=torch.float32).reshape(2, 3).T
    state["conv.weight"] = torch.nn.Parameter(state["conv.weight"])
    return {k: state[k] for k in arrays()}


def make_net():
    """A net whose state dict has two convolutions, a normalisation and a buffer that is not kept."""
    import torch

    inner = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1, bias=False), torch.nn.BatchNorm2d(2))
    net = torch.nn.Sequential(inner, torch.nn.ReLU(), torch.nn.Conv2d(2, 1, 1))
    net.register_buffer("passing", torch.zeros(1), persistent=False)
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.fill_(i + 1)
    return net


NET = {  # what make_net().state_dict() holds
    "0.0.weight": np.full((2, 1, 1, 1), 1, np.float32),
    "0.1.weight": np.full(2, 2, np.float32),
    "0.1.bias": np.full(2, 3, np.float32),
    "0.1.running_mean": np.zeros(2, np.float32),
    "0.1.running_var": np.ones(2, np.float32),
    "0.1.num_batches_tracked": np.array(0, np.int64),
    "2.weight": np.full((1, 2, 1, 1), 4, np.float32),
    "2.bias": np.full(1, 5, np.float32),
}


def write(folder: Path) -> None:
    """What training scripts, model collections and hubs write."""
    import argparse

    import torch

    folder.mkdir(parents=True, exist_ok=True)
    state, net = tensors(), make_net()
    torch.save(state, folder / "new.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(state, folder / "pytorch_model.bin", pickle_protocol=4)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 1, 1, 1)).sum().backward()
    optimizer.step()
    average = torch.optim.swa_utils.AveragedModel(make_net())
    training = {
        "epoch": 3,
        "arch": "resnet20",
        "state_dict": {f"module.{k}": v for k, v in make_net().state_dict().items()},
        "best_acc1": torch.tensor(76.1),
        "top5": np.float64(93.0),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1, data=Path("pictures")),
        "state_dict_ema": average.state_dict(),
    }
    torch.save(training, folder / "model_best.pth.tar")
    torch.save(training, folder / "epoch=3.ckpt", _use_new_zipfile_serialization=False)
    torch.save(make_net(), folder / "whole.pt")


def write_sources(folder: Path) -> None:
    """Files with source code in them, which names the place where torch lies: no fixtures."""
    import torch

    torch.save(make_net(), folder / "whole_old.pt", _use_new_zipfile_serialization=False)
    torch.jit.script(make_net()).save(str(folder / "script.pt"))


if __name__ == "__main__":
    write(FOLDER)
