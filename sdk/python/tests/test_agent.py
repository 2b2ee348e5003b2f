"""What an agent does, on the coordinator of `flotilla.testing`, or on a real one that `$FLEET_URL` and `$FLEET_TOKEN` name."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import unittest
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from agents.base_agent import BaseAgent
from flotilla import Coordinator, Fault, ToolError, Unreachable
from flotilla.testing import FakeCoordinator

SECONDS = 30.0


class Doer(BaseAgent):
    """Does what its tasks say."""

    lease_seconds = 0.9

    def __init__(self, url: str, token: str | None) -> None:
        super().__init__(url, token)
        self.initialised = 0
        self.seen: list[Any] = []
        self.release = asyncio.Event()

    async def on_initialize(self) -> None:
        self.initialised += 1

    async def on_task(self, task_type: str, task_data: Any) -> Any:
        self.seen.append(task_data)
        match task_type:
            case "echo":
                return {"result": task_data, "key": self.task.effect_key}
            case "tool":
                return await self.call_tool("utilities", "keccak256", {"data": "hello"})
            case "no-tool":
                return await self.call_tool("utilities", "keccak256", {"data": 7})
            case "once":
                if self.task.attempt == 1:
                    raise Fault("unavailable", "not yet")
                return self.task.attempt
            case "refuse":
                raise Fault("invalid_argument", "no such pair", "USDC/WETH")
            case "wait":
                self.progress(0.5, "half")
                await self.task.cancelled.wait()
                raise RuntimeError("stopped")
            case "gate":
                await self.release.wait()
                return "through"
            case "follow":
                self.then("echo", "followed", key=f"after-{self.task.id}")
                return None
            case "unfit":
                return {1, 2}
        raise AssertionError(task_type)


class Agents(unittest.IsolatedAsyncioTestCase):
    """Each test has an agent with a queue of its own."""

    async def asyncSetUp(self) -> None:
        self.stack = AsyncExitStack()
        self.url, self.token = os.environ.get("FLEET_URL", ""), os.environ.get("FLEET_TOKEN")
        if not self.url:
            fake = self.stack.enter_context(FakeCoordinator())
            fake.tool("utilities", "keccak256", keccak)
            self.fake, self.url = fake, fake.url
        self.fleet = await self.stack.enter_async_context(Coordinator(self.url, self.token))
        self.name = f"doer-{secrets.token_hex(6)}"
        self.agents: list[tuple[BaseAgent, asyncio.Task[None]]] = []

    async def asyncTearDown(self) -> None:
        for agent, serving in self.agents:
            agent.stop()
            await serving
        await self.stack.aclose()

    def start(self, kind: Callable[[str, str | None], BaseAgent] = Doer) -> Any:
        agent = kind(self.url, self.token)
        agent.name = self.name
        self.agents.append((agent, asyncio.create_task(agent.serve())))
        return agent

    async def until(self, task_id: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(SECONDS):
            while not wanted(task := await self.fleet.task(task_id)):
                await asyncio.sleep(0.02)
        return task

    async def ended(self, task_type: str, payload: Any = None) -> dict[str, Any]:
        task_id = await self.submitted(task_type, payload)
        return await self.until(task_id, lambda task: task["state"] in ("done", "dead", "cancelled"))

    async def join(self) -> Doer:
        """An agent that is known: tasks may be submitted to it."""
        agent: Doer = self.start()
        async with asyncio.timeout(SECONDS):
            while not agent.initialised:
                await asyncio.sleep(0.01)
        return agent

    async def test_it_does_tasks_and_their_results_are_kept(self) -> None:
        agent = await self.join()
        task = await self.ended("echo", {"at": [1, "ü"]})
        self.assertEqual(task["state"], "done")
        self.assertEqual(task["result"], {"result": {"at": [1, "ü"]}, "key": task["id"]})
        self.assertEqual(agent.initialised, 1)

    async def test_it_calls_tools_and_hears_why_not(self) -> None:
        await self.join()
        done = await self.ended("tool")
        self.assertEqual(done["result"]["hash"], "0x1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8")
        refused = await self.ended("no-tool")
        self.assertEqual((refused["state"], refused["failure"]["code"]), ("dead", "invalid_argument"))
        with self.assertRaises(ToolError) as refusal:
            await self.fleet.call_tool("utilities", "no_such_tool")
        self.assertIn(refusal.exception.code, ("not_found", "unsupported", "invalid_argument"))

    async def test_a_failure_that_passes_is_tried_again_and_one_that_does_not_is_dead(self) -> None:
        await self.join()
        self.assertEqual((await self.ended("once"))["result"], 2)
        refused = await self.ended("refuse")
        self.assertEqual((refused["state"], refused["attempts"]), ("dead", 1))
        self.assertEqual(refused["failure"], {"code": "invalid_argument", "message": "no such pair (USDC/WETH)"})
        unfit = await self.ended("unfit")
        self.assertIn("not JSON", unfit["failure"]["message"])

    async def test_progress_is_seen_and_a_cancelled_task_is_stopped(self) -> None:
        await self.join()
        task_id = await self.submitted("wait")
        half = await self.until(task_id, lambda task: "progress" in task)
        self.assertEqual(half["progress"], {"fraction": 0.5, "message": "half"})
        if self.token:
            await self.fleet.call_tool("task-management", "cancel_task", {"id": task_id})
        else:
            self.fake.cancel(task_id)
        await self.until(task_id, lambda task: task["state"] == "cancelled")

    async def test_what_follows_is_submitted_with_the_ending(self) -> None:
        agent = await self.join()
        await self.ended("follow")
        async with asyncio.timeout(SECONDS):
            while "followed" not in agent.seen:
                await asyncio.sleep(0.02)

    async def test_an_agent_that_is_stopped_ends_what_it_holds_and_gives_back_what_it_cannot(self) -> None:
        agent = await self.join()
        agent.drain_seconds = 0.5
        through = await self.submitted("gate")
        await self.until(through, lambda task: task["state"] == "running")
        agent.stop()
        agent.release.set()
        await self.agents[0][1]
        self.assertEqual((await self.fleet.task(through))["result"], "through")
        second = await self.join()
        second.drain_seconds = 0.0
        back = await self.submitted("gate")
        await self.until(back, lambda task: task["state"] == "running")
        second.stop()
        await self.agents[1][1]
        self.assertEqual((await self.fleet.task(back))["state"], "queued")
        third = await self.join()
        third.release.set()
        await self.until(back, lambda task: task["state"] == "done")

    async def test_a_plain_function_may_block_and_its_lease_is_kept(self) -> None:
        released = threading.Event()
        done = 0

        class Blocking(BaseAgent):
            lease_seconds = 0.6
            at_once = 1

            def on_task(self, task_type: str, task_data: Any) -> Any:
                nonlocal done
                self.progress(0.25)
                assert released.wait(SECONDS)
                done += 1
                return self.task.attempt

        self.start(Blocking)
        task_id = await self.submitted("work")
        held = await self.until(task_id, lambda task: "progress" in task)
        # Well past its first lease, which signs of life have made longer.
        first = held.get("lease_until_ms", 0)
        if self.token:
            await self.until(task_id, lambda task: task["lease_until_ms"] > first + 1_000)
        else:
            await asyncio.sleep(1.2)
        released.set()
        ended = await self.until(task_id, lambda task: task["state"] == "done")
        self.assertEqual((ended["result"], done), (1, 1))

    async def test_a_task_of_an_agent_that_went_silent_is_done_by_another_and_its_late_ending_is_refused(self) -> None:
        silent = self.start(Silent)
        task_id = await self.submitted("work")
        await self.until(task_id, lambda task: task["state"] == "running")
        self.start(Quick)
        done = await self.until(task_id, lambda task: task["state"] == "done")
        self.assertEqual(done["result"], "other")
        with self.assertLogs("flotilla", "WARNING") as told:
            silent.release.set()
            silent.stop()
            await self.agents[0][1]
        self.assertTrue(silent.left)
        self.assertIn(f"the end of {task_id} is refused", "\n".join(told.output))
        self.assertEqual((await self.fleet.task(task_id))["result"], "other")

    async def submitted(self, task_type: str, payload: Any = None) -> str:
        """A task of an agent that may still be on its way."""
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    return await self.fleet.submit_task(self.name, task_type, payload)
                except Fault as fault:
                    if fault.code not in ("not_found", "invalid_argument"):
                        raise
                await asyncio.sleep(0.02)


class Mute(Coordinator):
    """A coordinator that no sign of life reaches."""

    async def post(self, path: str, body: Any, seconds: float = 0.0) -> Any:
        if path.endswith("/heartbeat"):
            raise Unreachable("the way is cut")
        return await super().post(path, body, seconds)


class Silent(BaseAgent):
    """Is not heard for longer than its lease, and ends late."""

    lease_seconds = 0.6
    at_once = 1

    def __init__(self, url: str, token: str | None) -> None:
        super().__init__(url, token)
        self.coordinator = Mute(url, token)
        self.release = asyncio.Event()
        self.left = False

    async def on_task(self, task_type: str, task_data: Any) -> Any:
        await self.release.wait()
        self.left = True
        return "late"


class Quick(BaseAgent):
    """Is quick."""

    async def on_task(self, task_type: str, task_data: Any) -> Any:
        return "other"


def keccak(args: dict[str, Any]) -> Any:
    """As the real tool answers `hello`, and refuses what is not text."""
    if not isinstance(args.get("data"), str):
        raise Fault("invalid_argument", "data: not a string")
    return {"hash": "0x1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8"}


if __name__ == "__main__":
    unittest.main()
