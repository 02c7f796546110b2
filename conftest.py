"""Registers the plugin in a checkout that is not installed; where it is, its entry point already has."""

import pytest

from certunlearn import pytest_plugin


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    if pluginmanager.is_registered(pytest_plugin):
        return
    if pluginmanager.register(pytest_plugin, "certunlearn") is not None:  # None: switched off by -p no:certunlearn
        pytest_plugin.add_short_names(parser)  # its hook that does so is under way already
