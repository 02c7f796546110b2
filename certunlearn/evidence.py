"""What evidence a row of a plan asks for: lines, controls, games, and code of the user's own for them."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from audit.attack_names import RECONSTRUCTION, WORDS, expand
from audit.bounds.identification import Game
from audit.design import AttackDesign, IdentificationDesign, line_weights
from audit.score_names import SHIPPED_SCORES
from unlearning.claim import SeedPolicy
from unlearning.errors import PlanError

from .plan import IdentificationSpec, RowSpec


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
        PlanError: no attack, or one with the key of a shipped one.
    """
    found = []
    for position, name in enumerate(spec.attacking.names if spec.attacking else ()):
        if name in WORDS:
            continue
        at = f"{where}.attacks.names[{position}]"
        try:
            attack = code[name]() if isinstance(code[name], type) else code[name]
        except Exception as error:
            raise PlanError(
                f"{at} must name a class that needs no arguments, got {name}: {type(error).__name__}: {error}"
            ) from error
        missing = [part for part in ("key", "title", "family", "source", "fit") if not hasattr(attack, part)]
        if missing:
            raise PlanError(f"{at} must have {', '.join(missing)}, got {name}; see audit.attacks.attack.Attack.")
        if attack.key in WORDS:
            raise PlanError(f"{at} must have a key of its own, got {attack.key!r}, which is a shipped attack's.")
        found.append((name, attack))
    return tuple(found)


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
        PlanError: numbers that do not fit the request or the data, a sweep without noise to scale, or one seed for a
            method whose noise it would fix.
    """
    asked = spec.attacking
    if asked is None:
        return None
    candidates = asked.candidates or 2 * size
    keys = expand(asked.names)
    if keys != (RECONSTRUCTION,) and not size < candidates < rows:
        raise PlanError(
            f"{where}.attacks.candidates must be between {size + 1} (the request has {size} records) and {rows - 1}, "
            f"got {candidates}. Request fewer records."
        )
    if asked.sweep and not gaussian:
        raise PlanError(
            f"{where}.attacks.sweep must be left out for {spec.method}, which adds no N(0, σ²I) after training, got "
            f"{list(asked.sweep)}; remove it."
        )
    if "one seed" in asked.seeds and (not gaussian or policy is SeedPolicy.MARGINAL):
        raise PlanError(
            f'{where}.attacks.seeds must be ["fresh"] for {spec.method}, whose noise is drawn with the training seed, '
            f"got {list(asked.seeds)}; runs that share the seed would share it."
        )
    return AttackDesign(
        keys,
        candidates,
        asked.shadows,
        asked.targets,
        asked.seeds,
        asked.population,
        asked.sweep,
        asked.measures,
    )
