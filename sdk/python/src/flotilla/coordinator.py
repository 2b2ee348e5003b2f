"""The coordinator's doors, as an agent uses them."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any

import httpx2

from flotilla.errors import Fault, ToolError, Unreachable

#: How long an answer may take beyond what it was asked to wait, in seconds.
ANSWER_SECONDS = 30.0
#: The longest a tool may take, in seconds: the coordinator's own limit.
TOOL_SECONDS = 300.0
#: Largest answer that is read, in bytes.
ANSWER_BYTES_MAX = 32 << 20


class Coordinator:
    """A coordinator at a URL, with the key of whoever uses it."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.url = url.rstrip("/")
        self._http = httpx2.AsyncClient(headers=headers, timeout=ANSWER_SECONDS)

    async def __aenter__(self) -> Coordinator:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def get(self, path: str) -> Any:
        """The answer to a GET."""
        return await self._ask("GET", path, None, ANSWER_SECONDS)

    async def post(self, path: str, body: Any, seconds: float = 0.0) -> Any:
        """The answer to a POST, which may take `seconds` longer than usual."""
        return await self._ask("POST", path, body, seconds + ANSWER_SECONDS)

    async def _ask(self, method: str, path: str, body: Any, seconds: float) -> Any:
        try:
            request = self._http.build_request(method, f"{self.url}{path}", json=body, timeout=seconds)
            response = await self._http.send(request, stream=True)
            try:
                content = bytearray()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > ANSWER_BYTES_MAX:
                        raise Fault("too_large", f"{path} answers with more than {ANSWER_BYTES_MAX} bytes")
            finally:
                await response.aclose()
        except httpx2.HTTPError as error:
            raise Unreachable(f"{self.url}{path}: {type(error).__name__} {error}".rstrip()) from error
        told = _json(bytes(content))
        if response.status_code >= 300:
            raise Fault.of(told, response.status_code)
        return told

    async def call_tool(self, server: str, tool: str, args: dict[str, Any] | None = None) -> Any:
        """Calls a tool of a server under this key's own role, and returns what it answered.

        Raises `ToolError` with the stable code when it refuses or fails.
        """
        body = {"target": server, "command": tool, "args": args or {}}
        answers = await self.post("/command", body, TOOL_SECONDS)
        if not isinstance(answers, list) or len(answers) != 1:
            raise Fault("upstream", f"/command answers {len(answers) if isinstance(answers, list) else 'no'} targets for one")
        answer = answers[0]
        if not answer["ok"]:
            error = answer["error"]
            raise ToolError(error["code"], f"{server}.{tool}: {error['message']}", error.get("hint"))
        return answer.get("result")

    async def submit_task(self, agent: str, task_type: str, payload: Any = None, *, key: str | None = None, **more: Any) -> str:
        """Submits a task to an agent and returns its id; with a `key`, submitting again gives the same task."""
        body = {"task_type": task_type, "payload": payload, **more}
        if key is not None:
            body["key"] = key
        answer = await self.post(f"/agents/{agent}/tasks", body)
        return str(answer["id"])

    async def task(self, task_id: str) -> dict[str, Any]:
        """How a task stands and what came of it."""
        answer: dict[str, Any] = await self.get(f"/tasks/{task_id}")
        return answer


def _json(content: bytes) -> Any:
    try:
        return json.loads(content) if content else None
    except ValueError:
        return None
