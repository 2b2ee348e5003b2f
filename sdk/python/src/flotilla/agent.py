"""The class of custom agents: what is written by hand is `on_task`, the rest is here."""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import inspect
import logging
import os
import re
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flotilla import logs
from flotilla.coordinator import Coordinator
from flotilla.errors import Fault

LOG = logging.getLogger("flotilla")
#: Where a coordinator is, unless something else is said.
URL = "http://127.0.0.1:4000"


@dataclass
class Task:
    """A task that the agent holds."""

    id: str
    #: The number of its handing-out: its ending is accepted with the newest only.
    attempt: int
    task_type: str
    data: Any
    #: Who wants it.
    caller: str
    trace_id: str | None = None
    #: Set when it should stop: somebody wants it cancelled, it was taken over, or the agent stops.
    cancelled: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    #: What follows from it.
    then: list[dict[str, Any]] = field(default_factory=list, repr=False)
    progress: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def effect_key(self) -> str:
        """The same for every attempt of this task: the idempotency key of what it does outside the fleet."""
        return self.id


_CURRENT: contextvars.ContextVar[Task | None] = contextvars.ContextVar("flotilla_task", default=None)


class BaseAgent:
    """An agent of the fleet. A subclass says what to do with a task in `on_task`, as a coroutine, or as a plain function that may block.

    Tasks are delivered at least once: what a handler does outside must be safe to do twice, or carry `self.task.effect_key`.
    """

    #: The agent's name, which is its queue's; made of the class's name when empty: `CustomAgent` is `custom-agent`.
    name: str = ""
    #: The types of task it does; all of its queue when empty.
    task_types: Sequence[str] = ()
    #: What others see as its version.
    version: str = ""
    #: How many tasks it does at once.
    at_once: int = 4
    #: How long a task is held without a sign of life, in seconds: so long after a crash another copy takes over.
    lease_seconds: float = 30.0
    #: How long tasks under way may take to end when the agent is stopped, in seconds. What has not ended then is given back.
    drain_seconds: float = 20.0

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.url = url or os.environ.get("FLOTILLA_URL") or URL
        self.coordinator = Coordinator(self.url, token or _token())
        self.log = logging.getLogger(f"flotilla.{self.agent_name}")
        self._stopping: asyncio.Event | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._blocking = 0

    # What a subclass writes.

    async def on_initialize(self) -> None:
        """Called once, before the first task."""

    async def on_task(self, task_type: str, task_data: Any) -> Any:
        """Does a task; what it returns is the result. Raise `Fault` to say whether another attempt may help."""
        raise Fault("unsupported", f"{type(self).__name__} has no on_task")

    async def on_shutdown(self) -> None:
        """Called once, after the last task."""

    # What it uses.

    @property
    def agent_name(self) -> str:
        """The agent's name in the fleet."""
        return self.name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", type(self).__name__).lower()

    @property
    def task(self) -> Task:
        """The task that is being done here."""
        task = _CURRENT.get()
        if task is None:
            raise RuntimeError("there is a task only inside on_task")
        return task

    async def call_tool(self, server: str, tool: str, args: dict[str, Any] | None = None) -> Any:
        """Calls a tool of the fleet under the agent's own role. Raises `ToolError` with the stable code."""
        return await self.coordinator.call_tool(server, tool, args)

    def progress(self, fraction: float, message: str = "") -> None:
        """Says how far the task is, from 0 to 1; others see it with the next sign of life."""
        self.task.progress = {"fraction": min(max(float(fraction), 0.0), 1.0), "message": message[:120]}

    def then(self, task_type: str, payload: Any = None, *, agent: str | None = None, key: str | None = None) -> None:
        """Submits a task that follows from this one, in the same commit as its ending: not without it, and not twice."""
        self.task.then.append({"queue": agent, "task_type": task_type, "payload": payload, "key": key})

    # Running.

    @classmethod
    def run(cls, arguments: Sequence[str] | None = None) -> None:
        """Runs the agent until SIGTERM or SIGINT: `if __name__ == "__main__": CustomAgent.run()`."""
        parser = argparse.ArgumentParser(description=inspect.getdoc(cls))
        parser.add_argument("--url", help=f"the coordinator ($FLOTILLA_URL, or {URL})")
        parser.add_argument("--token", help="the agent's key; better in $FLOTILLA_TOKEN or in the file that $FLOTILLA_TOKEN_FILE names, which others cannot see")
        asked = parser.parse_args(arguments)
        logs.configure()
        agent = cls(asked.url, asked.token)
        asyncio.run(agent.serve())
        if agent._blocking:
            # Python would wait for their threads for as long as they like.
            LOG.warning("%d handlers have not ended and are left", agent._blocking)
            logging.shutdown()
            os._exit(0)

    def stop(self) -> None:
        """Takes no more tasks, ends what is under way, and lets `serve` return."""
        if self._stopping is not None:
            self._stopping.set()

    async def serve(self) -> None:
        """Does tasks until it is stopped."""
        # Here, so that the loop can be read without it.
        from flotilla.loop import Loop

        self._stopping = asyncio.Event()
        running = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                running.add_signal_handler(number, self.stop)
            except (NotImplementedError, RuntimeError, ValueError):
                # Windows has none, and a thread that is not the main one hears none: whoever runs it there calls `stop`.
                LOG.debug("signal %s is not heard here", number)
        self._threads = ThreadPoolExecutor(self.at_once, thread_name_prefix=self.agent_name)
        try:
            await Loop(self, self._stopping).run()
        finally:
            # Not waited for: what has not ended by now was given back.
            self._threads.shutdown(wait=False, cancel_futures=True)
            await self.coordinator.close()

    async def _do(self, task: Task) -> Any:
        """One task in its own context, so that what is logged and asked for inside belongs to it."""
        _CURRENT.set(task)
        fields = {"agent": self.agent_name, "task_id": task.id}
        logs.FIELDS.set({**fields, "trace_id": task.trace_id} if task.trace_id else fields)
        if inspect.iscoroutinefunction(self.on_task):
            return await self.on_task(task.task_type, task.data)
        # A thread cannot be stopped: the handler looks at `self.task.cancelled` itself.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._threads, self._block, contextvars.copy_context(), task))

    def _block(self, context: contextvars.Context, task: Task) -> Any:
        self._blocking += 1
        try:
            return context.run(self.on_task, task.task_type, task.data)
        finally:
            self._blocking -= 1


def _token() -> str | None:
    if token := os.environ.get("FLOTILLA_TOKEN"):
        return token
    if file := os.environ.get("FLOTILLA_TOKEN_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    return None
