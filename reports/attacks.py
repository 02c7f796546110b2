"""Rung E in a report: what attackers get from released models, beside retrained ones and beside doing nothing."""

from collections.abc import Sequence

from unlearning.claim import SeedPolicy
from unlearning.record import ClaimFacts, Line, Row
from unlearning.record_attacks import AttackResult, Attacks, Interval
from unlearning.verdict import Outcome

from . import attack_figures as figures
from .attack_overview import overview
from .attack_parts import behaviour, both_versions_against_one, per_record, rebuilt, swept
from .attack_readings import (
    Choice,
    Contest,
    all_retrained,
    between,
    both_versions,
    contests,
    cut,
    decided_by,
    named,
    one_version,
    refused,
    regimes,
    remark,
    seeds_said,
    shown,
    strongest,
    without_retrained,
)
from .attack_tables import auc_table, luck, not_run, points_counted, points_table, unresolvable
from .document import Block, Bullets, Details, Figure, Paragraph, Section, Table
from .evidence import answer, evidence, power_on_nothing
from .numerals import count, exact, fixed, power
from .readings import SILENT
from .wording import NOT_COMPUTABLE, ended, plural

_QUESTION = "What would an attacker get?"
_SHARED_SEED = (
    "All runs share one training seed, shadow runs too: nothing but the data differs, which an attacker who knows the "
    "seed can imitate exactly. Training that draws nothing is in this position always."
)


def attacks_section(row: Row, anchor: str) -> tuple[Section, ...]:
    """What the attacks of a row found, where it was attacked."""
    lines = [line for line in row.lines if line.rung == "E"]
    found, anchor = row.attacks, f"{anchor}-attacked"
    if found is None:
        blocks = (Paragraph(answer(lines, "about the claim by an attack"), "Answer."), *evidence(lines))
        return (Section(anchor, _QUESTION, blocks),) if lines else ()
    titles = {result.attack: result.title for result in found.results}
    parts: list[Block] = []
    seeds = regimes(found)
    gone = bool(seeds) and all_retrained(found, seeds[0])
    told = without_retrained(found)
    if (table := overview(told, gone, lines, titles)) is not None:
        parts.append(table)
    if lines:
        parts += [Paragraph(answer(lines, "about the claim by an attack"), "Answer."), power_on_nothing(lines)]
    parts += _retrained(found, seeds)
    parts.append(Paragraph(_claim(found), "Claim."))
    if not seeds:
        reasons = "; ".join(found.reasons.values()) or "the record holds no result of an attack"
        parts.append(Paragraph(ended(reasons), f"{NOT_COMPUTABLE.capitalize()}."))
    for place, regime in enumerate(seeds):
        played = _regime(told, regime, row, f"{anchor}-{place}")
        shared = f"The same attacks with {seeds_said(regime)}"
        parts += played if place == 0 else [Details(shared, (Paragraph(_SHARED_SEED), *played), printed=False)]
    parts += both_versions_against_one(told, titles)
    parts += per_record(told, titles)
    parts += behaviour(told)
    parts += rebuilt(told, titles, anchor)
    parts += swept(told, titles, anchor)
    if found.reasons:
        parts.append(Paragraph(f"Of these attacks nothing is known: {not_run(found.reasons, titles)}.", "Not run."))
        why_not = (f"{named(titles, attack)}: {ended(why)}" for attack, why in found.reasons.items())
        parts.append(Bullets(tuple(why_not)))
    parts += evidence(lines)
    parts += [Paragraph(_how(found), "How."), Paragraph(_not_shown(found), "What this does not show.")]
    return (Section(anchor, _QUESTION, tuple(parts)),)


def _retrained(found: Attacks, seeds: Sequence[str]) -> list[Block]:
    """Runs that released the retrained reference: what they show is no success of the method."""
    parts = []
    alike = len({refused(found, regime) for regime in seeds}) == 1
    for regime in seeds[:1] if alike else seeds:
        some, where = refused(found, regime), "" if alike else f" with {seeds_said(regime)}"
        if all_retrained(found, regime):
            parts.append(
                f"All {plural(found.targets, 'target run')}{where} were over budget and released the retrained "
                "reference: of unlearned models nothing is known."
            )
        elif some:
            parts.append(
                f"{count(some)} of {plural(found.targets, 'target run')}{where} were over budget and released the "
                "retrained reference: they make every number of unlearned models look better."
            )
    return [Paragraph(" ".join(parts), "Over budget.")] if parts else []


def _claim(found: Attacks) -> str:
    allowed = next((r.auc_allowed for r in found.results if r.auc_allowed is not None), None)
    if allowed is None:
        return "What the claim allows an attacker who sees the released model was not computed."
    return (
        f"Where the claim holds, no attack on the released model alone has a mean AUC above "
        f"{fixed(allowed, 3, 'up')}. AUC is the probability that a forgotten record is ranked above one that was never "
        "learned: ½ is guessing, 1 is certainty. Of an attacker who holds the model before unlearning as well, whom "
        "that model tells who was learned, the claim alone says nothing."
    )


def _regime(attacks: Attacks, seeds: str, row: Row, salt: str) -> list[Block]:
    """Words, pictures and tables of all attacks with the same seeds."""
    found = contests(attacks, seeds)
    one, both = one_version(found), both_versions(found)
    chosen, chosen_of_both = strongest(one), strongest(both)
    blocks: list[Block] = []
    if chosen is not None:
        blocks.append(Paragraph(_strongest(chosen, row.lines), "One released model in hand."))
    elif one:
        blocks.append(Paragraph("Not computable: no attack on unlearned models.", "One released model in hand."))
    if chosen_of_both is not None:
        text = f"{_strongest(chosen_of_both, row.lines)} {_leaks_anyway(chosen_of_both.contest, row.claim)}"
        blocks.append(Paragraph(text, "Both versions in hand."))
    blocks.append(Paragraph(_controls(found), "Control."))
    table, gone = shown(found), all_retrained(attacks, seeds)
    allowed = next((r.auc_allowed for c in one for r in c.results.values() if r.auc_allowed is not None), None)
    caption = "AUC of each attack with its interval on unlearned models, on doing nothing and on retrained models."
    if allowed is not None:
        caption += " The line is what the claim allows those who hold one version; the rest (MIA-U) it does not bound."
    described = "Dots with intervals by attack; the numbers are in the table of attacks."
    blocks.append(Figure(figures.aucs([c for _, c in table], allowed, f"{salt}-aucs"), caption, described))
    part = refused(attacks, seeds)
    over = f" {count(part)} of {plural(attacks.targets, 'run')} retrained, being over budget." if part else ""
    tables = [auc_table(_TABLE + over, table, gone=gone)]
    if len(table) < len(found):
        tables.append(_every(both, gone))
    blocks.append(Details("Attacks in numbers", tuple(tables), printed=False))
    return blocks + _small_rates(found, [c.contest for c in (chosen, chosen_of_both) if c is not None], salt)


_TABLE = (
    "Attacks on released models, records forgotten against never learned. Gap: unlearned less models retrained with "
    "the run’s own seed, paired by run; for both versions (MIA-U) that of one attack taught by pairs of both kinds, "
    "and so not the difference of the AUCs beside it, whose two fits differ by luck. Told apart: whether guessing "
    "would hardly do as well; luck is the probability that it does. Power: of catching doing nothing, stated from "
    "shadow runs beforehand."
)


def _every(both: Sequence[Contest], gone: bool) -> Table:
    return auc_table(
        f"All {len(both)} attacks on both versions. With so many tried, some look strong by luck.",
        [("" if contest.shipped else remark(contest), contest) for contest in both],
        gone=gone,
    )


def _strongest(choice: Choice, lines: Sequence[Line]) -> str:
    result = choice.contest.results["unlearned"]
    mine = "" if choice.contest.shipped else " (your own: it decides nothing)"
    if choice.tried == 1:
        which = f"The attack was {result.title}{mine}."
    elif choice.beforehand:
        which = (
            f"Of {choice.tried} attacks, shadow runs said before any target was seen that {result.title}{mine} is "
            "strongest."
        )
    else:
        which = (
            f"Of {choice.tried} attacks {result.title}{mine} reached most. It was chosen on these very runs, so that "
            "its numbers lie too high, and its interval and its luck are those of one attack alone."
        )
    text = (
        f"{which} It ranks a forgotten record above one never learned with probability {_with_limits(result.auc)} on "
        f"unlearned models"
    )
    retrained, nothing = choice.contest.results.get("retrained"), choice.contest.results.get("original")
    text += f", {_with_limits(retrained.auc)} on retrained ones" if retrained else "; on retrained ones it was not run"
    text += f", and {_with_limits(nothing.auc)} where nothing was unlearned." if nothing else "."
    if result.gap is not None:
        gap, runs = _with_limits(result.gap, -1.0), plural(result.gap.runs, "run")
        if choice.contest.both_versions:
            text += f" One attack taught by pairs of both kinds has a gap of {gap} to retrained, over {runs}."
        else:
            text += f" Its gap to retrained is {gap}, over {runs}."
    if not choice.contest.both_versions:
        text += f" {_told_apart(result, decided_by(lines, result))}"
    return text


def _told_apart(result: AttackResult, line: Line | None) -> str:
    """Whether records were told apart; and what the deciding line says of the claim, where it rests on this attack."""
    chance = f"guessing does as well with probability at most {luck(result)}"
    level = exact(result.failure_probability)
    if result.caught:
        text = f"Forgotten records were told apart: {chance}, and the level is {level}."
    else:
        text = f"Forgotten records were not told apart at the level {level}: {chance}. A better attack may do it."
    if line is None or line.statistic is None or line.threshold is None:
        return text
    least, allowed = fixed(line.statistic, 3, "down"), fixed(line.threshold, 3, "up")
    compared = "above" if line.outcome is Outcome.REFUTED else "not above"
    fails = exact(float(f"{line.failure_probability:.4g}"))
    return (
        f"{text} The deciding line rests on this attack: its mean AUC is at least {least} except with probability "
        f"{fails}, {compared} the {allowed} that the claim allows."
    )


def _leaks_anyway(contest: Contest, claim: ClaimFacts) -> str:
    """What retraining gives away to who holds both versions, and what a claim bounds of it."""
    retrained = contest.results.get("retrained")
    if retrained is None:
        text = "What exact retraining gives away to such an attacker was not tried."
    elif retrained.caught:
        text = (
            f"Exact retraining leaks to such an attacker as well, here with AUC {_with_limits(retrained.auc)}: the "
            "model before tells who was learned."
        )
    else:
        text = (
            f"Exact retraining may leak to such an attacker as well; here it shows nothing that could be told "
            f"({between(cut(retrained.auc))})."
        )
    text += (
        " So only the gap, beside retraining with the run’s own seed, speaks of the method: that of exact retraining "
        "is 0. "
        "No certificate of the released model bounds the AUC of such an attack"
    )
    if claim.seed_policy is SeedPolicy.MARGINAL or claim.seed_policy is None:
        return f"{text}."
    return (
        f"{text}; a claim that holds at every training seed bounds it beside retraining: one and the same attack, at "
        "equal seeds, has AUC at most 1 − f(its AUC on retrained models)."
    )


def _with_limits(found: Interval, least: float = 0.0) -> str:
    return f"{fixed(found.mean)} ({between(cut(found, least))})"


def _controls(found: Sequence[Contest]) -> str:
    """Doing nothing, which attacks must catch, and retraining, which those with one version must not."""
    one = one_version(found)
    nothing = [(c, c.results["original"]) for c in one if "original" in c.results]
    if not nothing:
        text = "No attack with one version in hand was run on doing nothing: their silence means nothing."
    else:
        caught = sum(result.caught for _, result in nothing)
        text = f"Doing nothing was caught by {caught} of {plural(len(nothing), 'attack')} with one version in hand"
        stated = [(result.power, -place) for place, (_, result) in enumerate(nothing) if result.power is not None]
        if not stated:
            text += "; no power was stated beforehand."
        else:
            most, place = max(stated)
            best = nothing[-place][1]
            text += (
                f". {best.title} was stated beforehand to catch it with probability {power(most)}, the most of all, "
                f"and {'did' if best.caught else 'did not'}."
            )
            if most < SILENT and not caught:
                text += " So little power means that their silence says nothing."
    retrained = [c.results["retrained"] for c in one if "retrained" in c.results]
    if retrained:
        wrong = [result for result in retrained if result.caught]
        level = exact(max(result.failure_probability for result in retrained))
        text += (
            f" On retrained models, which know nothing of the draw, {count(len(wrong))} of "
            f"{plural(len(retrained), 'attack')} seemed to tell records apart; each does so by luck with "
            f"probability at most {level}."
        )
    return text


def _small_rates(found: Sequence[Contest], chosen: Sequence[Contest], salt: str) -> list[Block]:
    """ROC of the strongest attack of each kind, and true positives at small false-positive rates."""
    table = points_table(
        "True positives at small false-positive rates: the largest realised rate that is not above the one named. "
        "Limits go by runs, not by records (Korn and Graubard 1998).",
        chosen,
    )
    blocks: list[Block] = []
    if silent := unresolvable(found):
        blocks.append(Paragraph(f"{'; '.join(silent)}.", "Small false-positive rates.", "note"))
    for place, contest in enumerate(chosen):
        every = list(contest.results.values())
        called = (
            f"{count(min(r.positives for r in every))} forgotten and {count(min(r.negatives for r in every))} others"
        )
        caption = f"ROC of {contest.title}, records of all runs pooled ({called}); shaded, where guessing would lie."
        described = "ROC curves on unlearned and retrained models and on doing nothing, over the band of guessing."
        picture = Figure(figures.roc(contest, f"{salt}-roc-{place}"), caption, described)
        folded = place > 0 or table is None  # without small rates it adds little to the AUC
        blocks.append(Details(f"ROC of {contest.title}", (picture,), printed=False) if folded else picture)
    if table is not None:
        blocks.append(table)
    counted = points_counted(found)
    if counted is not None:
        blocks.append(Details("Small false-positive rates of all attacks", (counted,), printed=False))
    return blocks


def _how(found: Attacks) -> str:
    text = (
        f"{count(found.candidates)} training records are candidates, the row’s request among them. What is deleted in "
        f"a run is not that request but {count(found.forgotten)} of the candidates, as many, drawn at random: of a "
        "request for the worst records, a class or planted ones each run deletes a part, with others. The rest of the "
        "candidates are never learned in that run, and all other records are learned always. "
        f"{plural(found.shadows, 'shadow run')} taught the attacks, {plural(found.targets, 'target run')} were "
        "attacked, and no run was used for both"
    )
    text += f"; {plural(found.population, 'public record')} were in no training set." if found.population else "."
    return (
        f"{text} Retrained models have the run’s own training seed and random numbers, and do not depend on the draw: "
        "on them one released model tells nothing (mean AUC ½). Runs are the unit of every interval, the candidates "
        "are fixed, and limits are cut to values that are possible."
    )


def _not_shown(found: Attacks) -> str:
    return (
        "These attacks are lower limits of what can be known: a failed attack proves nothing, and a claim speaks of "
        f"all attacks. They concern these {count(found.candidates)} candidates; other records may be easier to find. "
        "Each interval and each luck is that of one attack, not of all at once."
    )
