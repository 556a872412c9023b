"""Losses in the style of optax with the meanings of torch, each with its derivative in closed form under it.

A loss is a function `(predictions or logits, targets, *, options)` that returns one number per example;
`reduce` turns them into one number, and `gradient_of[loss]` is the derivative of the loss.
"""

from zoo.losses.binary import (
    binary_cross_entropy,
    binary_cross_entropy_with_probabilities,
    focal,
    hinge,
    multilabel_cross_entropy,
)
from zoo.losses.classification import (
    kl_divergence,
    mean_squared_error_with_activation,
    poly_loss,
    softmax_cross_entropy,
)
from zoo.losses.gradient import gradient_of
from zoo.losses.logistic import LogisticFit, fit_logistic_regression, logistic_gradient, logistic_hessian, logistic_loss
from zoo.losses.reduction import kernel_mask, reduce, weight_decay, with_auxiliary
from zoo.losses.regression import huber, l1, l2, log_cosh, smooth_l1
from zoo.losses.segmentation import dice

# Ordered as a table of contents.
__all__ = [  # noqa: RUF022
    # between real numbers
    "l1",
    "l2",
    "smooth_l1",
    "huber",
    "log_cosh",
    # between K classes
    "softmax_cross_entropy",
    "poly_loss",
    "kl_divergence",
    "mean_squared_error_with_activation",
    "dice",
    # of yes-or-no decisions
    "binary_cross_entropy",
    "binary_cross_entropy_with_probabilities",
    "multilabel_cross_entropy",
    "focal",
    "hinge",
    # the derivative of each
    "gradient_of",
    # logistic regression
    "logistic_loss",
    "logistic_gradient",
    "logistic_hessian",
    "fit_logistic_regression",
    "LogisticFit",
    # what is minimised
    "reduce",
    "with_auxiliary",
    "kernel_mask",
    "weight_decay",
]
