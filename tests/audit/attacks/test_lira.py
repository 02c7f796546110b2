"""LiRA against loops over models and records, closed forms of known Gaussians, real fleets, and broken twins."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import beta

from audit.attacks import lira
from audit.attacks.attack import fit_attack
from audit.attacks.likelihood import OWN_DEVIATION, Gaussians
from audit.attacks.lira import FittedLiRA, LiRA
from audit.attacks.measures import chance_upper, operating_points, run_aucs
from audit.attacks.population import LossThreshold
from audit.attacks.runs import FitRuns, ScoreRuns
from audit.row import audit_row
from methods.retrain import Retrain
from tests.broken.attacks import (
    NoiseOnAFreshNetwork,
    deviations_with_the_means_in_them,
    labels_in_another_order,
    nearest_point,
    retained_as_negatives,
)
from tests.broken.twin import patched
from unlearning.binomial import clopper_pearson_lower, clopper_pearson_upper
from unlearning.verdict import Outcome

from ..gates import GATES, LEVELS, agrees, caught
from ..problems import design, subject
from .outputs import drawn_runs, two_classes
from .overfit import accuracy, overfit_fleet, overfit_ids, overfit_runs, overfit_subject

Array = np.ndarray
SEPARATION = 1.3
TINY = 1e-9  # AUCs as unlikely as this do not come about by luck


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def scored(attack, shadows: FitRuns, targets: ScoreRuns, model: str = "original") -> Array:
    return fit_attack(attack, shadows, model, generator=rng()).scores(targets, model)


def many_classes(kind, seed: int, runs: int, *, who: Array | None = None, classes: int = 5) -> FitRuns | ScoreRuns:
    """Logits of five classes, larger for the label where a record was learned, records of their own difficulty."""
    drawn = np.random.default_rng(seed)
    base = drawn_runs(kind, seed, runs, candidates=6, forgotten=3)
    members = base.members if who is None else who
    labels = np.array([4, 0, 2, 2, 1, 3])
    own = 4 * np.random.default_rng(7).standard_normal(6)
    z = 2 * drawn.standard_normal((runs, 6, classes))
    z[:, np.arange(6), labels] += own + 2 * members
    public = drawn.standard_normal((runs, 7, classes))
    return kind(base.names, members, labels, {"original": z}, {"original": public}, np.arange(7) % classes)


# ---------------------------------------------------------------------- the formulas


def naive_phi(logits: list[float], label: int) -> float:
    p = [math.exp(z) / sum(math.exp(other) for other in logits) for z in logits]
    return math.log(p[label]) - math.log(sum(q for c, q in enumerate(p) if c != label))


def naive_lira(shadows: FitRuns, targets: ScoreRuns, *, online: bool) -> Array:
    """One candidate and one shadow at a time, with densities."""
    phi = [[naive_phi(z, y) for z, y in zip(run, shadows.labels, strict=True)] for run in shadows.of("original")]
    sides = [
        [[phi[s][i] for s in range(len(phi)) if shadows.members[s, i] == side] for i in range(len(shadows.labels))]
        for side in (True, False)
    ]
    pooled = [
        math.sqrt(sum((x - statistics.mean(own)) ** 2 for own in side for x in own) / sum(len(own) - 1 for own in side))
        for side in sides
    ]
    found = np.empty(targets.members.shape)
    for k, i in np.ndindex(found.shape):
        x = naive_phi(targets.of("original")[k, i].tolist(), targets.labels[i])
        laws = []
        for side, together in zip(sides, pooled, strict=True):
            enough = min(len(sides[0][i]), len(sides[1][i])) >= OWN_DEVIATION
            laws.append(
                statistics.NormalDist(statistics.mean(side[i]), statistics.stdev(side[i]) if enough else together)
            )
        out = laws[1]
        found[k, i] = math.log(laws[0].pdf(x)) - math.log(out.pdf(x)) if online else (x - out.mean) / out.stdev
    return found


def equals_the_loops(online: bool) -> bool:
    for shadows in (9, 150):  # pooled deviations; own ones
        fit, targets = many_classes(FitRuns, 1, shadows), many_classes(ScoreRuns, 2, 5)
        expected = naive_lira(fit, targets, online=online)
        if not np.allclose(scored(LiRA(online), fit, targets), expected, rtol=1e-10, atol=1e-10):
            return False
    return True


@pytest.mark.parametrize("online", [True, False])
def test_it_equals_loops_over_shadows_and_records(online: bool) -> None:
    assert equals_the_loops(online)


@pytest.mark.parametrize("online", [True, False])
def test_deviations_that_hold_the_records_means_are_noticed(online: bool) -> None:
    with patched(lira, gaussian_fit=deviations_with_the_means_in_them):
        assert not equals_the_loops(online)


def test_shadows_of_unit_gaussians_give_the_closed_form() -> None:
    """Means d and 0 and deviations 1, exactly: Λ = dφ − d²/2 and z = φ."""
    half = np.random.default_rng(3).standard_normal((OWN_DEVIATION, 2))
    half = (half - half.mean(0)) / half.std(0, ddof=1)
    who = np.arange(2 * OWN_DEVIATION)[:, None] % 2 == np.arange(2)
    phi = np.empty(who.shape)
    for record in range(2):
        phi[who[:, record], record] = half[:, record] + SEPARATION
        phi[~who[:, record], record] = half[:, 1 - record]
    shadows = of_phi(FitRuns, phi, who)
    x = np.random.default_rng(4).normal(0, 30, (50, 2))
    targets = of_phi(ScoreRuns, x, np.arange(50)[:, None] % 2 == np.arange(2))
    np.testing.assert_allclose(scored(LiRA(), shadows, targets), SEPARATION * x - SEPARATION**2 / 2, atol=1e-10)
    np.testing.assert_allclose(scored(LiRA(online=False), shadows, targets), x, atol=1e-10)


def of_phi(kind, phi: Array, who: Array) -> FitRuns | ScoreRuns:
    """Runs with these confidences."""
    labels = np.arange(phi.shape[1]) % 2
    names = tuple(f"{kind.__name__}/{k}" for k in range(len(phi)))
    public = {"original": np.zeros((len(phi), 1, 2))}
    return kind(names, who, labels, {"original": two_classes(phi, labels)}, public, np.zeros(1, dtype=np.int64))


def test_far_tails_are_told_apart() -> None:
    """Φ(z) is 1 for both of them; z is not."""
    shadows = drawn_runs(FitRuns, 0, 40)
    far = of_phi(ScoreRuns, np.array([[50.0, 60.0]]).repeat(5, 1), np.arange(10)[None] < 5)
    z = scored(LiRA(online=False), shadows, far)[0]
    assert (ndtr(z) == 1).all() and z[5:].min() > z[:5].max()


# ---------------------------------------------------------------------- known Gaussians


def gaussian_runs(seed: int, runs: int) -> tuple[Array, Array]:
    """φ ~ N(0, 1), or N(d, 1) for the one learned candidate of two."""
    drawn = np.random.default_rng(seed)
    who = np.arange(2) == drawn.integers(0, 2, runs)[:, None]
    return drawn.standard_normal((runs, 2)) + SEPARATION * who, who


@pytest.mark.parametrize("online", [True, False])
class TestKnownGaussians:
    RUNS = 40_000

    def scores(self, online: bool) -> tuple[Array, Array]:
        known = Gaussians(np.full(2, SEPARATION), np.zeros(2), np.ones(2), np.ones(2))
        phi, who = gaussian_runs(5, self.RUNS)
        return FittedLiRA(known, online).scores(of_phi(ScoreRuns, phi, who), "original"), who

    def test_auc(self, online: bool) -> None:
        scores, who = self.scores(online)
        right = int(run_aucs(scores, who).sum())  # one pair a run
        assert agrees(right, self.RUNS, float(ndtr(SEPARATION / math.sqrt(2))))

    def test_true_positives_at_a_false_positive_rate(self, online: bool) -> None:
        scores, who = self.scores(online)
        for point in operating_points(scores, who):
            exact = [float(ndtr(ndtri(rate) + SEPARATION)) for rate in likely_rates(point.target, point.negatives)]
            tiny = 1e-6 / GATES
            assert clopper_pearson_lower(point.true_positives, point.positives, tiny) <= exact[1]
            assert clopper_pearson_upper(point.true_positives, point.positives, tiny) >= exact[0]


def likely_rates(target: float, negatives: int) -> tuple[float, float]:
    """True false-positive rate of the threshold that an order statistic sets: Beta, at the gates' confidence."""
    above = math.floor(target * negatives + 1e-9) + 1  # the cut is this negative from the top
    law = beta(above, negatives - above + 1)
    return float(law.ppf(1e-6 / GATES)), float(law.isf(1e-6 / GATES))


def test_the_nearest_rate_may_exceed_the_target_and_ours_may_not() -> None:
    """1,010 negatives of which 15 tie at the top: a rate of 1.5 % is nearer to 1 % than 0 % is."""
    negatives = np.concatenate([np.full(15, 5.0), np.linspace(0, 1, 995)])
    scores = np.concatenate([negatives, np.full(1010, 5.0)])[None]
    who = (np.arange(2020) >= 1010)[None]
    false, true = nearest_point(scores, who, 0.01)
    assert false > 0.01 and true == 1.0
    point = operating_points(scores, who)[0]
    assert point.false_positive_rate == 0.0 <= point.target and point.true_positive_rate == 0.0


# ---------------------------------------------------------------------- little to go on


@pytest.mark.parametrize("online", [True, False])
class TestLittleToGoOn:
    @pytest.mark.parametrize("shadows", [1, 2, 3])
    def test_few_shadows(self, online: bool, shadows: int) -> None:
        found = scored(LiRA(online), many_classes(FitRuns, 1, shadows), many_classes(ScoreRuns, 2, 4))
        assert np.isfinite(found).all()

    def test_a_record_that_every_shadow_learned_and_one_that_none_did(self, online: bool) -> None:
        """Their missing means lie where those of the other records say, so that they are still told."""
        who = drawn_runs(FitRuns, 1, 60, candidates=6, forgotten=3).members
        who[:, 0], who[:, 1] = True, False
        shadows, targets = many_classes(FitRuns, 1, 60, who=who), many_classes(ScoreRuns, 2, 400)
        found = scored(LiRA(online), shadows, targets)
        for record in (0, 1):
            learned = targets.members[:, record]
            higher = (found[learned, record][:, None] > found[~learned, record]).mean()
            assert higher > 0.65

    def test_models_without_randomness(self, online: bool) -> None:
        """Two candidates, one learned, no seeds and no noise: each side of each record has one value."""
        who = np.arange(20)[:, None] % 2 == np.arange(2)
        phi = np.where(who, 1.0, 1.0 - 1e-4) + np.array([0.0, 7.0])
        found = scored(LiRA(online), of_phi(FitRuns, phi, who), of_phi(ScoreRuns, phi, who))
        assert (run_aucs(found, who) == 1).all()


# ---------------------------------------------------------------------- nothing to find


TRIALS = 400


def chances(attack) -> Array:
    """Of simulated audits of models that do not depend on S: the probability that is stated of such an AUC."""
    found = []
    for trial in range(TRIALS):
        shadows, targets = drawn_runs(FitRuns, 2 * trial, 12), drawn_runs(ScoreRuns, 2 * trial + 1, 8)
        values = run_aucs(scored(attack, shadows, targets, "retrained"), targets.members)
        found.append(chance_upper(values, targets.members))
    return np.array(found)


class LearnsFromItsTargets(LiRA):
    """Wrong: fitted on the runs that it then scores, under other names."""

    def fit(self, runs, model, *, generator):
        seen = drawn_runs(FitRuns, int(runs.names[0].split("/")[1]) + 1, 8)  # the targets of `chances`
        retrained = {"original": seen.of("retrained")}
        seen = replace(seen, logits=retrained, population={"original": seen.population["retrained"]})
        return super().fit(seen, model, generator=generator)


@pytest.mark.parametrize("online", [True, False])
def test_luck_is_rarer_than_stated(online: bool) -> None:
    found = chances(LiRA(online))
    for level in LEVELS:
        assert not caught(int((found <= level).sum()), TRIALS, level)


def test_an_attack_that_has_seen_its_targets_is_luckier_than_stated() -> None:
    found = chances(LearnsFromItsTargets())
    for level in LEVELS:
        assert caught(int((found <= level).sum()), TRIALS, level)


@pytest.mark.parametrize("online", [True, False])
def test_a_planted_leak_is_found(online: bool) -> None:
    shadows, targets = drawn_runs(FitRuns, 0, 64, leak=1.0), drawn_runs(ScoreRuns, 1, 64, leak=1.0)
    values = aucs(LiRA(online), "unlearned", shadows, targets)
    assert chance_upper(values, targets.members) < TINY


# ---------------------------------------------------------------------- real fleets


def aucs(attack, model: str, shadows: FitRuns, targets: ScoreRuns) -> Array:
    return run_aucs(scored(attack, shadows, targets, model), targets.members)


def is_luck(values: Array, who: Array) -> bool:
    return chance_upper(values, who) > TINY and chance_upper(1 - values, who) > TINY


@pytest.mark.parametrize("online", [True, False])
def test_a_network_that_learns_by_heart_is_told_and_a_retrained_one_is_not(online: bool) -> None:
    shadows, targets = overfit_fleet()
    original = aucs(LiRA(online), "original", shadows, targets)
    assert original.mean() > 0.9 and chance_upper(original, targets.members) < TINY
    for clean in ("retrained", "unlearned"):  # unlearned by retraining
        assert is_luck(aucs(LiRA(online), clean, shadows, targets), targets.members)


def labels_fit_the_outputs(targets: ScoreRuns) -> bool:
    """A network that has learned random labels by heart predicts the labels of what it has learned."""
    return accuracy(targets, "original") > 0.95


def test_labels_in_another_order_than_the_outputs_are_noticed() -> None:
    """By the agreement, not by LiRA: it learns the law of any number, and hardly loses by looking at a wrong class."""
    shadows, targets = overfit_fleet()
    assert labels_fit_the_outputs(targets)
    broken = labels_in_another_order(targets)
    assert not labels_fit_the_outputs(broken)
    assert aucs(LiRA(), "original", labels_in_another_order(shadows), broken).mean() > 0.9
    honest, lost = (aucs(LossThreshold(), "original", shadows, runs).mean() for runs in (targets, broken))
    assert honest > 0.9 and lost < honest - 0.1


def test_retained_records_as_negatives_are_noticed() -> None:
    """A retrained model knows retained records and no forgotten one: its AUC is not ½."""
    shadows, targets = overfit_fleet()
    assert is_luck(aucs(LiRA(), "retrained", shadows, targets), targets.members)
    with retained_as_negatives(overfit_subject(), overfit_ids(), targets.members):
        broken = overfit_runs("target")
    assert np.array_equal(broken.members, targets.members)
    assert not is_luck(aucs(LiRA(), "retrained", shadows, broken), targets.members)


def released_as_learned(targets: ScoreRuns) -> bool:
    """Both releases of A(R ∪ S), the method's and the audit's own, know what was learned and tell who it was."""
    shadows, _ = overfit_fleet()
    return all(
        accuracy(targets, model) > 0.95 and aucs(LiRA(), model, shadows, targets).mean() > 0.9
        for model in ("first", "original")
    )


def test_noise_on_a_fresh_network_is_noticed() -> None:
    _, honest = overfit_fleet()
    assert released_as_learned(honest)
    broken = overfit_runs("target", overfit_subject(NoiseOnAFreshNetwork(Retrain())))
    assert not released_as_learned(broken)
    assert accuracy(broken, "first") < 0.6 and accuracy(broken, "original") > 0.95
    assert is_luck(aucs(LiRA(), "first", overfit_fleet()[0], broken), honest.members)


def test_noise_on_a_fresh_network_is_refuted_by_the_noise_tests() -> None:
    """It looks forgotten to every attack; that it is not the model plus noise, rung B says."""
    rows = [
        audit_row(subject(method), design(rungs="B", controls=(), noise_scale=0.01), chunk=24, jobs=1)
        for method in (Retrain(), NoiseOnAFreshNetwork(Retrain()))
    ]
    honest, broken = ([line.outcome is Outcome.REFUTED for line in row.lines if line.deciding] for row in rows)
    assert not any(honest) and any(broken)
