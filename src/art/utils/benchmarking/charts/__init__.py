"""Charts of what models earned, from the table that `load_trajectories` gives. Matplotlib draws them.

Each comes from the module of its own name, so that importing that one later does not put a module in its place.
"""

from art.utils.benchmarking.charts.percentage_comparison_bar_chart import percentage_comparison_bar_chart
from art.utils.benchmarking.charts.training_progress_chart import training_progress_chart

__all__ = ["percentage_comparison_bar_chart", "training_progress_chart"]
