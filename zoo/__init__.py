"""Every classic CNN as a pure Flax Linen module, sharing one hand-derived batch normalisation.

`list_models`, `variant` and `create` find and make models, `pretrained` makes one with its trained variables; `init`
and `apply` are Flax's own. A name is loaded when it is first used, and JAX with it.
"""

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from zoo import data, errors, explain, layers, losses, models, norm, training, weights
    from zoo.models import create, list_models, variant
    from zoo.norm import (
        BatchNorm,
        batch_norm,
        batch_norm_options,
        compare_statistics,
        fold,
        from_torch_momentum,
        recalibrate,
    )
    from zoo.training import TrainConfig, TrainState, create_train_state, fit, make_eval_step, make_train_step
    from zoo.weights import from_keras, from_torch, load, predict, pretrained, save, to_keras, to_torch

__all__ = [
    "BatchNorm",
    "TrainConfig",
    "TrainState",
    "batch_norm",
    "batch_norm_options",
    "compare_statistics",
    "create",
    "create_train_state",
    "data",
    "errors",
    "explain",
    "fit",
    "fold",
    "from_keras",
    "from_torch",
    "from_torch_momentum",
    "layers",
    "list_models",
    "load",
    "losses",
    "make_eval_step",
    "make_train_step",
    "models",
    "norm",
    "predict",
    "pretrained",
    "recalibrate",
    "save",
    "to_keras",
    "to_torch",
    "training",
    "variant",
    "weights",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A wing, or what one of them makes public here."""
        if name == "__version__":
            from importlib import metadata

            return metadata.version("jax-cnn-zoo")
        if name not in __all__:
            raise AttributeError(f"module 'zoo' has no attribute {name!r}")
        if importlib.util.find_spec(f"zoo.{name}"):
            return importlib.import_module(f"zoo.{name}")
        wings = map(importlib.import_module, ("zoo.models", "zoo.norm", "zoo.weights", "zoo.training"))
        globals()[name] = next(getattr(wing, name) for wing in wings if hasattr(wing, name))
        return globals()[name]
