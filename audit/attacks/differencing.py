"""MIA-U: telling "deleted" from "never there" with both versions in hand.

Chen, Zhang, Wang, Backes, Humbert & Zhang, "When Machine Unlearning Jeopardizes Privacy", CCS 2021.

Let p = softmax of the first released version, A(R ∪ S) with noise of its own, and q = softmax of the second one: the
unlearned model, a retrained one, or, where nothing is unlearned, the original released a second time. A classifier
learns from pairs (p, q) of shadow runs what tells S from the candidates that were in neither version.

| paper | code |
|---|---|
| DirectDiff p − q | `direct_diff` |
| SortedDiff: both in the order of p, descending, then the difference | `sorted_diff` |
| DirectConcat (p, q) | `direct_concat` |
| SortedConcat: both in the order of p, then side by side | `sorted_concat` |
| EucDist ‖p − q‖₂ | `euclidean` |
| logistic regression, decision tree, random forest, multi-layer perceptron | `CLASSIFIERS` |
| DegCount, DegRate | `degradation` |

**What it does not say.** The first version depends on S, so exact retraining is found as well: p alone tells of S
what the classical attack makes of it, and p − q, with q of a model of R, tells more. No claim on the second release
bounds that: S may be read off p while q is a perfect retraining. Hence no AUC is called allowed, and the chance that a
result states is that of "nothing to see" in the pair. Only a bound on the joint law of both releases would limit the
attack. What speaks of the method is the gap to retraining, `gap_to_retrained`; and a gap below 0 is no merit: where
nothing is unlearned, p − q is noise alone.

A claim that holds at every training seed, with releases whose noise is independent, holds given p as well. Against
retraining with the same seed, one attack then has AUC_unlearned ≤ 1 − f(AUC_retrained), by the concavity of 1 − f.

Where all runs share one training seed, only the data differ between p and q, and exact retraining looks as if it gave
everything away; with fresh seeds the other training hides it. Neither regime is the other's bound: both are played.
No feature holds the label: a classifier that is linear in direct ones sees little where candidates are of many classes.

**Gap.** Attacks taught by two sets of pairs differ by what they learned, even where the sets have one law; that luck is
the same in all target runs and no interval over them holds it. So one attack, taught by pairs of both kinds, scores
both. Given what it learned, the runs' differences have mean 0 where (p, q) has one law for both kinds.

Differs from the paper: shadow and target runs share R and the candidates, which makes the adversary stronger; features
are standardised by shadow pairs alone; the forest has 30 trees for 500; of more than 5,000 shadow pairs a classifier
learns from 5,000 that are drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from unlearning.record_attacks import Differencing as Degradation
from unlearning.record_attacks import Interval

from ..attack_names import DIFFERENCING
from .attack import Attack, fit_attack
from .measures import INTERVAL_FAILURE_PROBABILITY, interval, run_aucs
from .runs import FIRST, Array, FitRuns, Mask, ScoreRuns

Feature = Callable[[Array, Array], Array]
_LEAF = 30  # shadow pairs in a leaf, of which a tree's answer is a share; fewer where there are few pairs
_EPOCHS = 20
_BATCHES = 8
MOST_PAIRS = 5_000  # that a classifier learns from, so that its cost has a limit


def direct_diff(p: Array, q: Array) -> Array:
    """DirectDiff: p − q, [..., c].

    >>> direct_diff(np.array([0.75, 0.25]), np.array([0.5, 0.5])).tolist()
    [0.25, -0.25]
    """
    return p - q


def sorted_diff(p: Array, q: Array) -> Array:
    """SortedDiff: p − q with the classes in the order of p, largest first, [..., c].

    >>> sorted_diff(np.array([0.25, 0.75]), np.array([0.5, 0.5])).tolist()
    [0.25, -0.25]
    """
    order = _order(p)
    return np.take_along_axis(p - q, order, -1)


def direct_concat(p: Array, q: Array) -> Array:
    """DirectConcat: p and q side by side, [..., 2c].

    >>> direct_concat(np.array([0.25, 0.75]), np.array([0.5, 0.5])).tolist()
    [0.25, 0.75, 0.5, 0.5]
    """
    return np.concatenate([p, q], -1)


def sorted_concat(p: Array, q: Array) -> Array:
    """SortedConcat: p and q side by side, both with the classes in the order of p, largest first, [..., 2c].

    >>> sorted_concat(np.array([0.25, 0.75]), np.array([0.625, 0.375])).tolist()
    [0.75, 0.25, 0.375, 0.625]
    """
    order = _order(p)
    return np.concatenate([np.take_along_axis(p, order, -1), np.take_along_axis(q, order, -1)], -1)


def euclidean(p: Array, q: Array) -> Array:
    """EucDist: ‖p − q‖₂, [..., 1].

    >>> euclidean(np.array([0.75, 0.25]), np.array([0.75, 0.25])).tolist()
    [0.0]
    """
    return np.asarray(np.linalg.norm(p - q, axis=-1, keepdims=True))


def _order(p: Array) -> Any:
    """Classes from the most to the least likely, equal ones in their own order."""
    return np.argsort(-p, axis=-1, kind="stable")


FEATURES: dict[str, Feature] = {
    "direct-diff": direct_diff,
    "sorted-diff": sorted_diff,
    "direct-concat": direct_concat,
    "sorted-concat": sorted_concat,
    "l2": euclidean,
}


class _Classifier(Protocol):
    """What is asked of a fitted scikit-learn classifier of two classes."""

    def predict_proba(self, features: Array) -> Array: ...


def _logistic(rows: Array, forgotten: Mask, seed: int) -> _Classifier:
    from sklearn.linear_model import LogisticRegression  # slow to import, here and below

    return _fitted(LogisticRegression(solver="newton-cholesky", max_iter=200), rows, forgotten)


def _tree(rows: Array, forgotten: Mask, seed: int) -> _Classifier:
    from sklearn.tree import DecisionTreeClassifier

    model = DecisionTreeClassifier(max_leaf_nodes=10, min_samples_leaf=_leaf(rows), random_state=seed)
    return _fitted(model, rows, forgotten)


def _forest(rows: Array, forgotten: Mask, seed: int) -> _Classifier:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(n_estimators=30, min_samples_leaf=_leaf(rows), n_jobs=1, random_state=seed)
    return _fitted(model, rows, forgotten)


def _perceptron(rows: Array, forgotten: Mask, seed: int) -> _Classifier:
    """A fixed number of epochs: there is no convergence to warn of."""
    from sklearn.neural_network import MLPClassifier

    batch = -(-len(rows) // _BATCHES)
    model = MLPClassifier((16,), alpha=0.1, learning_rate_init=0.02, batch_size=batch, random_state=seed)
    for _ in range(_EPOCHS):
        model.partial_fit(rows, forgotten, classes=[False, True])
    found: _Classifier = model
    return found


def _leaf(rows: Array) -> int:
    return max(1, min(_LEAF, len(rows) // 20))


def _fitted(model: Any, rows: Array, forgotten: Mask) -> _Classifier:
    found: _Classifier = model.fit(rows, forgotten)
    return found


CLASSIFIERS: dict[str, Callable[[Array, Mask, int], _Classifier]] = {
    "logistic": _logistic,
    "tree": _tree,
    "forest": _forest,
    "mlp": _perceptron,
}
_TITLES = {"logistic": "logistic regression", "tree": "a tree", "forest": "a forest", "mlp": "a perceptron"}


@dataclass(frozen=True, slots=True, eq=False)
class FittedPairs:
    """A classifier of pairs (p, q), with the units of its features.

    Attributes:
        feature: what it sees of a pair.
        centre: mean over shadow pairs, [F].
        spread: deviation over shadow pairs, [F].
        classifier: gives the probability of "forgotten".
    """

    feature: Feature
    centre: Array
    spread: Array
    classifier: _Classifier

    def scores(self, runs: ScoreRuns, model: str) -> Array:
        """Probability that a candidate was forgotten, [K, m]: each from its own pair alone."""
        pairs = _pairs(self.feature, runs, model)
        rows = (pairs.reshape(-1, pairs.shape[-1]) - self.centre) / self.spread
        return np.asarray(self.classifier.predict_proba(rows)[:, 1]).reshape(runs.members.shape)


def _pairs(feature: Feature, runs: FitRuns | ScoreRuns, model: str) -> Array:
    """Features of all candidates, [K, m, F]."""
    return feature(softmax(runs.of(FIRST), -1), softmax(runs.of(model), -1))


def _fit(feature: Feature, classifier: str, runs: FitRuns, model: str, generator: np.random.Generator) -> FittedPairs:
    """Learn from the candidates of all shadow runs: forgotten ones against those in neither version."""
    pairs = _pairs(feature, runs, model)
    rows = pairs.reshape(-1, pairs.shape[-1])
    centre, spread = rows.mean(0), rows.std(0)
    spread = np.where(spread > 1e-12 * (1 + np.abs(centre)), spread, np.inf)  # a constant feature says nothing
    seed = int(generator.integers(2**31))
    forgotten = runs.members.ravel()
    taught = _drawn(forgotten, generator)
    found = CLASSIFIERS[classifier]((rows[taught] - centre) / spread, forgotten[taught], seed)
    return FittedPairs(feature, centre, spread, found)


def _drawn(forgotten: Mask, generator: np.random.Generator) -> NDArray[np.int64]:
    """Rows to learn from: all, or so many as may be, of both kinds in the share that they have among all."""
    if forgotten.size <= MOST_PAIRS:
        return np.arange(forgotten.size)
    kinds = (np.flatnonzero(forgotten), np.flatnonzero(~forgotten))
    drawn = [generator.choice(own, max(1, MOST_PAIRS * own.size // forgotten.size), replace=False) for own in kinds]
    return np.sort(np.concatenate(drawn))


@dataclass(frozen=True, slots=True)
class Differencing:
    """MIA-U with one feature and one classifier.

    Attributes:
        feature: among `FEATURES`.
        classifier: among `CLASSIFIERS`.
    """

    feature: str
    classifier: str

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ValueError: there is no such feature or classifier.
        """
        for name, value, known in (
            ("feature", self.feature, FEATURES),
            ("classifier", self.classifier, CLASSIFIERS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be among {', '.join(known)}, got {value!r}.")

    @property
    def key(self) -> str:
        """Name in plans."""
        return f"{DIFFERENCING}/{self.feature}/{self.classifier}"

    @property
    def title(self) -> str:
        """Name for people."""
        return f"MIA-U, {self.feature.replace('-', ' ')}, {_TITLES[self.classifier]}"

    @property
    def family(self) -> Literal["MIA-U"]:
        """It sees both versions."""
        return "MIA-U"

    @property
    def source(self) -> str:
        """Paper and section."""
        return "Chen et al. 2021, §3"

    def fit(self, runs: FitRuns, model: str, *, generator: np.random.Generator) -> FittedPairs:
        """Learn from shadow pairs (first release, release of this kind)."""
        return _fit(FEATURES[self.feature], self.classifier, runs, model, generator)


@dataclass(frozen=True, slots=True)
class Classical:
    """Membership in the first version, from its posterior alone: what MIA-U is compared with.

    Attributes:
        classifier: among `CLASSIFIERS`: the same as of the attack beside it, so that both answer with probabilities
            of one kind, learned from the same candidates.
    """

    classifier: str

    @property
    def key(self) -> str:
        """Name in records."""
        return f"classical/{self.classifier}"

    @property
    def title(self) -> str:
        """Name for people."""
        return f"Posterior of the original model, {_TITLES[self.classifier]}"

    @property
    def family(self) -> Literal["MIA-L"]:
        """It sees one version."""
        return "MIA-L"

    @property
    def source(self) -> str:
        """Paper."""
        return "Chen et al. 2021: the classical attack on the original model"

    def fit(self, runs: FitRuns, model: str, *, generator: np.random.Generator) -> FittedPairs:
        """Learn from first releases, whatever is released later."""
        return _fit(_first_alone, self.classifier, runs, FIRST, generator)


def _first_alone(p: Array, q: Array) -> Array:
    return p


def degradation(
    attack: Differencing,
    shadows: FitRuns,
    targets: ScoreRuns,
    model: str,
    *,
    seeds: str,
    generator: np.random.Generator,
    failure_probability: float = INTERVAL_FAILURE_PROBABILITY,
) -> Degradation:
    """What a second version adds to what the first one gave away: DegCount and DegRate.

    With u and m the probabilities of "forgotten" by MIA-U and by the classical attack on the first version, and b = ±1
    the truth, the gain of a candidate is b·(u − m). DegCount is the share of candidates with a gain above 0, DegRate
    the mean gain. Both attacks learn from the same shadow runs; intervals are over target runs, given what was learned.

    Args:
        attack: MIA-U.
        shadows: to fit on.
        targets: to score.
        model: kind of the second version.
        seeds: "fresh" or "one seed".
        generator: of what the attacks draw.
        failure_probability: of each interval.

    Raises:
        TypeError: shadows or targets of the other type.
        ValueError: a target run is a shadow run.
    """
    classical = Classical(attack.classifier)
    both = fit_attack(attack, shadows, model, generator=generator).scores(targets, model)
    one = fit_attack(classical, shadows, FIRST, generator=generator).scores(targets, FIRST)
    gains = np.where(targets.members, both - one, one - both)
    return Degradation(
        attack=attack.key,
        against=model,
        seeds=seeds,
        classical=classical.key,
        wins=int((gains > 0).sum()),
        records=gains.size,
        degradation_count=interval((gains > 0).mean(1), failure_probability),
        degradation_rate=interval(gains.mean(1), failure_probability),
    )


def gap_to_retrained(
    attack: Attack,
    shadows: FitRuns,
    targets: ScoreRuns,
    model: str,
    *,
    generator: np.random.Generator,
    failure_probability: float = INTERVAL_FAILURE_PROBABILITY,
) -> Interval:
    """AUC on a kind of models less the AUC on retrained ones, by one attack that pairs of both kinds have taught.

    Args:
        attack: MIA-U.
        shadows: to fit on.
        targets: to score.
        model: kind of the second version.
        generator: of what the attack draws.
        failure_probability: of the interval.

    Raises:
        TypeError: shadows or targets of the other type.
        ValueError: a target run is a shadow run.
    """
    taught = fit_attack(attack, both_kinds(shadows, model), model, generator=generator)
    aucs = [run_aucs(taught.scores(targets, kind), targets.members) for kind in (model, "retrained")]
    return interval(aucs[0] - aucs[1], failure_probability)


def both_kinds(runs: FitRuns, model: str) -> FitRuns:
    """Shadow runs twice over, their second version under the name of the model: of its kind, then retrained."""
    kinds = (model, "retrained")
    firsts = (runs.of(FIRST), runs.population[FIRST])
    logits = {FIRST: np.concatenate([firsts[0]] * 2), model: np.concatenate([runs.of(kind) for kind in kinds])}
    outside = {FIRST: np.concatenate([firsts[1]] * 2), model: np.concatenate([runs.population[k] for k in kinds])}
    names = (*runs.names, *(f"{name}, retrained" for name in runs.names))
    members = np.concatenate([runs.members] * 2)
    return FitRuns(names, members, runs.labels, logits, outside, runs.population_labels)
