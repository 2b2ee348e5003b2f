"""The class of custom agents."""

from flotilla import BaseAgent, Task

__all__ = ["BaseAgent", "Task"]
