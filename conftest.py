"""Registers the plugin in a checkout that is not installed; where it is, its entry point already has."""

import pytest

from certunlearn import pytest_plugin


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    if not pluginmanager.is_registered(pytest_plugin):
        pluginmanager.register(pytest_plugin, "certunlearn")
