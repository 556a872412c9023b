"""Initialisers of kernels under the names of their sources."""

import flax.linen as nn

he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al. 2015, arXiv:1502.01852, eq. 14
he_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # the same paper, eq. 10
torch_default = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # torch.nn.Linear's and Conv2d's kernels
