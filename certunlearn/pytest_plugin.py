"""Pytest plugin: hands methods to the laws in `properties/`, and says what came of them.

    pytest properties/                                  every shipped method × every law
    pytest properties/ --method package.module:Class    someone's own; may be repeated
    pytest properties/ --method path/to/mine.py:Class   from a file, relative to the current folder
    pytest properties/ --method newton[bound=published] with parameters

It is an entry point (pytest11) where the project is installed, and the conftest at the root registers it in a checkout
where it is not; registering it twice would crash pytest. Being loaded by every pytest run of an environment it stays
out of the way: nothing heavy is imported, and Hypothesis profiles and torch threads are left alone, unless the run is
in this project or names a method. Its options are `--certunlearn-method` and so on; the short names, which others may
use, are added once all plugins and conftests have defined theirs, and only those that are free.
"""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .law_outcomes import breach, closing_lines, in_short, outcome_of

if TYPE_CHECKING:
    from .targets import Target

_HOME = Path(__file__).resolve().parent.parent
_OPTIONS: dict[str, dict[str, Any]] = {
    "method": {
        "action": "append",
        "default": [],
        "metavar": "TARGET",
        "help": "unlearning method to hold to the laws: package.module:Class, path/to/file.py:Class, or the name of a "
        "registered method, with parameters in brackets: newton[bound=published]; may be repeated (default: the "
        "registered methods)",
    },
    "device": {
        "default": "cpu",
        "metavar": "DEVICE",
        "help": "where laws are checked: auto, cpu or cuda (default: cpu)",
    },
    "precision": {
        "default": "both",
        "choices": ("float64", "float32", "both"),
        "help": "of the problems; float32 is for the laws that compare numbers (default: both)",
    },
    "counterexamples": {
        "default": "out/counterexamples",
        "metavar": "FOLDER",
        "help": "where a problem that breaks a law is written (default: out/counterexamples under pytest's rootdir)",
    },
}
_TARGETS = pytest.StashKey["list[Target]"]()
_MISTAKES = pytest.StashKey[dict[str, str]]()  # that have been shown


def pytest_addoption(parser: pytest.Parser) -> None:
    """Define the options by the names that are ours alone."""
    group = parser.getgroup("certunlearn", "laws of unlearning methods")
    for name, attributes in _OPTIONS.items():
        group.addoption(f"--certunlearn-{name}", dest=f"certunlearn_{name}", **attributes)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # the outermost: after every conftest has been read
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None, Any, Any]:
    """Add the short names that nobody uses."""
    result = yield
    add_short_names(parser)
    return result


def add_short_names(parser: pytest.Parser) -> None:
    """Let `--method` stand for `--certunlearn-method` and so on, where no plugin and no conftest has defined it."""
    group = parser.getgroup("certunlearn")
    for name, attributes in _OPTIONS.items():
        try:
            free = bool(parser.parse_known_and_unknown_args([f"--{name}"])[1])
        except pytest.UsageError:  # it is known, and wants a value
            free = False
        if free:
            group.addoption(f"--{name}", dest=f"certunlearn_{name}", **attributes)


@pytest.hookimpl(tryfirst=True)  # before Hypothesis looks up the profile of --hypothesis-profile
def pytest_configure(config: pytest.Config) -> None:
    """Register the Hypothesis profiles, choose one, and build the methods named: only in runs that are about laws.

    Raises:
        pytest.UsageError: a target names no method, or there is no such device or profile.
    """
    if config.rootpath != _HOME and not config.getoption("certunlearn_method"):
        return
    import torch
    from hypothesis import settings

    from properties.profiles import chosen_profile, register_profiles
    from unlearning.errors import CertunlearnError

    from .devices import chosen_device

    torch.set_num_threads(1)
    # torch.func warns of its own use of torch.jit
    config.addinivalue_line("filterwarnings", "ignore:`torch.jit.*:DeprecationWarning")
    register_profiles()
    try:
        settings.load_profile(chosen_profile())
        chosen_device(config.getoption("certunlearn_device"))
        if config.getoption("certunlearn_method"):
            _targets(config)
    except (ValueError, CertunlearnError) as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the tests of `properties` every method in turn, and those that ask for `check` every law too."""
    names = [name for name in ("method", "check") if name in metafunc.fixturenames]
    if not names or metafunc.module.__name__ != "properties.test_laws":
        return
    from properties.parametrize import Subject, checks

    from .devices import chosen_device

    config = metafunc.config
    device = chosen_device(config.getoption("certunlearn_device")).type
    rows = []
    for target in _targets(config):
        if "check" not in names:
            rows.append(pytest.param(target.method, id=target.name))
            continue
        for check in checks(device=device, precision=config.getoption("certunlearn_precision")):
            check.subject = Subject(target.name, target.target, target.parameters)
            rows.append(pytest.param(target.method, check, id=f"{target.name}-{check.name}"))
    metafunc.parametrize(names, rows)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # the outermost: after expected failures have been told apart
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what came of a law; show a broken one as a problem that a person can follow, and keep it in a file."""
    report = yield
    callspec = getattr(item, "callspec", None)
    check: Any = None if callspec is None else callspec.params.get("check")
    if call.when != "call" or type(check).__module__ != "properties.parametrize" or check.method is None:
        return report
    from properties import LawBroken

    error = call.excinfo.value if call.excinfo is not None else None
    report.user_properties.append(outcome_of(check, report.outcome, error, report.duration).as_property())
    if report.skipped and check.expected is None:  # told where the test is, not where pytest turned it into a skip
        report.longrepr = (str(item.path), (item.location[1] or 0) + 1, f"Skipped: {error}")
    if report.failed and isinstance(error, LawBroken):
        folder = item.config.rootpath / item.config.getoption("certunlearn_counterexamples")
        mistakes = item.config.stash.setdefault(_MISTAKES, {})
        text = breach(check, error, folder, item.config.invocation_params.dir, mistakes)
        report.longrepr = item.repr_failure(_without_traceback(text))
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None:  # of the line in the short summary
            crash.message = in_short(error)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Close with a table of the laws and with the reasons of those that do not apply."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    lines = closing_lines(pair for report in reports for pair in getattr(report, "user_properties", ()))
    if lines:
        terminalreporter.section("laws of unlearning methods")
    for line in lines:
        terminalreporter.write_line(line)


def _targets(config: pytest.Config) -> "list[Target]":
    """The methods asked for, or the registered ones; built once."""
    from .registry import SHIPPED_VARIANTS, registered_methods
    from .targets import load_targets

    if _TARGETS not in config.stash:
        asked = config.getoption("certunlearn_method") or [*sorted(registered_methods()), *SHIPPED_VARIANTS]
        config.stash[_TARGETS] = load_targets(asked, where="--method")
    return config.stash[_TARGETS]


def _without_traceback(text: str) -> pytest.ExceptionInfo[BaseException]:
    try:
        pytest.fail(text, pytrace=False)
    except pytest.fail.Exception as failure:
        return pytest.ExceptionInfo.from_exception(failure)
