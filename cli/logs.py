"""What goes to stderr: all through one logger, for people or, as JSON lines, for programs."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

# What the command itself has to say is always shown.
log = logging.getLogger("khulasa.cli")


def set_up(verbose: int) -> None:
    """Log to stderr: warnings, or more if `verbose` is 1 (information) or 2 (everything)."""
    handler = _Handler()
    handler.setFormatter(_Formatter())
    logger = logging.getLogger("khulasa")
    logger.handlers = [handler]
    logger.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    logger.propagate = False
    log.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)


def use_json() -> None:
    """From here on, each message is one JSON object in a line."""
    for handler in logging.getLogger("khulasa").handlers:
        handler.setFormatter(_JsonFormatter())


def say(message: str, event: str, **fields: Any) -> None:
    """Say something: the message to people, the event and its fields to programs."""
    log.info("%s", message, extra={"fields": {"event": event, **fields}})


def say_error(error: BaseException) -> None:
    """Say what went wrong, and the notes on what to do."""
    log.error("%s", "\n".join([str(error), *getattr(error, "__notes__", [])]))


class _Handler(logging.StreamHandler[Any]):
    """Writes to stderr, above a progress bar if one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules:
            super().emit(record)
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if record.name == log.name and record.levelno == logging.INFO:
            return f"khulasa: {record.getMessage()}"
        return f"khulasa: {record.levelname.lower()}: {record.getMessage()}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        return json.dumps(values, ensure_ascii=False, default=str)
