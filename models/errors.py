"""The errors that khulasa raises. Messages say what was wrong, where, and what to do next."""

from __future__ import annotations


class KhulasaError(Exception):
    """Anything that khulasa reports to its user. Catch this to catch them all."""


class ConfigError(KhulasaError):
    """An option or a configuration file that cannot be right."""


class InputError(KhulasaError):
    """A document, record or file that cannot be processed."""


class CheckpointError(KhulasaError):
    """A model that cannot be found, is incomplete, or does not fit its configuration."""


class DeviceError(KhulasaError):
    """A device that was asked for by name and cannot be used."""
