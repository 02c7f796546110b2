"""What evidence a row of a plan asks for: lines, controls, games, and code of the user's own for them."""

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

import numpy as np

from audit.attack_lines import KEY, detectable_mean
from audit.attack_names import RECONSTRUCTION, WORDS, expand
from audit.attacks.attack import Family
from audit.attacks.catalogue import ATTACKS
from audit.attacks.measures import critical_auc
from audit.bounds.identification import Game
from audit.design import AttackDesign, Design, IdentificationDesign, line_weights
from audit.score_names import SHIPPED_SCORES
from unlearning.auc import auc_allowed
from unlearning.claim import SeedPolicy
from unlearning.errors import PlanError
from unlearning.rounding import text_upper

from .plan import IdentificationSpec, RowSpec

LEAST_CANDIDATES = 10  # where a plan names none: of two, every run's AUC is 0 or 1
_DEVIATION = 0.15  # of runs' AUCs, about that of few candidates


def own_scores(spec: RowSpec, code: Mapping[str, Any], where: str) -> tuple[tuple[str, Callable[..., Any]], ...]:
    """Functions of the scores that are the user's own.

    Raises:
        PlanError: a score is no function.
    """
    found = []
    for position, name in enumerate(spec.scores):
        if name in SHIPPED_SCORES:
            continue
        if not callable(code[name]) or isinstance(code[name], type):
            raise PlanError(
                f"{where}.scores[{position}] must name a function score(parameters, context), got {name}, "
                f"a {type(code[name]).__name__}."
            )
        found.append((name, code[name]))
    return tuple(found)


def own_attacks(spec: RowSpec, code: Mapping[str, Any], where: str) -> tuple[tuple[str, Any], ...]:
    """Attacks that are the user's own: classes, called without arguments, or attacks.

    Raises:
        PlanError: no attack, or one with the key or the title of another.
    """
    found = []
    keys, titles = set(WORDS), {attack.title for attack in ATTACKS.values()}
    for position, name in enumerate(spec.attacking.names if spec.attacking else ()):
        if name in WORDS:
            continue
        at = f"{where}.attacks.names[{position}]"
        attack = _own_attack(name, code[name], at)
        for part, taken in (("key", keys), ("title", titles)):
            value = getattr(attack, part)
            if value in taken:
                raise PlanError(
                    f"{at} must have a {part} that no other attack has, got {value!r} of {name}. Change the {part}."
                )
            taken.add(value)
        found.append((name, attack))
    return tuple(found)


def _own_attack(name: str, code: Any, at: str) -> Any:
    try:
        attack = code() if isinstance(code, type) else code
    except Exception as error:
        raise PlanError(
            f"{at} must name a class that needs no arguments, got {name}: {type(error).__name__}: {error}"
        ) from error
    missing = [part for part in ("key", "title", "family", "source", "fit") if not hasattr(attack, part)]
    if missing:
        raise PlanError(f"{at} must have {', '.join(missing)}, got {name}; see audit.attacks.attack.Attack.")
    for part in ("key", "title", "source"):
        if not isinstance(getattr(attack, part), str) or not getattr(attack, part).strip():
            raise PlanError(f"{at} must have a {part} that is a text, got {getattr(attack, part)!r} of {name}.")
    if attack.family not in get_args(Family):
        families = ", ".join(get_args(Family))
        raise PlanError(f"{at} must have a family among {families}, got {attack.family!r} of {name}.")
    return attack


def lines_of(spec: RowSpec) -> dict[str, float]:
    """Lines that spend failure probability, by key, with their weights."""
    asked = spec.attacking
    decides = asked is not None and AttackDesign(expand(asked.names), 2, seeds=asked.seeds).decides
    return line_weights(
        frozenset(spec.rungs), spec.scores, until_refuted=spec.until is not None, attacks_decide=decides
    )


def controls_of(spec: RowSpec) -> tuple[str, ...]:
    """Defects that some line of the row can see: rung A knows the weights and needs no control."""
    if "C" in spec.rungs:
        return spec.controls
    seen = {"tenth-noise", "half-noise", "frozen-noise", "retrained"} if "B" in spec.rungs else set()
    if {"D", "E"} & {*spec.rungs}:
        seen |= {"no-op", "retrained"}
    return tuple(c for c in spec.controls if c in seen)


def identification_design(spec: RowSpec, size: int, rows: int, where: str) -> IdentificationDesign:
    """The game of rung D: what the plan leaves out is three names for every four members, and shadows for a fit.

    Raises:
        PlanError: numbers that do not fit the request or the data.
    """
    asked = spec.identification or IdentificationSpec()
    fixed = asked.sampling == "fixed"
    candidates = (asked.candidates or 2 * size) if fixed else size
    if fixed and not size < candidates < rows:
        raise PlanError(
            f"{where}.identification.candidates must be between {size + 1} (the request has {size} records) and "
            f"{rows - 1}, got {candidates}. Request fewer records."
        )
    guesses = asked.guesses or math.ceil(0.75 * size)
    if guesses > candidates:
        raise PlanError(f"{where}.identification.guesses must be at most {candidates} candidates, got {guesses}.")
    game = Game(asked.sampling, candidates, guesses, asked.runs, size if fixed else None)
    shadows = asked.shadows or 2 * candidates + 8
    if shadows < candidates + 4:
        raise PlanError(
            f"{where}.identification.shadows must be at least {candidates + 4} for {candidates} candidates, got "
            f"{shadows}. Leave it out."
        )
    return IdentificationDesign(game, shadows)


def attack_design(
    spec: RowSpec, size: int, rows: int, where: str, *, gaussian: bool, policy: SeedPolicy
) -> AttackDesign | None:
    """The game of rung E: what the plan leaves out is as many candidates who are never learned as the request has.

    Args:
        spec: row of a plan.
        size: of its request.
        rows: of its data.
        where: place in the plan, for messages.
        gaussian: whether the method adds Gaussian noise after training.
        policy: which randomness the claim speaks of.

    Raises:
        PlanError: numbers that do not fit the request or the data, a sweep without noise to scale, or one seed where
            that makes no sense.
    """
    asked = spec.attacking
    if asked is None:
        return None
    keys = expand(asked.names)
    candidates = _candidates(asked.candidates, size, rows, f"{where}.attacks", checked=keys != (RECONSTRUCTION,))
    if asked.sweep and not gaussian:
        raise PlanError(
            f"{where}.attacks.sweep must be left out for {spec.method}, which adds no N(0, σ²I) after training, got "
            f"{list(asked.sweep)}; remove it."
        )
    if "one seed" in asked.seeds:
        _check_one_seed(spec.method, list(asked.seeds), f"{where}.attacks.seeds", gaussian, policy)
    fields = asked.model_dump(include={"shadows", "targets", "seeds", "population", "sweep", "measures"})
    return AttackDesign(keys, candidates, **fields)


def _candidates(asked: int | None, size: int, rows: int, where: str, *, checked: bool) -> int:
    usual = min(max(2 * size, LEAST_CANDIDATES), rows - 1)
    found = asked or usual
    if checked and not size < found < rows:
        way_out = f"Raise candidates to {usual}" if found <= size else f"Lower candidates to {rows - 1} or less"
        raise PlanError(
            f"{where}.candidates must be between {size + 1} (the request has {size} records) and {rows - 1}, got "
            f"{found}. {way_out if size < usual else 'Request fewer records'}."
        )
    return found


def _check_one_seed(method: str, seeds: list[str], at: str, gaussian: bool, policy: SeedPolicy) -> None:
    if not gaussian:
        raise PlanError(
            f'{at} must be ["fresh"] for {method}, whose noise is drawn with the training seed, got {seeds}; runs that '
            "share the seed would share it."
        )
    if policy is SeedPolicy.MARGINAL:
        raise PlanError(
            f'{at} must be ["fresh"] for a claim over training seeds, which says nothing of runs that share one, got '
            f'{seeds}; remove "one seed", or write claim.seed_policy = "per seed".'
        )


def cannot_show(size: int, design: Design) -> list[str]:
    """What the attacks of a row cannot show in so many target runs, however well they do.

    Args:
        size: of the request.
        design: of the row.
    """
    asked = design.attacks
    if asked is None or set(asked.keys) <= {RECONSTRUCTION}:
        return []
    found, runs = [], f"in {asked.targets} target runs"
    members = np.tile(np.arange(asked.candidates) < size, (asked.targets, 1))
    if asked.decides:
        allowed = auc_allowed(design.claim.tradeoff, size, asked.candidates - size)
        if detectable_mean(_DEVIATION, asked.targets, allowed, design.line_failure_probability(KEY)) is None:
            found.append(f"no mean AUC {runs} refutes this claim, which allows {text_upper(allowed, 4)}")
    if critical_auc(members, design.failure_probability) > 1:
        found.append(f"no mean AUC {runs} is told from luck at {design.failure_probability:g}; raise attacks.targets")
    return found
