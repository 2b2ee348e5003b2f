"""Agents of a Flotilla fleet, written in Python."""

from flotilla.agent import BaseAgent, Task
from flotilla.coordinator import Coordinator
from flotilla.errors import Fault, ToolError, Unreachable

__all__ = ["BaseAgent", "Coordinator", "Fault", "Task", "ToolError", "Unreachable"]
__version__ = "0.1.0"
