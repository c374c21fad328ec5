"""Names that a shell completes; none of it imports torch."""

from __future__ import annotations

from collections.abc import Iterable


def method_names(incomplete: str) -> list[str]:
    from methods import registry

    return _beginning(incomplete, registry.names())


def scenario_names(incomplete: str) -> list[str]:
    return _toml_names("scenarios", incomplete)


def profile_names(incomplete: str) -> list[str]:
    return _toml_names("profiles", incomplete)


def suite_names(incomplete: str) -> list[str]:
    return _toml_names("suites", incomplete)


def network_names(incomplete: str) -> list[str]:
    from methods.networks import zoo

    return _beginning(incomplete, zoo.names())


def _toml_names(kind: str, incomplete: str) -> list[str]:
    from harness.config import catalogue

    return _beginning(incomplete, catalogue.names(kind))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
