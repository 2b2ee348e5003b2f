"""A coordinator for tests of your own agents: it keeps tasks in memory and speaks what the real one speaks to agents.

    with FakeCoordinator() as fleet:
        fleet.tool("utilities", "keccak256", lambda args: {"hash": "0x…"})
        task = fleet.submit("custom-agent", "look", {"at": 1})
        result = asyncio.run(fleet.until_done(CustomAgent(fleet.url), task))
"""

from __future__ import annotations

import asyncio
import json
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from flotilla.agent import BaseAgent

Tool = Callable[[dict[str, Any]], Any]
#: Attempts before a task is a dead letter.
ATTEMPTS_MAX = 3
ENDED = frozenset({"done", "dead", "cancelled"})


@dataclass
class _Row:
    told: dict[str, Any]
    lease_until: float = 0.0
    cancelling: bool = False
    returned: int = 0


@dataclass
class _State:
    rows: dict[str, _Row] = field(default_factory=dict)
    tools: dict[tuple[str, str], Tool] = field(default_factory=dict)
    workers: dict[str, dict[str, Any]] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)


class FakeCoordinator:
    """A coordinator at `url`, for as long as it is entered."""

    def __init__(self) -> None:
        self._state = _State()
        state = self._state

        class Handler(_Handler):
            fake = state

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeCoordinator:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def tool(self, server: str, tool: str, answers: Tool) -> None:
        """Makes a tool: what it returns is the answer; a `Fault` that it raises is the refusal."""
        self._state.tools[(server, tool)] = answers

    def submit(self, agent: str, task_type: str, payload: Any = None, *, caller: str = "test", key: str | None = None) -> str:
        """Submits a task and returns its id."""
        return _submit(self._state, agent, task_type, payload, caller, key)

    def task(self, task_id: str) -> dict[str, Any]:
        """How a task stands."""
        with self._state.changed:
            return dict(self._state.rows[task_id].told)

    def cancel(self, task_id: str) -> None:
        """Asks for a task to be stopped."""
        with self._state.changed:
            row = self._state.rows[task_id]
            if row.told["state"] == "running":
                row.cancelling = True
            elif row.told["state"] not in ENDED:
                row.told["state"] = "cancelled"

    @property
    def workers(self) -> list[str]:
        """The agents that are registered."""
        with self._state.changed:
            return sorted(worker["agent"] for worker in self._state.workers.values())

    async def until_done(self, agent: BaseAgent, task_id: str, seconds: float = 30.0) -> dict[str, Any]:
        """Runs the agent until the task has ended, and returns the task."""
        serving = asyncio.create_task(agent.serve())
        until = time.monotonic() + seconds
        try:
            while self.task(task_id)["state"] not in ENDED:
                if serving.done() or time.monotonic() > until:
                    raise TimeoutError(f"{task_id} is {self.task(task_id)['state']}")
                await asyncio.sleep(0.01)
        finally:
            agent.stop()
            await serving
        return self.task(task_id)


def _submit(state: _State, agent: str, task_type: str, payload: Any, caller: str, key: str | None) -> str:
    with state.changed:
        for row in state.rows.values():
            if key is not None and (row.told["queue"], row.told.get("key")) == (agent, key):
                return str(row.told["id"])
        task_id = f"task_{len(state.rows) + 1}"
        told = {"id": task_id, "queue": agent, "task_type": task_type, "payload": payload, "caller": caller}
        told |= {"state": "queued", "attempts": 0, **({"key": key} if key is not None else {})}
        state.rows[task_id] = _Row(told)
        state.changed.notify_all()
        return task_id


class _Handler(BaseHTTPRequestHandler):
    fake: _State
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: tests have their own output."""

    def do_GET(self) -> None:
        with self.fake.changed:
            row = self.fake.rows.get(self.path.removeprefix("/tasks/"))
        self._answer(row.told) if row else self._refuse(404, "not_found", f"no {self.path}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))))
        parts = self.path.strip("/").split("/")
        if parts == ["command"]:
            return self._answer([self._command(body)])
        if len(parts) != 3 or parts[0] != "agents":
            return self._refuse(404, "not_found", f"no {self.path}")
        said = getattr(self, f"_{parts[2]}", None)
        if said is None:
            return self._refuse(404, "not_found", f"no {self.path}")
        return self._answer(said(parts[1], body))

    def _command(self, body: dict[str, Any]) -> dict[str, Any]:
        from flotilla.errors import Fault

        tool = self.fake.tools.get((body["target"], body["command"]))
        try:
            if tool is None:
                raise Fault("not_found", f"no tool {body['target']}.{body['command']}")
            return {"target": body["target"], "ok": True, "result": tool(body["args"]), "took_ms": 0}
        except Fault as fault:
            error = {"code": fault.code, "message": fault.message, "hint": fault.hint}
            return {"target": body["target"], "ok": False, "error": error, "took_ms": 0}

    def _tasks(self, agent: str, body: dict[str, Any]) -> Any:
        task_id = _submit(self.fake, agent, body["task_type"], body.get("payload"), "test", body.get("key"))
        return {"id": task_id, "fresh": True}

    def _register(self, agent: str, body: dict[str, Any]) -> Any:
        self._presence(agent, body)
        return {"lease_ms": body["lease_ms"], "heartbeat_ms": max(body["lease_ms"] // 3, 1), "wait_ms_max": 20_000}

    def _leave(self, agent: str, body: dict[str, Any]) -> Any:
        with self.fake.changed:
            self.fake.workers.pop(body["worker"], None)
            for row in self.fake.rows.values():
                if row.told["state"] == "running" and row.told.get("worker") == body["worker"]:
                    self._end(agent, {"id": row.told["id"], "attempt": row.told["attempts"], "outcome": "returned"})
        return {}

    def _presence(self, agent: str, body: dict[str, Any]) -> None:
        with self.fake.changed:
            self.fake.workers[body["worker"]] = {"agent": agent}

    def _lease(self, agent: str, body: dict[str, Any]) -> Any:
        until = time.monotonic() + body.get("wait_ms", 0) / 1_000
        with self.fake.changed:
            while True:
                taken = [row for row in self.fake.rows.values() if self._free(row, agent, body["task_types"])]
                if self._gone():
                    return {"tasks": []}
                if taken or time.monotonic() >= until:
                    break
                self.fake.changed.wait(min(0.05, max(until - time.monotonic(), 0.001)))
            for row in taken[: body["limit"]]:
                row.told |= {"state": "running", "attempts": row.told["attempts"] + 1, "worker": body["worker"]}
                row.lease_until = time.monotonic() + body["lease_ms"] / 1_000
            return {"tasks": [dict(row.told) for row in taken[: body["limit"]]]}

    def _gone(self) -> bool:
        """Whether who asked waits no longer: its connection can be read, at its end."""
        return bool(select.select([self.connection], [], [], 0)[0])

    def _free(self, row: _Row, agent: str, types: list[str]) -> bool:
        told = row.told
        if told["queue"] != agent or (types and told["task_type"] not in types):
            return False
        lapsed = told["state"] == "running" and time.monotonic() > row.lease_until
        if lapsed and told["attempts"] - row.returned >= ATTEMPTS_MAX:
            told["state"] = "dead"
            return False
        return bool(told["state"] == "queued" or lapsed)

    def _heartbeat(self, agent: str, body: dict[str, Any]) -> Any:
        self._presence(agent, body)
        words = []
        with self.fake.changed:
            for said in body["tasks"]:
                row = self.fake.rows.get(said["id"])
                if row is None or row.told["state"] != "running" or row.told["attempts"] != said["attempt"]:
                    words.append("lost")
                    continue
                row.lease_until = time.monotonic() + body["lease_ms"] / 1_000
                row.told |= {"progress": said["progress"]} if "progress" in said else {}
                words.append("cancel" if row.cancelling else "held")
        return {"tasks": words}

    def _finish(self, agent: str, body: dict[str, Any]) -> Any:
        with self.fake.changed:
            return {"endings": [self._end(agent, ending) for ending in body["endings"]]}

    def _end(self, agent: str, ending: dict[str, Any]) -> Any:
        row = self.fake.rows.get(ending["id"])
        if row is None or row.told["state"] != "running" or row.told["attempts"] != ending["attempt"]:
            return {"error": {"code": "conflict", "message": f"attempt {ending['attempt']} of {ending['id']} is not the newest"}}
        told, outcome = row.told, ending["outcome"]
        if outcome == "returned":
            # Not an attempt, and still a number of its own.
            told["state"], row.returned = "queued", row.returned + 1
        elif outcome == "cancelled":
            told["state"] = "cancelled"
        elif "done" in outcome:
            told |= {"state": "done", "result": outcome["done"].get("result")}
            for one in outcome["done"].get("then", []):
                _submit(self.fake, one.get("queue") or agent, one["task_type"], one.get("payload"), agent, one.get("key"))
        else:
            failure = outcome["failed"]
            again = failure["retry"] and told["attempts"] - row.returned < ATTEMPTS_MAX
            told |= {"state": "queued" if again else "dead", "failure": {k: failure[k] for k in ("code", "message")}}
        self.fake.changed.notify_all()
        return {"state": told["state"]}

    def _answer(self, body: Any, status: int = 200, kind: str = "application/json") -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        try:
            self.wfile.write(content)
        except OSError:
            self.close_connection = True

    def _refuse(self, status: int, code: str, detail: str) -> None:
        body = {"type": f"urn:flotilla:error:{code}", "title": code, "status": status, "detail": detail, "code": code}
        self._answer(body, status, "application/problem+json")
