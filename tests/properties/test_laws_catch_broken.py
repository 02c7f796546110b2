"""Each law fails on its broken twins, and holds on the honest methods that they were made from."""

from contextlib import suppress

import pytest

from properties import LAWS, LawBroken, LawNotApplicable, problems
from tests.broken.catalogue import CATCHES, FAULTS, NEWTON, PART_CATCHES, PART_FAULTS, label
from tests.broken.twin import Twin
from unlearning.protocols import AnyMethod


@pytest.mark.parametrize(("law", "twin"), [(law, t) for law, all_of in CATCHES.items() for t in all_of], ids=label)
def test_law_catches(law: str, twin: AnyMethod) -> None:
    with pytest.raises(LawBroken, match=rf"Law broken: {law}\. .*[\s\S]*Problem\(") as caught:
        LAWS[law](twin)
    assert "The method raised" not in caught.value.finding, "a twin that crashes shows nothing of the law"
    # the message carries the problem, and its repr builds it
    problem = eval(str(caught.value).partition("Problem that broke it: ")[2], vars(problems))
    assert isinstance(problem, problems.Problem)


def test_every_law_has_a_twin() -> None:
    assert set(CATCHES) == set(LAWS)


def test_every_fault_has_a_twin_that_a_law_catches() -> None:
    assert len(FAULTS) >= 15
    for fault, found in (*FAULTS.items(), *PART_FAULTS.items()):
        assert found, fault
        for law, twin in found:
            assert twin in (CATCHES if fault in FAULTS else PART_CATCHES)[law], (fault, law, label(twin))


def test_twins_have_names_of_their_own() -> None:
    for law, twins in CATCHES.items():
        names = [label(twin) for twin in twins]
        assert len(set(names)) == len(names), law
        assert all(type(twin).__doc__ for twin in twins), law


HONEST = {(law, label(twin.method)): twin.method for law, twins in CATCHES.items() for twin in twins}


@pytest.mark.parametrize(("law", "method"), [(law, method) for (law, _), method in HONEST.items()], ids=label)
def test_law_holds_on_what_the_twin_was_made_of(law: str, method: AnyMethod) -> None:
    with suppress(LawNotApplicable):  # of a twin that declares more than its method
        LAWS[law](method)


def test_a_law_that_says_nothing_says_why() -> None:
    class Uncertified(Twin):
        def certify(self, state, request):
            return None

    with pytest.raises(LawNotApplicable, match="no deterministic certificate"):
        LAWS["sensitivity"](Uncertified(NEWTON))
