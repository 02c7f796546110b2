"""Rung E in a report: what attackers get from released models, beside retrained ones and beside doing nothing."""

from collections.abc import Sequence

from unlearning.record import Row
from unlearning.record_attacks import AttackResult, Attacks, Interval

from . import attack_figures as figures
from .attack_parts import behaviour, both_versions_against_one, per_record, rebuilt, swept
from .attack_readings import (
    Choice,
    Contest,
    between,
    both_versions,
    contests,
    named,
    one_version,
    regimes,
    shown,
    strongest,
)
from .attack_tables import auc_table, luck, not_run, points_counted, points_table, unresolvable
from .document import Block, Bullets, Details, Figure, Paragraph, Section
from .evidence import answer, evidence
from .numerals import count, exact, fixed
from .wording import NOT_COMPUTABLE, ended, plural

_QUESTION = "What would an attacker get?"
_SHARED_SEED = (
    "All runs share one training seed, shadow runs and retrained models too: nothing but the data differs, which an "
    "attacker who knows the seed can imitate exactly. Training that draws nothing is in this position always."
)


def attacks_section(row: Row, anchor: str) -> tuple[Section, ...]:
    """What the attacks of a row found, where it was attacked."""
    lines = [line for line in row.lines if line.rung == "E"]
    found, anchor = row.attacks, f"{anchor}-attacked"
    if found is None:
        blocks = (Paragraph(answer(lines, "about the claim by an attack"), "Answer."), *evidence(lines))
        return (Section(anchor, _QUESTION, blocks),) if lines else ()
    titles = {result.attack: result.title for result in found.results}
    parts: list[Block] = [Paragraph(_claim(found), "Claim.")]
    if lines:
        parts.append(Paragraph(answer(lines, "about the claim by an attack"), "Answer."))
    seeds = regimes(found)
    if not seeds:
        reasons = "; ".join(found.reasons.values()) or "the record holds no result of an attack"
        parts.append(Paragraph(ended(reasons), f"{NOT_COMPUTABLE.capitalize()}."))
    for place, regime in enumerate(seeds):
        told = _regime(contests(found, regime), f"{anchor}-{place}")
        parts += told if place == 0 else [Details(f"The same with {regime}", (Paragraph(_SHARED_SEED), *told))]
    parts += both_versions_against_one(found, titles)
    parts += per_record(found, titles)
    parts += rebuilt(found, titles, anchor)
    parts += behaviour(found)
    parts += swept(row.claim, found, titles, anchor)
    if found.reasons:
        parts.append(Paragraph(f"Of these attacks nothing is known: {not_run(found.reasons, titles)}.", "Not run."))
        why_not = (f"{named(titles, attack)}: {ended(why)}" for attack, why in found.reasons.items())
        parts.append(Bullets(tuple(why_not)))
    parts += evidence(lines)
    parts += [Paragraph(_how(found), "How."), Paragraph(_not_shown(found), "What this does not show.")]
    return (Section(anchor, _QUESTION, tuple(parts)),)


def _claim(found: Attacks) -> str:
    allowed = next((r.auc_allowed for r in found.results if r.auc_allowed is not None), None)
    if allowed is None:
        return "What the claim allows an attacker who sees the released model was not computed."
    return (
        f"Where the claim holds, no attack on the released model alone has a mean AUC above 1 − f(½) = "
        f"{fixed(allowed, 3, 'up')}. AUC is the probability that a forgotten record is ranked above one that was never "
        "learned: ½ is guessing, 1 is certainty. To an attacker who holds the model before unlearning as well the "
        "claim promises nothing."
    )


def _regime(found: Sequence[Contest], salt: str) -> list[Block]:
    """Words, pictures and tables of all attacks with the same seeds."""
    one, both = one_version(found), both_versions(found)
    chosen, chosen_of_both = strongest(one), strongest(both)
    blocks: list[Block] = []
    if chosen is not None:
        blocks.append(Paragraph(_strongest(chosen), "One released model in hand."))
    elif one:
        blocks.append(Paragraph("Not computable: no attack on unlearned models.", "One released model in hand."))
    if chosen_of_both is not None:
        text = f"{_strongest(chosen_of_both)} {_leaks_anyway(chosen_of_both.contest)}"
        blocks.append(Paragraph(text, "Both versions in hand."))
    blocks.append(Paragraph(_controls(found), "Control."))
    table = shown(found)
    allowed = next((r.auc_allowed for c in one for r in c.results.values() if r.auc_allowed is not None), None)
    caption = "AUC of each attack with its interval on unlearned models, on doing nothing and on retrained models."
    if allowed is not None:
        caption += " The line is what the claim allows those who hold one version; the rest (MIA-U) it does not bound."
    described = "Dots with intervals by attack; the numbers are in the table below."
    blocks.append(Figure(figures.aucs([c for _, c in table], allowed, f"{salt}-aucs"), caption, described))
    blocks.append(auc_table(_TABLE, table))
    if len(table) < len(found):
        blocks.append(Details(f"All {len(both)} attacks on both versions", (_every(both),)))
    return blocks + _small_rates(found, [c.contest for c in (chosen, chosen_of_both) if c is not None], salt)


_TABLE = (
    "Attacks on released models, records forgotten against never learned. Gap: unlearned less retrained, paired by "
    "run. AUC ≥: lower limit of the mean on unlearned models, whatever the law of the runs. Luck: probability that "
    "guessing does as well. Power: of catching doing nothing, stated from shadow runs beforehand."
)


def _every(both: Sequence[Contest]) -> Block:
    return auc_table(
        "Every combination of features and attack model. With so many tried, some look strong by luck.",
        [("", contest) for contest in both],
    )


def _strongest(choice: Choice) -> str:
    result = choice.contest.results["unlearned"]
    if choice.tried == 1:
        which = f"The attack was {result.title}."
    elif choice.beforehand:
        which = (
            f"Of {choice.tried} attacks, shadow runs said before any target was seen that {result.title} is strongest."
        )
    else:
        which = (
            f"Of {choice.tried} attacks {result.title} reached most. It was chosen on these very runs, so that its "
            "numbers lie too high, and its interval and its luck are those of one attack alone."
        )
    text = (
        f"{which} It ranks a forgotten record above one never learned with probability {_with_limits(result.auc)} on "
        f"unlearned models"
    )
    retrained, nothing = choice.contest.results.get("retrained"), choice.contest.results.get("original")
    text += f", {_with_limits(retrained.auc)} on retrained ones" if retrained else "; on retrained ones it was not run"
    text += f", and {_with_limits(nothing.auc)} where nothing was unlearned." if nothing else "."
    if result.gap is not None:
        text += f" Its gap to retrained is {_with_limits(result.gap)}, over {plural(result.gap.runs, 'run')}."
    if not choice.contest.both_versions:
        text += f" {_told_apart(result)}"
    return text


def _told_apart(result: AttackResult) -> str:
    chance = f"guessing does as well with probability at most {luck(result)}"
    level = exact(result.failure_probability)
    if result.caught:
        text = f"Forgotten records were told apart: {chance}, and the level is {level}."
    else:
        text = f"Forgotten records were not told apart at the level {level}: {chance}. A better attack may do it."
    if result.auc_allowed is None:
        return text
    least, allowed = fixed(result.auc_lower, 3, "down"), fixed(result.auc_allowed, 3, "up")
    compared = "above" if result.auc_lower > result.auc_allowed else "not above"
    return f"{text} The mean AUC is at least {least} except with probability {level}: {compared} the {allowed} allowed."


def _leaks_anyway(contest: Contest) -> str:
    retrained = contest.results.get("retrained")
    known = f", here with AUC {_with_limits(retrained.auc)}" if retrained else ""
    return (
        f"Exact retraining leaks to such an attacker as well{known}: the model before tells who was learned. So only "
        "the gap speaks of the method, and no certificate of the released model bounds the attack."
    )


def _with_limits(found: Interval) -> str:
    return f"{fixed(found.mean)} ({between(found)})"


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
            power, place = max(stated)
            best = nothing[-place][1]
            text += (
                f". {best.title} was stated beforehand to catch it with probability {fixed(power, 3, 'down')}, the "
                f"most of all, and {'did' if best.caught else 'did not'}."
            )
            if power < 0.5 and not caught:
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
    blocks: list[Block] = []
    for place, contest in enumerate(chosen):
        every = list(contest.results.values())
        called = (
            f"{count(min(r.positives for r in every))} forgotten and {count(min(r.negatives for r in every))} others"
        )
        caption = f"ROC of {contest.title}, records of all runs pooled ({called}); shaded, where guessing would lie."
        described = "ROC curves on unlearned and retrained models and on doing nothing, over the band of guessing."
        picture = Figure(figures.roc(contest, f"{salt}-roc-{place}"), caption, described)
        blocks.append(picture if place == 0 else Details(f"ROC of {contest.title}", (picture,)))
    table = points_table(
        "True positives at small false-positive rates: the largest realised rate that is not above the one named. "
        "Limits are those of independent records.",
        chosen,
    )
    if table is not None:
        blocks.append(table)
    if silent := unresolvable(found):
        blocks.append(Paragraph(f"{'; '.join(silent)}.", "Small false-positive rates.", "note"))
    counted = points_counted(found)
    if counted is not None:
        blocks.append(Details("Small false-positive rates of all attacks", (counted,)))
    return blocks


def _how(found: Attacks) -> str:
    text = (
        f"{count(found.candidates)} training records are candidates. In each run {count(found.forgotten)} of them, "
        "drawn at random, are learned and then forgotten, and the others are never learned; all other records are "
        f"learned always. {plural(found.shadows, 'shadow run')} taught the attacks, "
        f"{plural(found.targets, 'target run')} were attacked, and no run was used for both"
    )
    text += f"; {plural(found.population, 'public record')} were in no training set." if found.population else "."
    if found.refused:
        text += f" In {plural(found.refused, 'target run')} the budget was exceeded and the reference was released."
    return (
        f"{text} Retrained models are attacked likewise, and depend on no draw: on them one released model tells "
        "nothing (mean AUC ½). Runs are the unit of every interval; the candidates are fixed."
    )


def _not_shown(found: Attacks) -> str:
    return (
        "These attacks are lower limits of what can be known: a failed attack proves nothing, and a claim speaks of "
        f"all attacks. They concern these {count(found.candidates)} candidates; other records may be easier to find. "
        "Each interval and each luck is that of one attack, not of all at once."
    )
