"""Pictures of attacks: ROC with a null band, AUCs by attack, rebuilt records, and noise against accuracy."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from unlearning.record import Row
from unlearning.record_attacks import AttackResult, Interval, Reconstruction, SweepPoint

from .attack_readings import KINDS, Contest, swept_attack, unlimited
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
from .figures import shorten
from .numerals import number

BAND_FAILURE_PROBABILITY = 0.05  # of the null band, at each false-positive rate
_BAND_POINTS = 60
_DOTTED, _DASHED = (0, (1.2, 1.4)), (0, (5, 1.5))
_LINES: dict[str, dict[str, Any]] = {
    "unlearned": {"color": UNLEARNED, "linestyle": "-"},
    "original": {"color": NOTHING, "linestyle": _DASHED},
    "retrained": {"color": INK, "linestyle": _DOTTED},
}
_MARKS: dict[str, dict[str, Any]] = {
    "unlearned": {"color": UNLEARNED, "marker": "o", "markersize": 5.5},
    "original": {"color": NOTHING, "marker": "x", "markersize": 6, "markeredgewidth": 1.7},
    "retrained": {"color": INK, "marker": "s", "markersize": 4.5, "markerfacecolor": "none"},
}
_ROWS: tuple[dict[str, Any], ...] = (
    {"color": UNLEARNED, "marker": "o"},
    {"color": NOTHING, "marker": "s"},
    {"color": BOUND, "marker": "^"},
    {"color": PROMISE, "marker": "D"},
    {"color": INK, "marker": "v"},
)


def null_band(positives: int, negatives: int, wrong: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Quantiles of the true-positive rate of guessing where `wrong` negatives are called, records independent.

    Where all orders of the scores are equally likely, the number of positives above the (i + 1)-th largest negative is
    beta-binomial, C(P, k)·B(k + i + 1, P − k + N − i)/B(i + 1, N − i).

    >>> low, high = null_band(100, 100, np.array([0, 49]))
    >>> low.tolist(), high.tolist()
    ([0.0, 0.36], [0.05, 0.63])
    """
    a, b = wrong[:, None] + 1.0, negatives - wrong[:, None].astype(np.float64)
    k = np.arange(positives + 1.0)[None]
    ways = gammaln(positives + 1) - gammaln(k + 1) - gammaln(positives - k + 1)
    reached = np.exp(ways + betaln(k + a, positives - k + b) - betaln(a, b)).cumsum(1)
    half = BAND_FAILURE_PROBABILITY / 2
    low, high = (reached < half).sum(1), (reached < 1 - half).sum(1)
    return low / positives, high / positives


def roc(contest: Contest, salt: str) -> str:
    """Draw the ROC of one attack on every kind of model, both axes logarithmic, over the band of guessing."""
    results = [contest.results[kind] for kind in KINDS if kind in contest.results]
    negatives = min(result.negatives for result in results)
    positives = min(result.positives for result in results)
    floor = max(-5.0, min(-1.0, -math.log10(2 * min(negatives, positives))))
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 3.5)
        axes = axes_at(figure, 1.0, 0.12, 2.2, 0.5)
        wrong = np.unique(np.geomspace(1, negatives, _BAND_POINTS).round().astype(np.int64)) - 1
        low, high = null_band(positives, negatives, wrong)
        at = np.maximum(wrong / negatives, 10.0**floor)
        axes.fill_between(at, np.maximum(low, 10.0**floor), high, color=FAINT, alpha=0.22, linewidth=0)
        grid = np.array([10.0**floor, 1.0])
        axes.plot(grid, grid, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        for result in results:
            _draw_roc(axes, result, floor)
        decades(axes, math.ceil(floor))
        axes.set(xlim=(10.0**floor, 1), ylim=(10.0**floor, 1))
        axes.set_xlabel("false positives: share of those never learned (logarithmic)")
        axes.set_ylabel("true positives: share of\nthe forgotten (logarithmic)")
        _name_curves(axes, [result.against for result in results])
        return to_svg(figure, salt)


def _draw_roc(axes: Axes, result: AttackResult, floor: float) -> None:
    false, true = np.asarray(result.roc_false), np.asarray(result.roc_true)
    edge = 10.0**floor
    inside = false >= edge
    left = float(true[~inside].max(initial=0.0))
    x, y = np.concatenate([[edge], false[inside]]), np.concatenate([[left], true[inside]])
    drawn = y > 0
    axes.plot(x[drawn], y[drawn], drawstyle="steps-post", linewidth=1.5, **_LINES[result.against])


def _name_curves(axes: Axes, kinds: Sequence[str]) -> None:
    """Name the curves beside the axes, in the order of every legend: at their ends names would lie on each other."""
    names: list[tuple[str, dict[str, Any]]] = [
        ("guessing", {"color": FAINT, "linestyle": (0, (4, 3)), "linewidth": 0.8}),
        *((KINDS[kind], _LINES[kind]) for kind in kinds),
    ]
    for place, (name, line) in enumerate(names):
        height = 0.86 - 0.1 * place
        axes.plot([1.03, 1.10], [height] * 2, transform=axes.transAxes, clip_on=False, **{"linewidth": 1.5, **line})
        axes.text(1.12, height, name, transform=axes.transAxes, va="center", color=INK, fontsize=9.5)
    note = f"shaded: guessing stays here\nwith probability {1 - BAND_FAILURE_PROBABILITY:g}\nat each rate"
    axes.text(1.03, 0.86 - 0.1 * len(names), note, transform=axes.transAxes, va="top", color=INK, fontsize=8.5)


def aucs(shown: Sequence[Contest], allowed: float | None, salt: str) -> str:
    """Draw the AUC of every attack on the three kinds of models, with intervals, against what the claim allows."""
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 0.95 + 0.28 * len(shown))
        axes = axes_at(figure, 2.8, 0.36, 0.15, 0.5)
        axes.axvline(0.5, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), label="guessing")
        if allowed is not None:
            axes.axvline(allowed, color=PROMISE, linewidth=1.3, label="claim allows, at most")
        for dodge, (kind, name) in zip((0.0, 0.2, -0.2), KINDS.items(), strict=True):
            mark = _MARKS[kind]
            for place, contest in enumerate(shown):
                if kind in contest.results:
                    _draw_interval(axes, contest.results[kind].auc, place + dodge, mark)
            axes.plot([], [], linestyle="none", label=name, **mark)
        axes.set_yticks(range(len(shown)), [_label(contest) for contest in shown])
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        values = [v for c in shown for r in c.results.values() for v in (r.auc.mean, r.auc.lower, r.auc.upper)]
        least, most = min([0.45, *(v for v in values if v is not None)]), max([0.6, *(v or 0.0 for v in values)])
        axes.set_xlim(max(0.0, least) - 0.01, min(1.0, most) + 0.015)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("AUC: probability that a forgotten record is ranked above one never learned")
        legend_above(figure, axes, 5)
        return to_svg(figure, salt)


def _label(contest: Contest) -> str:
    return shorten(contest.title, 46) if contest.shipped else f"{shorten(contest.title, 34)} (your own)"


def _draw_interval(axes: Axes, found: Interval, height: float, mark: dict[str, Any]) -> None:
    if found.lower is not None and found.upper is not None:
        axes.plot([found.lower, found.upper], [height, height], color=mark["color"], linewidth=1.1, zorder=2)
    axes.plot([found.mean], [height], linestyle="none", zorder=3, **mark)


def reconstruction(found: Sequence[Reconstruction], salt: str) -> str:
    """Draw |cosine| of rebuilt records and of both baselines against the noise scale, of one attack."""
    lanes = Lanes([one.noise_scale for one in found])
    kinds = [kind for kind in KINDS if any(one.against == kind for one in found)]
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 2.3)
        axes = axes_at(figure, 0.75, 0.36, 0.15, 0.5)
        for kind in kinds:
            own = [one for one in found if one.against == kind]
            mark = {**_MARKS[kind], **_LINES[kind]}
            _draw_path(axes, lanes, own, [one.cosine for one in own], {"label": KINDS[kind], **mark})
        first = [one for one in found if one.against == kinds[0]] if kinds else []
        average: dict[str, Any] = {"color": BOUND, "marker": "^", "markersize": 4.5, "linestyle": _DASHED}
        changed: dict[str, Any] = {"color": FAINT, "marker": "v", "markersize": 4.5, "linestyle": _DOTTED}
        _draw_path(axes, lanes, first, [one.average for one in first], {"label": "average record", **average})
        _draw_path(axes, lanes, first, [one.difference for one in first], {"label": "most changed", **changed})
        lanes.dress(axes)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("noise scale σ (units of the weights, logarithmic)")
        axes.set_ylabel("|cosine| to the truth")
        legend_above(figure, axes, 5)
        return to_svg(figure, salt)


def sweep(points: Sequence[SweepPoint], attack: str, salt: str) -> str:
    """Draw one attack's AUC, what ε allows it, and the accuracy on the holdout, against the noise scale."""
    ordered = sorted(points, key=lambda point: point.noise_scale)
    lanes = Lanes([point.noise_scale for point in ordered])
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 3.5)
        above, below = axes_at(figure, 0.75, 0.85, 0.15, 1.5), axes_at(figure, 0.75, 2.15, 0.15, 0.5)
        above.axhline(0.5, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), label="guessing")
        known = [(p, a) for p in ordered if (a := p.auc_allowed) is not None]
        if known:
            places = [lanes.place(point.noise_scale) for point, _ in known]
            above.plot(
                places, [a for _, a in known], color=PROMISE, linewidth=1.3, marker="d", label="ε allows at most"
            )
        for kind, name in KINDS.items():
            mark = {**_MARKS[kind], **_LINES[kind]}
            seen = [point for point in ordered if kind in point.aucs.get(attack, {})]
            _draw_path(above, lanes, seen, [p.aucs[attack][kind] for p in seen], {"label": name, **mark})
            held = [point for point in ordered if kind in point.holdout]
            _draw_path(below, lanes, held, [p.holdout[kind] for p in held], mark, 100.0)
        _name_epsilons(above, lanes, ordered)
        _dress_pair(above, below, lanes, attacked="AUC of the attack")
        above.set_ylim(top=1.02)
        legend_above(figure, above, 5)
        return to_svg(figure, salt)


def sweeps(rows: Sequence[Row], salt: str) -> str:
    """Draw the AUC on unlearned models and on doing nothing, and the accuracy, against noise: one line a row."""
    swept = [(row, row.attacks.sweep) for row in rows if row.attacks is not None and row.attacks.sweep]
    lanes = Lanes([point.noise_scale for _, points in swept for point in points])
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 3.4 + 0.2 * ((len(swept) + 2) // 3))
        top = 0.3 + 0.2 * ((len(swept) + 2) // 3)
        above, below = axes_at(figure, 0.75, top, 0.15, 1.55), axes_at(figure, 0.75, top + 1.65, 0.15, 0.5)
        above.axhline(0.5, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        for turn, (row, points) in enumerate(swept):
            ordered = sorted(points, key=lambda point: point.noise_scale)
            look = {"markersize": 4.5, "linestyle": "-", **_ROWS[turn % len(_ROWS)]}
            if turn >= len(_ROWS):
                look["markerfacecolor"] = "none"
            attack = swept_attack(ordered) or ""
            for kind, own in (("unlearned", look), ("original", {**look, "linestyle": _DOTTED, "marker": "x"})):
                seen = [point for point in ordered if kind in point.aucs.get(attack, {})]
                label = {"label": shorten(row.name, 30)} if kind == "unlearned" else {}
                _draw_path(above, lanes, seen, [p.aucs[attack][kind] for p in seen], {**own, **label})
            held = [point for point in ordered if "unlearned" in point.holdout]
            _draw_path(below, lanes, held, [p.holdout["unlearned"] for p in held], look, 100.0)
        _dress_pair(above, below, lanes, attacked="AUC of the attack")
        legend_above(figure, above, 3)
        return to_svg(figure, salt)


def _draw_path(
    axes: Axes,
    lanes: Lanes,
    points: Sequence[SweepPoint | Reconstruction],
    found: Sequence[Interval],
    look: dict[str, Any],
    scale: float = 1.0,
) -> None:
    """Means over noise scales, joined, with their intervals as strokes; zero noise stands apart."""
    order = sorted(range(len(points)), key=lambda place: points[place].noise_scale)
    places = [lanes.place(points[place].noise_scale) for place in order]
    means = [scale * found[place].mean for place in order]
    for x, place in zip(places, order, strict=True):
        low, high = found[place].lower, found[place].upper
        if low is not None and high is not None:
            axes.plot([x, x], [scale * low, scale * high], color=look["color"], linewidth=1.0, zorder=2)
    if places:
        axes.plot(places, means, linewidth=1.3, zorder=3, **look)


def _name_epsilons(axes: Axes, lanes: Lanes, points: Sequence[SweepPoint]) -> None:
    """Write ε above every noise scale."""
    known = [point for point in points if point.epsilon is not None or unlimited(points, point)]
    if not known:
        return
    upper = axes.secondary_xaxis("top")
    upper.spines["top"].set_visible(False)
    names = ["∞" if point.epsilon is None else number(point.epsilon, 2, "up") for point in known]
    upper.set_xticks([lanes.place(point.noise_scale) for point in known], names)
    upper.tick_params(length=2.5)
    upper.set_xlabel("ε that this noise and the row’s Δ give", fontsize=9.5)


def _dress_pair(above: Axes, below: Axes, lanes: Lanes, *, attacked: str) -> None:
    """Limits, ticks and titles of an attack over an accuracy, both against the noise scale."""
    for axes in (above, below):
        lanes.dress(axes)
    above.tick_params(axis="x", labelbottom=False)
    above.set_ylabel(attacked)
    below.set_ylabel("accuracy on\nthe holdout, %")
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    below.set_xlabel("noise scale σ (units of the weights, logarithmic)")
