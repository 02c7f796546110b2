"""Pytest plugin: hands methods and a device to the laws in `properties/`.

    pytest properties/                                  every shipped method × every law
    pytest properties/ --method package.module:Class    someone's own; may be repeated
    pytest properties/ --method path/to/mine.py:Class   from a file, relative to the current folder

This module alone defines `--method` and `--device`. It is an entry point (pytest11) where the project is installed,
and the conftest at the root registers it in a checkout where it is not; registering it twice would crash pytest.
Being loaded by every pytest run of an environment it stays out of the way: nothing heavy is imported, and Hypothesis
profiles and torch threads are left alone, unless the run is in this project or names a method.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from unlearning.protocols import AnyMethod

_HOME = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Define the options."""
    group = parser.getgroup("certunlearn", "laws of unlearning methods")
    group.addoption(
        "--method",
        action="append",
        default=[],
        metavar="TARGET",
        help="unlearning method to hold to the laws: package.module:Class, path/to/file.py:Class, or the name of a "
        "registered method; may be repeated (default: the registered methods)",
    )
    group.addoption("--device", default="cpu", help="torch device on which laws are checked (default: cpu)")


@pytest.hookimpl(tryfirst=True)  # before Hypothesis looks up the profile of --hypothesis-profile
def pytest_configure(config: pytest.Config) -> None:
    """Register the Hypothesis profiles and choose one, in this project's runs only."""
    if config.rootpath != _HOME and not config.getoption("--method"):
        return
    import torch
    from hypothesis import settings

    from properties.profiles import chosen_profile, register_profiles

    torch.set_num_threads(1)
    # torch.func warns of its own use of torch.jit
    config.addinivalue_line("filterwarnings", "ignore:`torch.jit.*:DeprecationWarning")
    register_profiles()
    try:
        settings.load_profile(chosen_profile())
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for `method` every method in turn.

    Raises:
        pytest.UsageError: a target names no method.
    """
    if "method" not in metafunc.fixturenames or metafunc.module.__name__.partition(".")[0] != "properties":
        return
    from unlearning.errors import CertunlearnError

    from .loader import load_method, make_method
    from .registry import registered_methods

    targets: list[str] = metafunc.config.getoption("--method") or sorted(registered_methods())
    methods: list[AnyMethod] = []
    for target in targets:
        try:
            methods.append(make_method(load_method(target, where="--method"), {}, where="--method"))
        except CertunlearnError as error:
            raise pytest.UsageError(str(error)) from error
    metafunc.parametrize("method", methods, ids=targets, scope="session")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The device named on the command line."""
    return str(request.config.getoption("--device"))
