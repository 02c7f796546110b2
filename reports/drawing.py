"""The hand that all figures share: one palette, one face, logarithmic axes with lanes for 0 and ∞, tidy SVG."""

import hashlib
import io
import math
import re
from collections.abc import Iterable
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

# distinct for colour-blind readers and, by lightness and by mark, in greyscale
INK = "#1d1d22"
FAINT = "#8b8b93"
UNLEARNED = "#0b62a3"
NOTHING = "#d9730d"
BOUND = "#0f8f6f"
PROMISE = "#9a3f86"
VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    UNLEARNED: "var(--unlearned)",
    NOTHING: "var(--nothing)",
    BOUND: "var(--bound)",
    PROMISE: "var(--promise)",
}
STYLE = {
    "svg.fonttype": "path",
    "svg.image_inline": True,
    "font.family": ["STIXGeneral", "DejaVu Sans"],
    "mathtext.fontset": "stix",
    "font.size": 10.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.handlelength": 2.2,
    "path.simplify": True,
    "path.simplify_threshold": 0.2,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_GLYPH = re.compile(r"(?:STIX|DejaVu)[A-Za-z]*-[A-Za-z0-9-]+")
_SMALLEST, _LARGEST = 1e-12, 1e12
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Lanes:
    """A logarithmic axis with a lane for exact zeros on its left and one for infinity on its right."""

    def __init__(self, values: Iterable[float | None], *, widest: float = 14.0) -> None:
        """Choose whole decades that hold all values."""
        known = [v for v in values if v is not None and not math.isnan(v)]
        finite = [math.log10(min(max(v, _SMALLEST), _LARGEST)) for v in known if 0 < v < math.inf]
        self.high = math.ceil(max(finite, default=1.0) + 1e-9)
        self.low = min(math.floor(min(finite, default=-1.0)), self.high - 1)
        self.low = max(self.low, math.floor(self.high - widest))
        self.gap = 0.09 * (self.high - self.low) + 0.15
        self.zero = any(v == 0 for v in known)
        self.infinite = any(math.isinf(v) for v in known)

    def place(self, value: float) -> float:
        """Where a value ≥ 0 lies."""
        if value == 0:
            return self.low - self.gap
        if math.isinf(value):
            return self.high + self.gap
        return min(max(math.log10(value), self.low), self.high)

    def dress(self, axes: Axes) -> None:
        """Put limits, ticks and the borders of the lanes on the horizontal axis."""
        step = max(1, math.ceil((self.high - self.low) / 9))
        powers = range(self.low, self.high + 1, step)
        ticks = [float(p) for p in powers]
        labels = [_power(p) for p in powers]
        edge = 0.5 * self.gap
        if self.zero:
            ticks, labels = [self.place(0.0), *ticks], ["0", *labels]
            axes.axvline(self.low - edge, color=FAINT, linewidth=0.6, linestyle=(0, (1, 2)))
        if self.infinite:
            ticks, labels = [*ticks, self.place(math.inf)], [*labels, "∞"]
            axes.axvline(self.high + edge, color=FAINT, linewidth=0.6, linestyle=(0, (1, 2)))
        axes.set_xticks(ticks, labels)
        if self.high - self.low <= 5:
            minor = [p + math.log10(m) for p in range(self.low, self.high) for m in range(2, 10)]
            axes.set_xticks(minor, minor=True)
        axes.set_xlim(
            self.low - (1.6 * self.gap if self.zero else edge), self.high + (1.6 * self.gap if self.infinite else edge)
        )


def _power(power: int) -> str:
    if -3 <= power <= 3:
        return f"{10.0**power:g}"
    return "10" + str(power).translate(_SUPERSCRIPT)


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """Make an empty figure, in inches."""
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasSVG(figure)
    return figure


def axes_at(figure: Figure, left: float, top: float, right: float, bottom: float) -> Axes:
    """Add axes with these margins, in inches; quicker by half than a layout that looks for them."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))


def legend_above(figure: Figure, axes: Axes, columns: int) -> None:
    """Put a legend above the axes, without reading mathematics into its texts."""
    width, height = figure.get_size_inches()
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    legend = figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.06 / width, 1 - 0.02 / height),
        ncols=columns,
        columnspacing=1.6,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def decades(axes: Axes, low: int, high: int = 0) -> None:
    """Make both axes logarithmic from 10^low to 10^high, with a tick at every power."""
    powers = [10.0**power for power in range(low, high + 1)]
    labels = [_power(power) for power in range(low, high + 1)]
    axes.set(xscale="log", yscale="log", xlim=(powers[0], powers[-1]), ylim=(powers[0], powers[-1]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(powers))
        axis.set_major_formatter(FixedFormatter(labels))
        axis.set_minor_locator(NullLocator())


def style() -> "mpl.RcParams":
    """The settings under which figures are drawn and saved; use as `with mpl.rc_context(style())`."""
    return mpl.RcParams({**mpl.rcParamsDefault, **STYLE, "backend": "svg"})


def to_svg(figure: Figure, salt: str) -> str:
    """Write a figure as SVG: the same bytes for the same figure; two figures share no names but those of glyphs."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<defs>\s*<style.*?</defs>", "", text, flags=re.DOTALL)
    text = text.replace("<svg", '<svg stroke-linejoin="round" stroke-linecap="butt"', 1)
    text = re.sub(r' (?:d|x|y|x1|y1|x2|y2|points)="[^"]*"', lambda m: _shorten(m.group()), text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    prefix = "g" + hashlib.sha256(salt.encode()).hexdigest()[:6] + "-"
    names = {name: name if _GLYPH.fullmatch(name) else prefix + name for name in used}
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{names[m.group(1)]}"' if m.group(1) in used else "", text)
    return re.sub(r'(href="#|url\(#)([^")]+)', lambda m: m.group(1) + names[m.group(2)], text).strip()


def on_white(svg: str) -> str:
    """The picture as a file of its own, legible on a dark page too."""
    head, _, rest = svg.partition(">")
    return f'{head}><rect width="100%" height="100%" fill="#ffffff"/>{rest}\n'


def without_glyphs(svg: str, known: set[str]) -> str:
    """Leave out the glyphs that an earlier picture of the same page defines, and note those of this one."""

    def once(match: re.Match[str]) -> str:
        seen = match.group(1) in known
        known.add(match.group(1))
        return "" if seen else match.group()

    return re.sub(rf'<path id="({_GLYPH.pattern})"[^>]*/>\n?', once, svg)


def _shorten(text: str) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m.group()):.2f}".rstrip("0").rstrip("."), text)
