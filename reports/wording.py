"""Sentences that several sections share, each written once."""

from unlearning.claim import Reference, SeedPolicy, Status
from unlearning.record import ClaimFacts, Constant, Evidence, Row
from unlearning.tradeoff import Directions
from unlearning.verdict import MEANING, Outcome, Verdict

from .document import Cell, Column, Facts, Stamp, Table
from .numerals import MISSING, count, exact, number
from .readings import gaussian_guess_probability, guess_probability

DISCLAIMER = (
    "This report is technical evidence, not a legal conclusion. It speaks of released weights under the threat model "
    "named here; it does not show that a provider deleted anything, nor where else copies of the data remain."
)
DISCLAIMER_OF_SCORES = (
    "This report is technical evidence, not a legal conclusion. It speaks of scores that somebody computed, and of the "
    "models behind them only as far as each score came from a run of its own; it does not show that a provider deleted "
    "anything, nor where else copies of the data remain."
)
NOT_RUN = "not run in this plan"
NOT_COMPUTABLE = "not computable"
STATUS_MEANING = {
    Status.PROVED: "follows from the definition of model and data",
    Status.CHECKED: "measured exactly, or bounded, on this run",
    Status.ESTIMATED: "measured from samples: may be too small",
    Status.ASSUMED: "taken on trust",
    Status.VIOLATED: "shown to be false here",
}
OUTCOME_MEANING = {  # of one line, and of several
    Outcome.REFUTED: ("contradicts the promise", "contradict the promise"),
    Outcome.NOT_REFUTED: ("found no contradiction",) * 2,
    Outcome.NOT_COMPUTABLE: ("could say nothing",) * 2,
    Outcome.ERROR: ("failed",) * 2,
}
GLOSSARY = (
    ("Unlearning", "changing a trained model so that it is as if some records had never been used."),
    ("Request", "the records that are to be forgotten."),
    ("Original, retrained", "the model trained on everything, and one trained anew without the request."),
    ("Unlearned, released", "the original after unlearning, and the same with the certificate’s noise added."),
    ("Reference", "the law that the claim compares the released model with: retraining, or unlearning of nothing."),
    (
        "ε, δ",
        "no event may be more than eᵋ times as probable with one model as with the other, up to δ. In plain words: "
        "an observer who thinks both worlds equally likely, sees the release, and guesses, is right with probability "
        "at most eᵋ/(1 + eᵋ) + δ. At ε = 0 that is a coin; at ε = 1 it is .731; at ε = 5 it is .993.",
    ),
    (
        "μ-GDP",
        "telling both models apart is at least as hard as telling N(0, 1) from N(μ, 1) by one draw: the best guess is "
        "right with probability Φ(μ/2). This is what distance Δ under noise σ = Δ/μ gives.",
    ),
    ("Δ, sensitivity", "what the theorem says the distance between unlearned and reference cannot exceed."),
    ("σ, noise scale", "standard deviation of the Gaussian noise on every weight."),
    ("Slack", "largest measured distance over Δ. Far below 1: the bound is loose. Above 1: it is broken."),
    (
        "Trade-off",
        "for every test: α, how often it fires on retrained models, against β, how often it misses unlearned.",
    ),
    (
        "Doing nothing",
        "releasing the original with the same noise. A promise that this keeps says nothing of forgetting.",
    ),
    ("Lower bound on ε", "every smaller ε is contradicted, except with the failure probability stated."),
    ("Power", "probability that this audit would have found a breach of a given size."),
    ("Replica", "one of several models trained alike with their own seeds."),
    ("AUC", "probability that an attack ranks a forgotten record above one never learned: ½ is guessing, 1 certainty."),
    (
        "MIA-L, MIA-U",
        "telling forgotten records from records never learned, by one released model or those before and after.",
    ),
    ("Control", "a defect planted on purpose, or a retrained model in disguise, that tests the audit."),
    ("Failure probability", "probability that a true promise is refuted by bad luck."),
)
_SHARED = ("ε, δ", "μ-GDP", "Lower bound on ε", "Power", "Failure probability")
GLOSSARY_OF_SCORES = (
    ("Run", "training, unlearning and release with random numbers of their own; here, one score of one model."),
    ("Score", "a number computed of one model elsewhere, by a rule that was fixed before these models were scored."),
    ("Released, reference", "the two files: models that are said to be as if retrained, and what they are held to."),
    ("Event", "scores on one side of a threshold, which was chosen on runs that do not test it."),
    ("Trade-off", "for every test: α, how often it fires on reference runs, against β, how often it misses released."),
    *((name, meaning) for name, meaning in GLOSSARY if name in _SHARED),
)
_OF_SCORES = {
    Verdict.REFUTED: MEANING[Verdict.REFUTED],
    Verdict.NOT_COMPUTABLE: "These scores could not have shown a breach; they say nothing about the models.",
    Verdict.NOT_REFUTED: (
        "No evidence against the promise within the power stated; no model that did nothing was there to test."
    ),
}


def meanings(*, from_files: bool) -> dict[Verdict, str]:
    """The verdicts that a record can hold, with their meanings."""
    return _OF_SCORES if from_files else MEANING


def stamp(verdict: Verdict, large: bool = False, of: int = 1, *, from_files: bool = False) -> Stamp:
    """A verdict with its meaning; the verdict of several rows is that of the worst."""
    meaning = meanings(from_files=from_files).get(verdict, MEANING[verdict])
    if of > 1:
        meaning = f"The worst of {of} rows: {meaning[0].lower()}{meaning[1:]}"
    return Stamp(verdict.value, meaning, large)


def word(value: Verdict | Outcome, note: str = "") -> Cell:
    """A verdict or an outcome in a table."""
    return Cell(value.value, note, value.value)


def reference(claim: ClaimFacts) -> str:
    """The law on the other side, in words."""
    if claim.reference is None:
        return "the model behind the reference scores"
    if claim.reference is Reference.RETRAINED:
        return "the model retrained without the request"
    return "the model retrained without the request and then made to unlearn nothing"


def directions(claim: ClaimFacts) -> str:
    """Which inequalities are claimed, in words."""
    return {
        Directions.BOTH: "both: neither model may be eᵋ times as likely as the other, up to δ",
        Directions.RELEASED: "one: the released model at most eᵋ times as likely as the reference, up to δ",
        Directions.REFERENCE: "one: the reference at most eᵋ times as likely as the released model, up to δ",
    }[claim.directions]


def seed_policy(claim: ClaimFacts) -> str:
    """Which randomness the claim speaks of, in words."""
    if claim.seed_policy is None:
        return "whatever varied between the runs; the files do not say what it was"
    return {
        SeedPolicy.PER_SEED: "for every training seed; only the certificate’s noise is random",
        SeedPolicy.MARGINAL: "over training seeds; a single seed may do worse",
        SeedPolicy.DETERMINISTIC: "training has no seed",
    }[claim.seed_policy]


def plain_reading(claim: ClaimFacts) -> str:
    """What the numbers of a claim mean for somebody who has to decide."""
    best = guess_probability(claim)
    formula = "eᵋ/(1 + eᵋ) (+δ)" if claim.directions is Directions.BOTH else "1 − (1 − δ)e⁻ᵋ/2"
    text = (
        f"If both worlds are equally likely beforehand, the best guess from one release is right with probability at "
        f"most {formula} = {number(min(best, 1.0), rounding='up')}."
    )
    if claim.mu is not None:
        sharper = number(gaussian_guess_probability(claim.mu), rounding="up")
        text += f" The Gaussian claim, μ = {number(claim.mu)}, is sharper: at most Φ(μ/2) = {sharper}."
    return text


def promise(row: Row) -> str:
    """ε and δ, and μ where there is one."""
    mu = f", μ = {number(row.claim.mu)}" if row.claim.mu is not None else ""
    return f"ε = {exact(row.claim.epsilon)} at δ = {exact(row.claim.delta)}{mu}"


def constants_table(caption: str, constants: tuple[Constant, ...]) -> Table:
    """Premises with value, status and origin."""
    columns = (
        Column("Premise or constant", "text", 2.2),
        Column("Value"),
        Column("Status", "word"),
        Column("How it was obtained", "text", 2.6),
    )
    rows = tuple(
        (Cell(c.statement), Cell(number(c.value)), Cell(c.status.value, tone=c.status.value), Cell(c.how))
        for c in constants
    )
    return Table(caption, columns, rows)


def expectation(row: Row) -> str:
    """Whether the verdict is the one that the plan expected."""
    return "as expected" if row.as_expected else f"expected {row.expected.value}"


def failure(evidence: Evidence) -> str:
    """What the failure probability covers."""
    p = exact(evidence.failure_probability)
    if evidence.family == "plan":
        return f"A true promise is refuted by bad luck with probability at most {p}, for all rows together."
    rows = len(evidence.rows)
    total = exact(min(1.0, float(f"{rows * evidence.failure_probability:.12g}")))
    if rows == 1:
        return f"A true promise is refuted by bad luck with probability at most {p}."
    return (
        f"A true promise is refuted by bad luck with probability at most {p} per row: over {rows} rows at most {total}."
    )


def pairs(values: dict[str, object]) -> Facts:
    """Parameters and the like, sorted by name."""
    return Facts(tuple((key, value(found)) for key, found in sorted(values.items())))


def value(found: object) -> str:
    """A parameter as text."""
    if found is None:
        return MISSING
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, int):
        return count(found)
    if isinstance(found, float):
        return exact(found)
    if isinstance(found, list | tuple):
        return ", ".join(value(part) for part in found)
    return str(found)


def called(row: Row, most: int = 60) -> str:
    """The name of a row, cut to what a sentence can hold."""
    return row.name if len(row.name) <= most else row.name[: most - 1] + "…"


def ended(text: str) -> str:
    """A text that ends like a sentence."""
    stripped = text.strip()
    return stripped if not stripped or stripped[-1] in ".!?" else stripped + "."


def listing(words: list[str], most: int = 6) -> str:
    """Words with commas and an "and"; the rest is counted."""
    if len(words) > most:
        words = [*words[: most - 1], f"{len(words) - most + 1} more"]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def plural(number_of: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count(number_of)} {noun}{'' if number_of == 1 else 's'}"
