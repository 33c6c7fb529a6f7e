"""A picture of how well a latency table predicts whole networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from constrained_nas.latency import Validation
from constrained_nas.reports.networks import save_figure


def draw_validation(validation: Validation, path: Path, title: str = "") -> None:
    """Draw measured over estimated latency: a dot a network with the interval of its median, equality, and the fitted line.

    Raises as :func:`save_figure`.
    """
    figure = Figure(figsize=(5.6, 5.4), layout="constrained")
    x, y = (np.array([getattr(one, what) for one in validation.networks]) for what in ("estimated", "measured"))
    ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
    ends += np.array([-0.06, 0.06]) * np.ptp(ends)
    axes = figure.add_subplot()
    axes.plot(ends, ends, color="0.6", lw=1, ls=(0, (5, 3)), label="measured = estimated", zorder=1)
    sign = "−" if validation.intercept < 0 else "+"
    line = f"measured = {validation.slope:.3f} × estimated {sign} {abs(validation.intercept):.2g} ms"
    axes.plot(ends, validation.intercept + validation.slope * ends, color="#d9741a", lw=1.4, label=line, zorder=2)
    bars = np.array([[one.measured - one.low, one.high - one.measured] for one in validation.networks]).clip(0).T
    axes.errorbar(x, y, bars, fmt="none", ecolor="#1f6fb2", elinewidth=1, alpha=0.7, zorder=3)
    axes.scatter(x, y, s=34, color="#1f6fb2", edgecolor="white", linewidth=0.8, zorder=4, label=f"{len(x)} networks (median, 95 %)")
    axes.set(xlim=ends, ylim=ends, xlabel="estimated by the table (ms)", ylabel="measured (ms)", aspect="equal")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    summary = f"R² {validation.r_squared:.4f}\nworst error {validation.worst:.1%}\nratio {validation.ratio:.3f}"
    axes.text(0.97, 0.05, summary, transform=axes.transAxes, ha="right", va="bottom", fontsize=10)
    threads = "one thread" if validation.threads == 1 else f"{validation.threads} threads"
    conditions = f"{validation.device}, {validation.runtime}, {threads}, batch {validation.batch}"
    axes.set_title(f"{title or validation.space}\n{conditions}", fontsize=9)
    save_figure(figure, path)
