"""What a plan cannot say of Hessian-free unlearning: docs/papers/hessian-free-influence.md.

How well vectors predict what removing a record does to losses, and how many deletions a promise lasts for: the
comparisons of Qiao et al., ICLR 2025, arXiv 2404.01712, on data at hand.
"""

from pathlib import Path

import matplotlib as mpl
import torch

from learning.data import Dataset, embedded, from_npz, prepare
from learning.influence import Deletions, Influence, capacity, capacity_curve, influence
from learning.networks import Network, mlp
from learning.objectives import BinaryLogistic, Objective, Softmax
from learning.task import SGD, Task
from methods.qiao2025hessianfree import HessianFree
from reports.drawing import NOTHING, PROMISE, UNLEARNED, new_figure, on_white, style, to_svg
from reports.numerals import number
from unlearning.streams import Streams

EPSILON, DELTA, LOSS = 1.0, 1e-5, 0.02
SIZES = [1, 2, 3, 5, 8, 13, 21, 34]
RECORDS, REPLICAS = 60, 8
PAGE = "hessian-free-influence"
WORDS = f"""# Hessian-free unlearning: predicted losses and deletion capacity

For {RECORDS} records of each task, removed one at a time: the change of the record's own loss, and of the mean holdout
loss, predicted by the record's vector, against the paired retraining without it (divisor of the records left). Below,
the deletion capacity: the largest certified Δ over {REPLICAS} random requests of m records, the σ that one release
with (ε, δ) = ({EPSILON:g}, {DELTA:g}) then needs, and the holdout accuracy that is left; the capacity is the largest m
that costs at most {LOSS:.0%} of accuracy. In service σ is fixed before the data is seen: the table says which σ would
have lasted. Networks have no certificate, hence no capacity. Written by `tox -e papers`, never typed.
"""


def tasks(data: Path) -> dict[str, Task]:
    """Logistic models at R = 1 and a network, on real data."""

    def task(dataset: Dataset, objective: Objective, recipe: SGD) -> Task:
        return Task("study", dataset, objective, recipe, torch.device("cpu"))

    images = from_npz(
        data / "mnist.npz",
        features="train_images",
        labels="train_labels",
        holdout_features="test_images",
        holdout_labels="test_labels",
    )
    mnist = prepare(images, rows=1000, standardise=False)
    cancer, digits = prepare(embedded("breast-cancer")), prepare(embedded("digits"))
    wine = prepare(embedded("wine"), bias=False, norm=None)
    return {
        "Breast cancer, logistic regression": task(cancer, BinaryLogistic(31, 0.02), SGD(10, 57, 1.0)),
        "Digits, softmax regression": task(digits, Softmax(65, 10, 0.02), SGD(10, 64, 1.0)),
        "MNIST, softmax regression, n = 1000": task(mnist, Softmax(785, 10, 0.02), SGD(15, 32, 1.0, 0.995)),
        "Wine, network 13-64-3": task(wine, Network(mlp(13, [64], 3), 0.005), SGD(40, 64, 0.01, 0.9995)),
    }


def correlations(found: dict[str, Influence]) -> str:
    """A table of Pearson's and Spearman's coefficients."""
    lines = [
        "| task | own loss: Pearson | Spearman | holdout loss: Pearson | Spearman |",
        "| :-- | --: | --: | --: | --: |",
    ]
    for name, one in found.items():
        four = (one.own.pearson, one.own.spearman, one.holdout.pearson, one.holdout.spearman)
        lines.append(f"| {name} | " + " | ".join(f"{value:.5f}" for value in four) + " |")
    return "\n".join(lines)


def scatter(found: dict[str, Influence]) -> str:
    """Predicted against actual change of the removed record's own loss."""
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 2.4, "constrained")
        for place, (name, one) in enumerate(found.items()):
            axes = figure.add_subplot(1, len(found), place + 1)
            axes.axline((0, 0), slope=1, color=NOTHING, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.plot(one.own.actual, one.own.predicted, ".", color=UNLEARNED, markersize=4)
            axes.set_title(name.partition(",")[0], fontsize=8)
            axes.set_xlabel("actual")
            if place == 0:
                axes.set_ylabel("predicted change\nof its own loss")
            axes.ticklabel_format(style="sci", scilimits=(-2, 2))
        return to_svg(figure, "influence")


def capacities(curves: dict[str, list[Deletions]]) -> str:
    """A table of Δ, σ and accuracy for each m, and the capacity."""
    lines = [
        f"| task | m | Δ | σ | accuracy released | retrained | capacity at {LOSS:.0%} |",
        "| :-- | --: | --: | --: | --: | --: | --: |",
    ]
    for name, curve in curves.items():
        largest = capacity(curve, utility_loss=LOSS)
        for point in curve:
            bound, noise = (number(v, rounding="up") for v in (point.sensitivity_upper, point.noise_scale))
            shares = f"{100 * point.utility:.1f} | {100 * point.retrained:.1f}"
            marked = f"**{largest}**" if point is curve[0] else ""
            lines.append(f"| {name} | {point.size} | {bound} | {noise} | {shares} | {marked} |")
    return "\n".join(lines)


def capacity_picture(curves: dict[str, list[Deletions]]) -> str:
    """Accuracy released and retrained against m."""
    with mpl.rc_context(style()):
        figure = new_figure(7.2, 2.4, "constrained")
        for place, (name, curve) in enumerate(curves.items()):
            axes = figure.add_subplot(1, len(curves), place + 1)
            sizes = [p.size for p in curve]
            axes.semilogx(
                sizes, [100 * p.utility for p in curve], "o-", color=UNLEARNED, markersize=4, label="released"
            )
            axes.semilogx(sizes, [100 * p.retrained for p in curve], "--", color=PROMISE, label="retrained, no noise")
            axes.set_title(name.partition(",")[0], fontsize=8)
            axes.set(ylim=(0, 102), xlabel="records deleted, m")
            if place == 0:
                axes.set_ylabel("holdout accuracy (%)")
                axes.legend(frameon=False, fontsize=7, loc="lower left")
        return to_svg(figure, "capacity")


def write(data: Path, folder: Path) -> Path:
    """Run the study and write its page."""
    found, curves = {}, {}
    for name, task in tasks(data).items():
        found[name] = influence(task, range(0, RECORDS), streams=Streams(0, (0,)))
        if task.constants is not None:
            streams = Streams(0, tuple(range(REPLICAS)))
            curves[name] = capacity_curve(HessianFree(), task, SIZES, epsilon=EPSILON, delta=DELTA, streams=streams)
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in ((f"{PAGE}-1.svg", scatter(found)), (f"{PAGE}-2.svg", capacity_picture(curves))):
        (folder / name).write_text(on_white(svg), encoding="utf-8")
    parts = [
        WORDS.strip(),
        correlations(found),
        f"![Predicted against actual loss changes; the coefficients are in the table.]({PAGE}-1.svg)",
        capacities(curves),
        f"![Accuracy of released and retrained models; the numbers are in the table.]({PAGE}-2.svg)",
    ]
    page = folder / f"{PAGE}.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page
