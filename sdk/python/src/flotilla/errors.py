"""What can go wrong, each with a stable code."""

from __future__ import annotations

from typing import Any

#: Codes that another attempt may mend, as the fleet has them.
PASSING = frozenset({"conflict", "rate_limited", "timeout", "unavailable", "not_configured", "upstream", "internal"})


class Fault(Exception):
    """A refusal with its stable code. Raised by a handler, it ends the task: for good, unless its code is one that another attempt may mend."""

    def __init__(self, code: str, message: str, hint: str | None = None, *, retry: bool | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.retry = code in PASSING if retry is None else retry

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.code}: {self.message}{hint}"

    @classmethod
    def of(cls, told: Any, status: int) -> Fault:
        """Reads a problem document (RFC 9457) of the coordinator."""
        if not isinstance(told, dict) or not isinstance(told.get("code"), str):
            # Not ours: a proxy in between speaks.
            return cls("unavailable" if status >= 500 else "upstream", f"HTTP status {status} without a problem document")
        return cls(told["code"], str(told.get("detail", "")), told.get("hint"))


class ToolError(Fault):
    """A tool refused, or failed."""


class Unreachable(Fault):
    """The coordinator does not answer."""

    def __init__(self, message: str) -> None:
        super().__init__("unavailable", message)
