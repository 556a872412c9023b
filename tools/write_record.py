"""The reference figures of a net without auxiliary heads: runs the installed one in float64 and writes its record.

    python -m tools.write_record torchvision/resnet18    writes the two files of tests/fixtures/torchvision

Weights and images are those of `tests/support/oracle.py`. Figures have nine digits, those of features seven.
"""

import argparse
import gzip
import importlib.metadata
import json
from functools import partial

import numpy as np

from tests.support import live, oracle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="LIBRARY/NET")
    parser.add_argument("--size", type=int, default=224, help="native height and width")
    parser.add_argument("--small", type=int, default=120, help="those of the cheap evaluation and of the training")
    args = parser.parse_args()
    library, name = args.source.split("/")
    net = live.reference(args.source)()
    keys = [[key, list(value.shape)] for key, value in net.state_dict().items()]
    path = oracle.FIXTURES / library / f"{name}.keys.json.gz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(_compact(keys), mtime=0))
    about = {
        "name": name,
        "source": library,
        "version": importlib.metadata.version(library),
        "torch": importlib.metadata.version("torch").partition("+")[0],
        "params": sum(value.numel() for value in net.parameters()),
        "input_size": args.size,
        "state_dict": path.name,
        "n_keys": len(keys),
    }
    record = about | measure(net, args.size, args.small)
    path.with_name(f"{name}.json").write_bytes(_compact(record))


def measure(net, size: int, small: int) -> dict:
    """Everything that `tests/support/proof.py` reads, after the weights are drawn."""
    import torch

    net.double().load_state_dict({k: torch.from_numpy(oracle.tensor(k, v.shape)) for k, v in net.state_dict().items()})
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    scales = _scale_statistics(net, size)
    evaluation = _evaluate(net, size)
    return {"bn_scale": scales, "macs": evaluation.pop("macs"), "eval": evaluation} | {
        "eval_small": {part: value for part, value in _evaluate(net, small).items() if part in ("input", "logits")},
        "train": _train(net, small),
    }


def _images(count: int, size: int):
    import torch

    return torch.from_numpy(oracle.tensor("input", (count, 3, size, size))).double()


def _scale_statistics(net, size: int) -> dict[str, int]:
    """Running statistics near what each normalisation sees at the native size: half the logarithm of its deviation."""
    import torch

    scales: dict[str, int] = {}

    def scale(norm, inputs, *, name: str) -> None:
        found = round(float(torch.log(inputs[0].var((0, 2, 3), correction=0).mean())) / np.log(4))
        if found:
            scales[name] = found
        for leaf in ("running_mean", "running_var"):
            value = getattr(norm, leaf)
            value.copy_(torch.from_numpy(oracle.tensor(f"{name}.{leaf}", value.shape, found)))

    norms = [(name, norm) for name, norm in net.named_modules() if isinstance(norm, torch.nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(partial(scale, name=name)) for name, norm in norms]
    with torch.no_grad():
        net.eval()(_images(2, size))
    for hook in hooks:
        hook.remove()
    return scales


def _evaluate(net, size: int) -> dict:
    """Logits, and what the modules and their children answer when they are first called."""
    import torch

    features: dict[str, list] = {}
    macs = 0

    def note(module, inputs, output, *, name: str) -> None:
        nonlocal macs
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            macs += output[0].numel() * module.weight[0].numel()
        if name.count(".") < 2 and name and name not in features and not isinstance(module, torch.nn.Dropout):
            ends = (output[0, :4, 0, 0], output[0, :4, -1, -1]) if output.ndim == 4 else (output[0, :4], output[0, -4:])
            numbers = (_round(x, 7) for x in (output.mean(), output.std(correction=0), *ends))
            features[name] = [list(output.shape), *numbers]

    hooks = [module.register_forward_hook(partial(note, name=name)) for name, module in net.named_modules()]
    images = _images(2, size)
    with torch.no_grad():
        logits = net.eval()(images)
    for hook in hooks:
        hook.remove()
    return {"input": list(images.shape), "logits": _logits(logits), "features": features, "macs": macs}


def _train(net, size: int) -> dict:
    import torch

    images = _images(4, size).requires_grad_()
    labels = torch.arange(4)
    logits = net.train()(images)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    grads = {key: value.grad for key, value in net.named_parameters()}
    norms = [name for name, module in net.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    buffers = dict(net.named_buffers())

    def statistics(name: str) -> dict:
        return {leaf: _vector(buffers[f"{name}.{leaf}"]) for leaf in ("running_mean", "running_var")}

    return {
        "input": list(images.shape),
        "labels": labels.tolist(),
        "aux_weights": {},
        "logits": {"main": _logits(logits.detach())},
        "loss": {"main": _round(loss), "total": _round(loss)},
        "grad_l2": _round(torch.sqrt(sum((grad**2).sum() for grad in grads.values()))),
        "grad_input_l2": _round(images.grad.norm()),
        "grads": {
            role: {"key": key, "mean": _round(grads[key].mean())} | _vector(grads[key])
            for role, key in _roles(net, norms).items()
        },
        "bn": {name: statistics(name) for name in norms and (norms[0], norms[len(norms) // 2], norms[-1])},
    }


def _roles(net, norms: list[str]) -> dict[str, str]:
    """The five tensors whose gradients are kept; the last layer with filters is the classifier."""
    filters = [key.removesuffix(".weight") for key, value in net.named_parameters() if value.ndim > 1]
    convolutions, classifier = [name for name in filters if net.get_parameter(f"{name}.weight").ndim == 4], filters[-1]
    convolutions = [name for name in convolutions if name != classifier]
    middle, last = convolutions[len(convolutions) // 2], convolutions[-1]
    if norms:
        biases = {"middle_bn_weight": f"{norms[len(norms) // 2]}.weight", "last_bn_bias": f"{norms[-1]}.bias"}
    else:
        biases = {"middle_conv_bias": f"{middle}.bias", "last_conv_bias": f"{last}.bias"}
    first = {"first_conv": f"{convolutions[0]}.weight", "middle_conv": f"{middle}.weight"}
    return first | biases | {"classifier": f"{classifier}.weight"}


def _logits(logits) -> dict:
    figures = {"l2": logits.norm(dim=1), "mean": logits.mean(1), "std": logits.std(1, correction=0)}
    return {
        "first8": _round(logits[:, :8]),
        **{kind: _round(value) for kind, value in figures.items()},
        "argmax": logits.argmax(1).tolist(),
    }


def _vector(tensor) -> dict:
    return {"l2": _round(tensor.norm()), "first4": _round(tensor.flatten()[:4])}


def _round(tensor, digits: int = 9):
    """Nested lists of floats of so many significant digits."""
    values = tensor.tolist()
    if isinstance(values, float):
        return float(f"{values:.{digits}g}")
    return [_round(part, digits) for part in tensor]


def _compact(value) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


if __name__ == "__main__":
    main()
