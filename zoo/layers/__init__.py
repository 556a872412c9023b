"""What the families share: convolution, dense layer, pools, local response normalisation, initialisers.

All layers take and give NHWC, pad by explicit integers (`SAME` shifts the grid of strided windows against torch's),
compute in the type of their input, sum in float32 at least, and store parameters in the model's `param_dtype`
(`stored_dtype`).
"""

from zoo.layers.activation import relu6
from zoo.layers.addition import add_relu
from zoo.layers.convolution import Conv, Pair, pair, take_every
from zoo.layers.dense import Linear, dropout
from zoo.layers.engine import choose_compiler_options
from zoo.layers.initialisers import he_fan_in, he_fan_out, torch_default
from zoo.layers.materialise import materialise
from zoo.layers.parameters import add_bias, stored_dtype, widen
from zoo.layers.pooling import adaptive_avg_pool, avg_pool, global_avg_pool, max_pool
from zoo.layers.rematerialisation import rematerialise
from zoo.layers.response_norm import local_response_norm
