"""torch's nets, torchvision's or timm's, channels last, plain and through `torch.compile`."""

import os
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional as F

from zoo.bench.job import LEARNING_RATE, MOMENTUM, Contestant, Job
from zoo.errors import UserError
from zoo.weights.repository import TIMM

AUX_WEIGHTS = {"googlenet": (0.3, 0.3), "inception_v3": (0.4,)}  # of torchvision's heads, after the logits
CIFAR_DEPTHS = {f"resnet{6 * n + 2}": n for n in (3, 5, 7, 9, 18)}


def make_eager(job: Job) -> Contestant:
    """The net as it is; for inference with its normalisations folded, where torch.fx can."""
    return _make(job, lambda net: net)


def make_compiled(job: Job) -> Contestant:
    """The same through `torch.compile`, tuned where there is an accelerator; on a CPU the default is the faster."""
    mode = "default" if _find_device() == "cpu" else "max-autotune-no-cudagraphs"
    contestant = _make(job, lambda net: torch.compile(net, mode=mode))
    first, second = _time(contestant.step), _time(contestant.step)
    return replace(contestant, compile_seconds=first - second)


def make_net(name: str) -> nn.Module:
    """The untrained net.

    Raises:
      UserError: neither torchvision nor timm has it, and it is no ResNet of CIFAR.
    """
    if name in CIFAR_DEPTHS:
        return CifarResNet(CIFAR_DEPTHS[name])
    models = import_torchvision().models
    import timm  # which imports torchvision

    if name in models.list_models():
        heads = {"aux_logits": True, "init_weights": False} if name in AUX_WEIGHTS else {}
        return models.get_model(name, weights=None, **heads)
    if name in TIMM or timm.is_model(name):
        return timm.create_model(TIMM.get(name, name), pretrained=False)
    raise UserError(f"neither torchvision nor timm has {name}")


def import_torchvision() -> ModuleType:
    """The module. Built for CUDA it misses two operators beside a torch for CPUs alone: they are declared for it."""
    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.library = library  # kept alive: the declarations go with it
    return torchvision


class CifarBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (He et al. 2015, section 4.2, option A)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.stride, self.new = (1, 0) if inputs == width else (2, width - inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.new:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))
        return F.relu(y + x, inplace=True)


class CifarResNet(nn.Sequential):
    """6n + 2 layers, with torchvision's names."""

    def __init__(self, n: int) -> None:
        stem = {
            "conv1": nn.Conv2d(3, 16, 3, 1, 1, bias=False),
            "bn1": nn.BatchNorm2d(16),
            "relu": nn.ReLU(inplace=True),
        }
        stages = {
            f"layer{i + 1}": nn.Sequential(*map(CifarBlock, [inputs] + [width] * (n - 1), [width] * n))
            for i, (inputs, width) in enumerate(((16, 16), (16, 32), (32, 64)))
        }
        head = {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(64, 10)}
        super().__init__(OrderedDict[str, nn.Module](**stem, **stages, **head))


def _find_device() -> str:
    """Where JAX's contestants compute."""
    return "cuda" if torch.cuda.is_available() and os.environ.get("JAX_PLATFORMS", "cuda") != "cpu" else "cpu"


def _make(job: Job, compile_net: Callable[[nn.Module], Any]) -> Contestant:
    torch.set_num_threads(len(job.cores))
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    device = _find_device()
    net, note = make_net(job.model), ""
    images = torch.randn(job.batch, 3, job.size, job.size, device=device).to(memory_format=torch.channels_last)
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    if job.dtype == "bfloat16":
        autocast = lambda: torch.autocast(device, torch.bfloat16)  # noqa: E731
    if job.mode == "infer":
        net, note = fold(net.eval())
        call = compile_net(net.to(device, memory_format=torch.channels_last))

        def infer() -> None:
            with torch.inference_mode(), autocast():
                call(images)

        step = infer
    else:
        net = net.train().to(device, memory_format=torch.channels_last)
        call, optimizer = compile_net(net), torch.optim.SGD(net.parameters(), LEARNING_RATE, MOMENTUM, fused=True)
        labels = torch.arange(job.batch, device=device) % 10

        def train() -> None:
            optimizer.zero_grad(set_to_none=True)
            with autocast():
                answer = call(images)
                heads = answer if isinstance(answer, tuple) else (answer,)
                weights = (1.0, *AUX_WEIGHTS.get(job.model, ()))
                loss = sum(w * F.cross_entropy(logits, labels) for w, logits in zip(weights, heads, strict=True))
            loss.backward()
            optimizer.step()

        step = train
    if device == "cpu":
        return Contestant(step, device, note=note)

    def wait() -> None:
        step()
        torch.cuda.synchronize()

    return Contestant(wait, torch.cuda.get_device_name(), note=note)


def fold(net: nn.Module) -> tuple[nn.Module, str]:
    """The net with its normalisations folded, and how many could not be: those that no convolution stands before."""
    import_torchvision()  # before timm does
    count = sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    _split_activations(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folded = fuse(net)
    modules = dict(folded.named_modules())
    left = sum(isinstance(modules.get(node.target), nn.BatchNorm2d) for node in folded.graph.nodes)
    return folded, f"torch.fx leaves {left} of {count} normalisations unfolded" if left else ""


def _split_activations(net: nn.Module) -> None:
    """Makes two modules of each of timm's normalisations, which activate as well: torch.fx folds torch's own alone."""
    from timm.layers import BatchNormAct2d

    for name, module in net.named_children():
        if isinstance(module, BatchNormAct2d):
            plain = nn.BatchNorm2d(module.num_features, module.eps)
            plain.load_state_dict(module.state_dict())
            setattr(net, name, nn.Sequential(plain.eval(), module.drop, module.act))
        else:
            _split_activations(module)


def _time(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start
