"""What torch says: values and gradients of every loss that it has, in float64.

`python -m tests.losses.torch_figures` writes them to `golden.json` beside this file, from seed 0; the parity tests
compare other seeds live. Where torch has no function for a loss, its gradient is torch's of the formula.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "golden.json"
CLASSES = 4


def figures(seed: int) -> dict[str, dict[str, Any]]:
    """By name: the loss, its options, its arguments, and torch's loss and gradient, as lists and numbers."""
    import torch
    import torch.nn.functional as F

    rng = np.random.default_rng(seed)

    def one_hot(y):
        return F.one_hot(y, CLASSES).double()

    real = 2 * rng.normal(size=12), rng.normal(size=12)
    real[0][:4] = real[1][:4] + np.array([0.0, 1.0, -0.5, 1e4])  # the target, two joints, far out
    binary = 3 * rng.normal(size=(5, CLASSES)), rng.integers(0, 2, (5, CLASSES))
    binary[0][0] = [1e4, -1e4, 1e4, -1e4]
    soft = binary[0], rng.uniform(size=(5, CLASSES))
    classes = 3 * rng.normal(size=(6, CLASSES)), np.array([0, 1, 2, 3, 1, *rng.integers(0, CLASSES, 1)])
    classes[0][0] = [1e4, -1e4, 0, 1e4]
    distributions = classes[0][1:], rng.dirichlet(np.ones(CLASSES), 5)
    pixels = rng.normal(size=(2, CLASSES, 3)), rng.integers(0, CLASSES, (2, 3))
    # Wrong with certainty, then in between; right with certainty has slope 0 in torch, which is not the formula's.
    probabilities = np.array([0.0, 1.0, *rng.uniform(size=6)]), np.array([1, 0, *rng.integers(0, 2, 6)])
    margins = binary[0][1:], 2 * binary[1][1:] - 1
    targets = distributions[1].copy()
    targets[0] = [0, 1, 0, 0]
    divergence = np.log(rng.dirichlet(np.ones(CLASSES), 5)), targets
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.double)

    def cross_entropy(z, y, **options):
        return F.cross_entropy(z, y, reduction="none", **options)

    def bce(z, y, **options):
        return F.binary_cross_entropy_with_logits(z, y.double(), reduction="none", **options)

    def focal(z, y, alpha, gamma):
        p = torch.sigmoid(z)
        right = y * p + (1 - y) * (1 - p)
        return (alpha * y + (1 - alpha) * (1 - y)) * (1 - right) ** gamma * bce(z, y)

    def dice(z, y, smooth):
        p, t = z.softmax(-1), one_hot(y)
        return 1 - (((p * t).sum(1) + smooth) / ((p + t).sum(1) / 2 + smooth)).mean(-1)

    segments = np.moveaxis(pixels[0], 1, -1), pixels[1]
    table = {
        "l1": (real, "l1", {}, lambda p, t: F.l1_loss(p, t, reduction="none")),
        "l2": (real, "l2", {}, lambda p, t: F.mse_loss(p, t, reduction="none")),
        "log_cosh": (
            (real[0][4:], real[1][4:]),
            "log_cosh",
            {},
            lambda p, t: torch.log(torch.cosh(p - t)),
        ),
        "cross entropy": (classes, "softmax_cross_entropy", {}, cross_entropy),
        "cross entropy, all options": (
            classes,
            "softmax_cross_entropy",
            {"label_smoothing": 0.1, "class_weights": weight.tolist(), "ignore_label": 1},
            lambda z, y: cross_entropy(z, y, label_smoothing=0.1, weight=weight, ignore_index=1),
        ),
        "cross entropy, soft labels": (
            distributions,
            "softmax_cross_entropy",
            {"label_smoothing": 0.2, "class_weights": weight.tolist()},
            lambda z, y: cross_entropy(z, y, label_smoothing=0.2, weight=weight),
        ),
        "cross entropy, classes second": (
            pixels,
            "softmax_cross_entropy",
            {"label_smoothing": 0.1, "axis": 1},
            lambda z, y: cross_entropy(z, y, label_smoothing=0.1),
        ),
        "poly loss": (
            classes,
            "poly_loss",
            {"epsilon": 1.5},
            lambda z, y: cross_entropy(z, y) + 1.5 * (1 - (z.softmax(-1) * one_hot(y)).sum(-1)),
        ),
        "KL divergence": (
            divergence,
            "kl_divergence",
            {},
            lambda q, t: F.kl_div(q, t, reduction="none").sum(-1),
        ),
        "squared error of softmax": (
            classes,
            "mean_squared_error_with_activation",
            {},
            lambda z, y: F.mse_loss(z.softmax(-1), one_hot(y), reduction="none").mean(-1),
        ),
        "squared error of sigmoid": (
            classes,
            "mean_squared_error_with_activation",
            {"activation": "sigmoid"},
            lambda z, y: F.mse_loss(z.sigmoid(), one_hot(y), reduction="none").mean(-1),
        ),
        "dice": (segments, "dice", {"smooth": 0.5}, lambda z, y: dice(z, y, 0.5)),
        "binary cross entropy": (binary, "binary_cross_entropy", {}, bce),
        "binary cross entropy, soft labels and weights": (
            soft,
            "binary_cross_entropy",
            {"pos_weight": weight.tolist()},
            lambda z, y: bce(z, y, pos_weight=weight),
        ),
        "binary cross entropy of probabilities": (
            probabilities,
            "binary_cross_entropy_with_probabilities",
            {},
            lambda p, y: F.binary_cross_entropy(p, y.double(), reduction="none"),
        ),
        "multi-label": (
            binary,
            "multilabel_cross_entropy",
            {},
            lambda z, y: F.multilabel_soft_margin_loss(z, y, reduction="none"),
        ),
        "focal": (soft, "focal", {"alpha": 0.25, "gamma": 2.0}, lambda z, y: focal(z, y, 0.25, 2.0)),
        "hinge": (
            margins,
            "hinge",
            {},
            lambda f, y: F.margin_ranking_loss(f, torch.zeros_like(f), y, margin=1.0, reduction="none"),
        ),
    }
    for beta in (0.0, 0.5, 1.0):
        table[f"smooth_l1, {beta}"] = (
            real,
            "smooth_l1",
            {"beta": beta},
            lambda p, t, b=beta: F.smooth_l1_loss(p, t, beta=b, reduction="none"),
        )
    for delta in (0.5, 1.0):
        table[f"huber, {delta}"] = (
            real,
            "huber",
            {"delta": delta},
            lambda p, t, d=delta: F.huber_loss(p, t, delta=d, reduction="none"),
        )

    def entry(arguments, loss, options, function):
        first = torch.tensor(arguments[0], dtype=torch.double, requires_grad=True)
        value = function(first, torch.tensor(arguments[1]))
        value.sum().backward()
        return {
            "loss": loss,
            "options": options,
            "arguments": [a.tolist() for a in arguments],
            "value": value.tolist(),
            "gradient": first.grad.tolist(),
        }

    result = {name: entry(*row) for name, row in table.items()}
    mean = F.cross_entropy(torch.tensor(classes[0]), torch.tensor(classes[1]), weight=weight, ignore_index=1)
    result["cross entropy, all options"]["weighted mean"] = mean.item()
    return result


def arrays(entry: dict[str, Any]) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Arguments and options of an entry, with lists turned into arrays."""
    options = {k: np.array(v) if isinstance(v, list) else v for k, v in entry["options"].items()}
    return [np.array(a) for a in entry["arguments"]], options


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(figures(0), separators=(",", ":")) + "\n")
