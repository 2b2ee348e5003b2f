"""What an agent does between tasks: it asks for them, says that it lives, passes on what it hears, and says how they ended."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flotilla.agent import LOG, Task
from flotilla.errors import PASSING, Fault, Unreachable

if TYPE_CHECKING:
    from flotilla.agent import BaseAgent

#: How long one request waits for tasks, in milliseconds.
WAIT_MS = 15_000
#: The first and the longest wait before a request is tried again, in seconds.
BACKOFF_SECONDS = (0.25, 10.0)
#: How long an ending is tried to be said, in seconds. After that the task is left to its lease, and is done again.
FINISH_SECONDS = 600.0
#: How long a handler that is asked to stop may go on, in seconds.
GRACE_SECONDS = 2.0
#: How long the event loop may be held up before that is told, in seconds.
BLOCKED_SECONDS = 1.0
#: Longest message of a failure, in characters.
MESSAGE_MAX = 2_000
#: Most tasks of one request.
TASKS_MAX = 100


@dataclass
class Held:
    """A task under way."""

    task: Task
    doing: asyncio.Task[Any]
    #: Why it was asked to stop: "cancel", "lost" or "drain".
    why: str | None = None


class Loop:
    """One run of an agent."""

    def __init__(self, agent: BaseAgent, stopping: asyncio.Event) -> None:
        self.agent = agent
        self.stopping = stopping
        self.worker = f"{socket.gethostname()[:24]}-{secrets.token_hex(6)}".replace("_", "-")
        self.lease_ms = int(agent.lease_seconds * 1_000)
        self.heartbeat_seconds = agent.lease_seconds / 3
        self.held: dict[str, Held] = {}
        self.endings: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Event()

    async def run(self) -> None:
        """Until it is stopped, or refused."""
        await self.agent.on_initialize()
        try:
            if not await self.join():
                return
            signs = asyncio.create_task(self.signs_of_life())
            watch = asyncio.create_task(watch_loop())
            try:
                await self.take_tasks()
                await self.drain()
            finally:
                for task in (signs, watch):
                    task.cancel()
                await asyncio.gather(signs, watch, return_exceptions=True)
            await self.leave()
        finally:
            await self.agent.on_shutdown()

    # Its requests.

    async def say(self, what: str, body: dict[str, Any], seconds: float = 0.0) -> Any:
        return await self.agent.coordinator.post(f"/agents/{self.agent.agent_name}/{what}", {"worker": self.worker, **body}, seconds)

    async def join(self) -> bool:
        """Registers, as often as it takes; says whether it did before it was stopped."""
        body = {"lease_ms": self.lease_ms, "task_types": list(self.agent.task_types), "version": self.agent.version}
        tries = 0
        while not self.stopping.is_set():
            try:
                told = await self.say("register", body)
                self.heartbeat_seconds = told["heartbeat_ms"] / 1_000
                LOG.info("%s works as %s at %s", self.agent.agent_name, self.worker, self.agent.url)
                return True
            except Fault as fault:
                tries = await self.again(fault, tries, "not registered")
        return False

    async def take_tasks(self) -> None:
        body = {"lease_ms": self.lease_ms, "task_types": list(self.agent.task_types), "wait_ms": WAIT_MS}
        tries = 0
        while not self.stopping.is_set():
            free = min(self.agent.at_once - len(self.held), TASKS_MAX)
            if free <= 0:
                self.changed.clear()
                await first_of(self.changed.wait(), self.stopping.wait())
                continue
            try:
                # What is handed out while it is stopped, leaving gives back.
                asking = asyncio.ensure_future(self.say("lease", {**body, "limit": free}, WAIT_MS / 1_000))
                await first_of(asyncio.wait([asking]), self.stopping.wait())
                if not asking.done():
                    asking.cancel()
                    return
                leased = await asking
                tries = 0
            except Fault as fault:
                tries = await self.again(fault, tries, "no tasks asked for")
                continue
            for told in leased["tasks"]:
                self.begin(told)

    async def signs_of_life(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(self.heartbeat_seconds)
            held = list(self.held.values())
            try:
                # An agent that holds nothing says so, and stays in the registry.
                for start in range(0, max(len(held), 1), TASKS_MAX):
                    await self.sign(held[start : start + TASKS_MAX])
                failing = False
            except Fault as fault:
                # The next one comes in time: a lease outlives two that fail.
                (LOG.debug if failing else LOG.warning)("no sign of life: %s", fault)
                failing = True

    async def sign(self, held: list[Held]) -> None:
        tasks = []
        for one in held:
            said: dict[str, Any] = {"id": one.task.id, "attempt": one.task.attempt}
            if one.task.progress is not None:
                said["progress"], one.task.progress = one.task.progress, None
            tasks.append(said)
        heard = await self.say("heartbeat", {"lease_ms": self.lease_ms, "tasks": tasks, "version": self.agent.version})
        for one, word in zip(held, heard["tasks"]):
            if word != "held":
                self.stop_task(one, word)

    async def leave(self) -> None:
        try:
            await self.say("leave", {})
        except Fault as fault:
            LOG.warning("not taken out of the registry, which forgets the agent by itself: %s", fault)

    async def again(self, fault: Fault, tries: int, what: str) -> int:
        """Waits before the next try, if another may help."""
        if not isinstance(fault, Unreachable) and fault.code not in PASSING or fault.code == "conflict":
            raise fault
        (LOG.warning if tries == 0 else LOG.debug)("%s, trying again: %s", what, fault)
        first, most = BACKOFF_SECONDS
        wait = min(first * 2 ** min(tries, 16), most) * random.uniform(0.5, 1.0)
        await first_of(asyncio.sleep(wait), self.stopping.wait())
        return tries + 1

    # Its tasks.

    def begin(self, told: dict[str, Any]) -> None:
        task = Task(told["id"], told["attempts"], told["task_type"], told.get("payload"), told["caller"], told.get("trace_id"))
        held = Held(task, asyncio.create_task(self.agent._do(task)))
        self.held[task.id] = held
        ending = asyncio.create_task(self.end(held))
        self.endings.add(ending)
        ending.add_done_callback(self.endings.discard)

    def stop_task(self, held: Held, why: str) -> None:
        # The first reason stands, but that nothing is to be said of what is lost.
        if held.why is None or why == "lost":
            first, held.why = held.why is None, why
            if first:
                held.task.cancelled.set()
                asyncio.get_running_loop().call_later(GRACE_SECONDS, held.doing.cancel)

    async def end(self, held: Held) -> None:
        """Waits for a task's end and says it."""
        task = held.task
        await asyncio.wait([held.doing])
        try:
            outcome = outcome_of(held)
            if outcome is not None:
                await self.finish(task, outcome)
        finally:
            self.held.pop(task.id, None)
            self.changed.set()

    async def finish(self, task: Task, outcome: Any) -> None:
        ending = {"id": task.id, "attempt": task.attempt, "outcome": outcome}
        until, wait = time.monotonic() + FINISH_SECONDS, BACKOFF_SECONDS[0]
        while True:
            try:
                written = (await self.say("finish", {"endings": [ending]}))["endings"][0]
                if "error" in written:
                    LOG.warning("the end of %s is refused: %s", task.id, written["error"]["message"])
                return
            except Fault as fault:
                passes = isinstance(fault, Unreachable) or fault.code in PASSING
                if not passes and "done" in outcome:
                    # What it returned cannot be taken; that is an end too.
                    LOG.error("the result of %s is refused: %s", task.id, fault)
                    outcome = failed("invalid_argument", f"its result is refused: {fault}", False)
                    ending["outcome"] = outcome
                elif not passes or time.monotonic() > until:
                    LOG.error("the end of %s could not be said, it will be done again: %s", task.id, fault)
                    return
                else:
                    LOG.warning("the end of %s could not be said, trying again: %s", task.id, fault)
                    await asyncio.sleep(wait * random.uniform(0.5, 1.0))
                    wait = min(wait * 2, BACKOFF_SECONDS[1])

    async def drain(self) -> None:
        """Lets what is under way end, gives back what does not, and waits until all of it is said."""
        if not self.endings:
            return
        LOG.info("stopping: %d tasks are under way", len(self.endings))
        await asyncio.wait(self.endings, timeout=self.agent.drain_seconds)
        for held in list(self.held.values()):
            self.stop_task(held, "drain")
        if self.endings:
            await asyncio.wait(self.endings, timeout=GRACE_SECONDS + BACKOFF_SECONDS[1])


def outcome_of(held: Held) -> Any:
    """How a task ended, as the coordinator is told; nothing of one that is somebody else's by now."""
    task, doing = held.task, held.doing
    if held.why == "lost":
        return None
    error = asyncio.CancelledError() if doing.cancelled() else doing.exception()
    if error is None:
        try:
            json.dumps(doing.result(), allow_nan=False)
        except (TypeError, ValueError) as unfit:
            return failed("invalid_argument", f"its result is not JSON: {unfit}", False)
        return {"done": {"result": doing.result(), "then": [{k: v for k, v in one.items() if v is not None} for one in task.then]}}
    if held.why == "cancel":
        return "cancelled"
    if held.why == "drain":
        return "returned"
    if isinstance(error, Fault):
        return failed(error.code, f"{error.message} ({error.hint})" if error.hint else error.message, error.retry)
    LOG.error("%s failed", task.id, exc_info=error)
    return failed("internal", f"{type(error).__name__}: {error}", True)


def failed(code: str, message: str, retry: bool) -> dict[str, Any]:
    """A failure as the coordinator is told."""
    return {"failed": {"code": code, "message": message[:MESSAGE_MAX], "retry": retry}}


async def first_of(*some: Any) -> None:
    """Waits for the first, and ends the others."""
    tasks = [asyncio.ensure_future(one) for one in some]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def watch_loop() -> None:
    """Tells when a handler holds up the event loop: then no sign of life leaves, and the lease may lapse."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(BLOCKED_SECONDS / 2)
        late = time.monotonic() - began - BLOCKED_SECONDS / 2
        if late > BLOCKED_SECONDS:
            LOG.warning("the event loop was blocked for %.1f s: write on_task without async, and it runs in a thread", late)
