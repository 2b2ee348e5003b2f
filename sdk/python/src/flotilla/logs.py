"""Structured logs: one JSON object a line, with the task it belongs to."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
from datetime import datetime, timezone

#: What belongs to every line written while a task is done.
FIELDS: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar("flotilla_log_fields", default=None)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "target": record.name,
            "message": record.getMessage(),
            **(FIELDS.get() or {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: int = logging.INFO) -> None:
    """Writes logs to standard error as JSON, unless the program has set up its own."""
    if logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    # One line for every request would bury the rest.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
