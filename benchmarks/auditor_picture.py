"""The picture of docs/auditors.md: how much of the true ε each bound finds, against the number of runs."""

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np

from reports.drawing import BOUND, FAINT, INK, NOTHING, PROMISE, UNLEARNED, axes_at, new_figure, style, to_svg

from .trials import AT_A_POINT


@dataclass(frozen=True, slots=True)
class Cell:
    """Mean bound of one law at one number of runs."""

    bound: str
    law: str
    runs: int
    share: float
    milliseconds: float


MARKS = {
    "z": (INK, "o", "-"),
    "student": (FAINT, "x", ":"),
    "joint": (UNLEARNED, "s", "-"),
    "clopper-pearson": (UNLEARNED, "v", "--"),
    "band": (BOUND, "D", "-"),
    "dkw": (BOUND, "^", ":"),
    "folds": (PROMISE, "P", "--"),
    "e-process": (NOTHING, "*", "-"),
}


def picture(cells: list[Cell]) -> str:
    """Share of the true ε against N, for the Gaussian."""
    with mpl.rc_context(style()):
        figure = new_figure(6.6, 3.6)
        axes = axes_at(figure, 0.62, 0.15, 1.55, 0.52)
        last = {}
        for bound, (colour, mark, line) in MARKS.items():
            points = sorted((c.runs, c.share) for c in cells if c.bound == bound and c.law == AT_A_POINT.name)
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, marker=mark, linestyle=line, linewidth=1.2, ms=5)
                last[bound] = points[-1]
        axes.set(xscale="log", ylim=(0, 1.03), xlabel="runs a side", ylabel="ε found over ε true")
        places = spread([share for _, share in last.values()], 0.062)
        for (bound, (runs, share)), place in zip(last.items(), places, strict=True):
            axes.annotate(
                bound,
                (runs, share),
                (1.03, place / 1.03),
                textcoords="axes fraction",
                va="center",
                color=MARKS[bound][0],
                annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.4},
            )
        return to_svg(figure, "auditors")


def spread(values: list[float], gap: float) -> list[float]:
    """The values moved apart until neighbours differ by `gap`, in the order given."""
    order = np.argsort(values)
    placed = np.array(values, dtype=float)
    for _ in range(200):
        for low, high in zip(order, order[1:], strict=False):
            short = gap - (placed[high] - placed[low])
            if short > 1e-9:
                placed[low], placed[high] = placed[low] - short / 2, placed[high] + short / 2
    return [float(value) for value in placed]
