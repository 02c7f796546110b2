"""Figures: exact zeros, infinities, gaps and hostile labels are drawn, the same every time."""

import math
from xml.etree import ElementTree

import pytest

from reports import figures
from reports.drawing import Lanes
from unlearning.record import Row
from unlearning.verdict import Verdict

from . import sample


def test_lanes_keep_order_from_zero_to_infinity() -> None:
    lanes = Lanes([0.0, 1e-4, 2.0, math.inf, None])
    places = [lanes.place(v) for v in (0.0, 1e-4, 2.0, 50.0, math.inf)]
    assert places == sorted(places)
    assert lanes.zero and lanes.infinite


@pytest.mark.parametrize("values", [[], [None], [0.0], [math.inf], [1.0], [1e-300, 1e300]])
def test_lanes_of_odd_values(values: list[float | None]) -> None:
    lanes = Lanes(values)
    assert lanes.low < lanes.high
    assert all(math.isfinite(lanes.place(v)) for v in (0.0, 1e-9, 1.0, 1e9, math.inf))


def odd_rows() -> list[Row]:
    plain = sample.distances(1e-3, 1e-2, 1.0)
    return [
        sample.row(
            "no noise", Verdict.REFUTED, noise_scale=0.0, distances=plain.model_copy(update={"achieved_epsilon": None})
        ),
        sample.row(
            "empty", Verdict.NOT_COMPUTABLE, distances=plain.model_copy(update={"unlearned": [], "original": []})
        ),
        sample.row("zeros", Verdict.NOT_REFUTED, distances=plain.model_copy(update={"unlearned": [0.0] * 5})),
        sample.row("steep", Verdict.NOT_REFUTED, claim=sample.claim(600.0, gaussian=False)),
        sample.row(sample.HOSTILE * 3, Verdict.NOT_REFUTED),
    ]


@pytest.mark.parametrize("row", odd_rows(), ids=lambda row: row.name[:8])
def test_figures_are_svg_and_repeat(row: Row) -> None:
    for draw in (figures.tradeoff, figures.distances, figures.histograms):
        svg = draw(row, "a")
        assert draw(row, "a") == svg
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert len(svg) < 150_000


def test_comparison_holds_every_row() -> None:
    rows = [*odd_rows(), sample.row("lost", Verdict.ERROR, distances=None)]
    for draw in (figures.comparison, figures.reach):
        svg = draw(sample.evidence(rows=rows))
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert draw(sample.evidence(rows=rows)) == svg


def test_distances_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="must be in the record"):
        figures.distances(sample.bare(), "a")
