"""The figures of a report, each a function of the record."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from unlearning.record import BoundSearch, ClaimFacts, Evidence, Histogram, Row, TradeOffCurve, Wealth
from unlearning.tradeoff import GaussianTradeOff

from .drawing import (
    BOUND,
    FAINT,
    INK,
    NOTHING,
    PROMISE,
    UNLEARNED,
    Lanes,
    axes_at,
    decades,
    legend_above,
    new_figure,
    style,
    to_svg,
)
from .readings import achieved_epsilon, claimed, epsilon_lower, from_files, is_doing_nothing, noop_epsilon
from .text import printable

_MOST_POINTS, _END_POINTS = 200, 40  # of a curve: evenly, and more where logarithms enlarge
_DODGE = (0.0, 0.17, -0.17, 0.0)  # so that marks of equal ε stay visible
_CLAIM_MARK: dict[str, Any] = {"marker": "d", "color": PROMISE, "markersize": 6.5}
_BOUND_MARK: dict[str, Any] = {"marker": ">", "color": BOUND, "markersize": 6.5}
_ACHIEVED_MARK: dict[str, Any] = {"marker": "o", "color": UNLEARNED, "markersize": 6.5}
_NOOP_MARK: dict[str, Any] = {"marker": "x", "color": NOTHING, "markersize": 6.5, "markeredgewidth": 1.8}


def comparison(evidence: Evidence) -> str:
    """Draw claimed ε, achieved ε, the ε that was refuted, and the ε of doing nothing, one line a row."""
    rows = evidence.rows
    values = [[row.claim.epsilon, epsilon_lower(row), achieved_epsilon(row), noop_epsilon(row)] for row in rows]
    marks = {
        "claimed ε": _CLAIM_MARK,
        "ε lower bound found": _BOUND_MARK,
        "achieved ε": _ACHIEVED_MARK,
        "ε of doing nothing": _NOOP_MARK,
    }
    return _lines_of_marks(rows, values, marks, "ε at the claim’s δ (no unit, logarithmic)", "comparison")


def reach(evidence: Evidence) -> str:
    """Draw the largest distances of unlearned and original models and the largest certified Δ, one line a row."""
    rows = evidence.rows
    values: list[list[float | None]] = []
    for row in rows:
        found = row.distances
        values.append([
            found.unlearned[-1] if found and found.unlearned else None,
            found.sensitivity_upper[-1] if found and found.sensitivity_upper else None,
            found.original[-1] if found and found.original else None,
        ])
    marks = {"unlearned": _ACHIEVED_MARK, "certified Δ": _CLAIM_MARK, "doing nothing": _NOOP_MARK}
    return _lines_of_marks(
        rows, values, marks, "distance to the reference (units of the weights, logarithmic)", "reach"
    )


def _lines_of_marks(
    rows: Sequence[Row],
    values: Sequence[Sequence[float | None]],
    marks: dict[str, dict[str, Any]],
    title: str,
    salt: str,
) -> str:
    """One line a row, one mark a value, on a logarithmic axis with lanes for zero and infinity."""
    lanes = Lanes([value for own in values for value in own])
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 0.75 + 0.33 * len(rows), "constrained")
        axes = figure.add_subplot()
        for place, own in enumerate(values):
            known = [lanes.place(v) for v in own if v is not None]
            if known:
                axes.plot([min(known), max(known)], [place, place], color=FAINT, linewidth=0.7, zorder=1)
            for value, mark, dodge in zip(own, marks.values(), _DODGE, strict=False):
                if value is not None:
                    at = lanes.place(value)
                    axes.plot([at], [place + dodge], linestyle="none", clip_on=False, zorder=3, **mark)
        for name, mark in marks.items():
            axes.plot([], [], linestyle="none", label=name, **mark)
        axes.set_yticks(range(len(rows)), [shorten(row.name) for row in rows])
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        lanes.dress(axes)
        axes.set_xlabel(title)
        figure.legend(loc="outside upper left", ncols=4, columnspacing=1.6, handletextpad=0.2)
        return to_svg(figure, salt)


def tradeoff(row: Row, salt: str) -> str:
    """Draw the trade-off curves of a row between its claim and the diagonal: whole, and enlarged by logarithms."""
    curves = [c for c in row.curves if c.alpha]
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 3.62)
        whole, corner = axes_at(figure, 0.75, 0.62, 3.75, 0.5), axes_at(figure, 4.4, 0.62, 0.1, 0.5)
        floor = _floor(curves)
        for axes, grid in ((whole, np.linspace(0, 1, 201)), (corner, np.geomspace(10.0**floor, 1, 161))):
            axes.plot(grid, 1 - grid, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), label="indistinguishable")
            axes.plot(grid, claimed(row.claim)(grid), color=PROMISE, linewidth=1.5, label=_claim_name(row.claim))
            if row.distances is not None and row.distances.noop_mu is not None:
                exact = GaussianTradeOff(row.distances.noop_mu)(grid)
                axes.plot(grid, exact, color=NOTHING, linewidth=1.1, linestyle=(0, (1, 1.4)), label=_NOTHING_EXACT)
            for curve in curves:
                _draw_curve(axes, curve)
        whole.set(xlim=(0, 1), ylim=(0, 1))
        decades(corner, floor)
        other, one = ("reference", "released") if from_files(row) else ("retrained", "unlearned")
        whole.set_xlabel(f"α, probability of the event if {other}")
        whole.set_ylabel(f"β, probability of its complement\nif {one}")
        corner.set_xlabel("α (logarithmic)")
        corner.set_ylabel("β (logarithmic)")
        legend_above(figure, whole, 3)
        return to_svg(figure, salt)


_NOTHING_EXACT = "doing nothing, exact"


def distances(row: Row, salt: str) -> str:
    """Draw the distances to the reference, unlearned and doing nothing, against the sensitivity bound."""
    found = row.distances
    if found is None:
        raise ValueError(f"distances must be in the record to be drawn, row {row.name!r} has none.")
    budget = row.certificate.sensitivity_budget if row.certificate else None
    strips = [("bound Δ", found.sensitivity_upper, PROMISE)] if found.sensitivity_upper else []
    strips = [("unlearned", found.unlearned, UNLEARNED), ("doing nothing", found.original, NOTHING), *strips]
    lanes = Lanes([*(v for _, values, _ in strips for v in values or []), budget, row.noise_scale or None])
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 0.95 + 0.34 * len(strips))
        axes = axes_at(figure, 1.05, 0.36, 0.15, 0.5)
        for height, (_, values, colour) in enumerate(strips):
            _draw_strip(axes, [lanes.place(v) for v in values or []], height, colour)
        top = -0.62
        if budget is not None:
            axes.axvline(lanes.place(budget), color=PROMISE, linewidth=1.3, label="Δ that σ was fixed for")
        if row.noise_scale:
            axes.axvline(lanes.place(row.noise_scale), color=INK, linewidth=1, linestyle=(0, (1, 1.6)), label="σ")
        axes.set_ylim(len(strips) - 0.45, top)
        axes.set_yticks(range(len(strips)), [name for name, _, _ in strips])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        lanes.dress(axes)
        axes.set_xlabel("Euclidean distance to the reference, in units of the weights (logarithmic)")
        legend_above(figure, axes, 2)
        return to_svg(figure, salt)


def small_problems(search: BoundSearch, salt: str) -> str:
    """Draw d/Δ of every small problem that was searched for a breach, one line a law, against Δ."""
    laws = [law for law in search.laws if law.ratios]
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 0.85 + 0.3 * len(laws))
        axes = axes_at(figure, 1.35, 0.32, 0.15, 0.5)
        stroke: dict[str, Any] = {"linestyle": "none", "color": UNLEARNED, "clip_on": False}
        for height, law in enumerate(laws):
            axes.plot(law.ratios, [height] * len(law.ratios), marker="|", markersize=9, markeredgewidth=0.7, **stroke)
            axes.plot([max(law.ratios)], [height], marker="o", markersize=6, zorder=3, **stroke)
        axes.axvline(1.0, color=PROMISE, linewidth=1.3, label="Δ")
        axes.set(xlim=(-0.02, 1.06), ylim=(len(laws) - 0.5, -0.6))
        axes.set_yticks(range(len(laws)), [law.title for law in laws])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("distance to the reference, less rounding, over Δ")
        legend_above(figure, axes, 1)
        return to_svg(figure, salt)


def histograms(row: Row, salt: str) -> str:
    """Draw the histograms of the scores; those over the same bins share a panel."""
    panels: dict[tuple[float, ...], list[Histogram]] = {}
    for histogram in row.histograms:
        if len(histogram.edges) == len(histogram.counts) + 1 and histogram.counts:
            panels.setdefault(tuple(histogram.edges), []).append(histogram)
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 2.2 * max(1, len(panels)))
        for place, (edges, members) in enumerate(panels.items()):
            height = 2.2 * (len(panels) - 1)
            axes = axes_at(figure, 0.6, 0.12 + 2.2 * place, 1.95, 0.48 + height - 2.2 * place)
            for turn, histogram in enumerate(members):
                colour, dash = _histogram_style(histogram.label, turn)
                name = shorten(histogram.label, 24)
                axes.stairs(histogram.counts, edges, color=colour, linewidth=1.4, linestyle=dash, label=name)
            axes.set_ylim(bottom=0)
            axes.set_ylabel("runs a bin")
            axes.set_xlabel("score (units of the statistic)")
            legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
            for text in legend.get_texts():
                text.set_parse_math(False)
        return to_svg(figure, salt)


def wealth(facts: Wealth, salt: str) -> str:
    """Draw the wealth that was bet against the claim, pair by pair, against the wealth that refutes it."""
    needed = facts.log10_needed
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 2.3)
        axes = axes_at(figure, 0.75, 0.36, 0.15, 0.5)
        axes.axhline(needed, color=PROMISE, linewidth=1.3, label="refutes the claim")
        axes.axhline(0, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), label="at the start")
        for curve in facts.curves:
            nothing = is_doing_nothing(curve.label)
            axes.plot(
                [0, *curve.pairs],
                [0.0, *curve.log10_wealth],
                color=NOTHING if nothing else UNLEARNED,
                linestyle=(0, (5, 1.5)) if nothing else "-",
                linewidth=1.4,
                label=shorten(curve.label, 24),
            )
        values = [value for curve in facts.curves for value in curve.log10_wealth]
        top = max(1.15 * needed, min(1.05 * max(values, default=0.0), 2.5 * needed))
        axes.set(xlim=(0, facts.drawn), ylim=(max(-needed, min(0.0, *values, -0.1)), top))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("pairs of runs")
        axes.set_ylabel("log₁₀ wealth")
        legend_above(figure, axes, 4)
        return to_svg(figure, salt)


def shorten(text: str, most: int = 34) -> str:
    """Cut a name from outside to what a figure has room for."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def _claim_name(claim: ClaimFacts) -> str:
    return "claim (μ-GDP)" if claim.kind == "gaussian" and claim.mu is not None else "claim (ε, δ)"


def _floor(curves: Sequence[TradeOffCurve]) -> int:
    positive = [v for curve in curves for v in (*curve.band_alpha_upper, *curve.band_beta_upper) if 0 < v < 1]
    smallest = min(positive, default=1e-3)
    return max(-5, min(-2, math.floor(math.log10(smallest))))


def _thinned(first: Sequence[float], second: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    size = min(len(first), len(second))
    even = np.linspace(0, size - 1, min(size, _MOST_POINTS)).round()
    ends = [*range(min(size, _END_POINTS)), *range(max(0, size - _END_POINTS), size)]
    keep = np.union1d(even, ends).astype(np.intp) if size else np.zeros(0, dtype=np.intp)
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return np.clip(x[keep], 0, 1), np.clip(y[keep], 0, 1)


def _draw_curve(axes: Axes, curve: TradeOffCurve) -> None:
    nothing = is_doing_nothing(curve.label)
    colour = NOTHING if nothing else UNLEARNED
    label = shorten(curve.label)
    low_x, low_y = _thinned(curve.band_alpha_lower, curve.band_beta_lower)
    high_x, high_y = _thinned(curve.band_alpha_upper, curve.band_beta_upper)
    if low_x.size and high_x.size:
        axes.fill(
            np.concatenate([low_x, high_x[::-1]]),
            np.concatenate([low_y, high_y[::-1]]),
            color=colour,
            alpha=0.18,
            linewidth=0,
        )
    x, y = _thinned(curve.alpha, curve.beta)
    axes.plot(x, y, color=colour, linewidth=1.4, linestyle=(0, (5, 1.5)) if nothing else "-", label=label)


def _draw_strip(axes: Axes, places: Sequence[float], height: float, colour: str) -> None:
    if len(places) < 3:
        return
    axes.plot([places[0], places[-1]], [height, height], color=colour, linewidth=1.2, solid_capstyle="butt")
    axes.plot([places[1], places[-2]], [height, height], color=colour, linewidth=6, alpha=0.45, solid_capstyle="butt")
    for end in (places[0], places[-1]):
        axes.plot([end, end], [height - 0.16, height + 0.16], color=colour, linewidth=1.2)
    axes.plot([places[len(places) // 2]], [height], marker="o", color=colour, markersize=5.5)


def _histogram_style(label: str, turn: int) -> tuple[str, tuple[float, tuple[float, ...]] | str]:
    if is_doing_nothing(label):
        return NOTHING, (0, (5, 1.5))
    if "retrain" in label.lower() or "reference" in label.lower():
        return INK, (0, (1.2, 1.2))
    return (UNLEARNED, "-") if turn != 1 else (BOUND, "-")
