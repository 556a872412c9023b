"""Every plot that zoo draws, by matplotlib (the extra `plot`), in one style: a page wide, and no taller than one."""

from zoo.plots.charts import plot_benchmark, plot_curves, plot_statistics
from zoo.plots.pictures import plot_augmentations, plot_confusion, plot_explanation, plot_mistakes
from zoo.plots.style import write_plot
