"""Batch normalisation: the pure function with its derivative, the Linen module, running statistics, folding."""

from zoo.norm.folding import Folded, fold
from zoo.norm.forward_and_backward import AxisName, batch_norm
from zoo.norm.module import BatchNorm, from_torch_momentum
from zoo.norm.options import Statistics, StatisticsByLayer, batch_norm_options
from zoo.norm.six_steps import batch_norm_backward, batch_norm_forward
from zoo.norm.statistics import LayerStatistics, compare_statistics, format_statistics, recalibrate
