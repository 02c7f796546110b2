"""The figure of `certunlearn power`: smallest refutable ε against the number of runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from audit.power import WAYS
from reports.drawing import BOUND, FAINT, INK, NOTHING, PROMISE, UNLEARNED, axes_at, new_figure, on_white, style, to_svg

if TYPE_CHECKING:
    from audit.power import Found, Setting

_COLOURS = {"A": INK, "B": FAINT, "C": UNLEARNED, "D": NOTHING}
_LOOKS: dict[str, dict[str, Any]] = {
    "z": {"color": BOUND, "marker": "o"},
    "joint": {"color": UNLEARNED, "marker": "s"},
    "clopper-pearson": {"color": UNLEARNED, "marker": "^", "linestyle": (0, (5, 1.5))},
    "band": {"color": PROMISE, "marker": "D"},
    "dkw": {"color": PROMISE, "marker": "v", "linestyle": (0, (1.2, 1.2))},
    "e-process": {"color": INK, "marker": "x", "linestyle": (0, (5, 1.5))},
    "student": {"color": BOUND, "marker": "+", "linestyle": (0, (1.2, 1.2))},
    "folds": {"color": UNLEARNED, "marker": "1", "linestyle": (0, (1.2, 1.2))},
}
_TURNS: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))


def draw(
    path: Path, setting: "Setting", sizes: tuple[int, ...], found: "dict[str, list[Found]]", wanted: float
) -> None:
    """Draw one line a design, both axes logarithmic, and write it as SVG or PNG.

    Raises:
        OSError: the file cannot be written.
    """
    claim = setting.claim
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 0.9 + max(3.2, 0.22 * len(found)))
        axes = axes_at(figure, 0.6, 0.15, 2.35, 0.5)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for place, (key, row) in enumerate(found.items()):
            known = [(size, f.epsilon) for size, f in zip(sizes, row, strict=True) if f.epsilon]
            if known:
                axes.plot(*zip(*known, strict=True), label=WAYS[key].title, **_look(key, place))
        if claim.epsilon > 0:
            axes.axhline(claim.epsilon, color=FAINT, linewidth=1, label="claimed ε")
        axes.axhline(wanted, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="wanted ε")
        axes.set_xlabel("N, test runs a side")
        axes.set_ylabel(f"smallest ε at δ = {claim.delta:g} refuted with probability {setting.power:g}")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if str(f"{value:e}")[0] in "25" else "")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        if path.suffix == ".png":
            figure.savefig(path, format="png", dpi=160, facecolor="white")
        else:
            path.write_text(on_white(to_svg(figure, "power")), encoding="utf-8")


def _look(key: str, place: int) -> dict[str, Any]:
    plain = {"color": _COLOURS[WAYS[key].rung], "linestyle": _TURNS[place % len(_TURNS)]}
    return {"linewidth": 1.4, "markersize": 4.5} | _LOOKS.get(key, plain)
