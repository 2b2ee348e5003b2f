"""Works through a server with the official Python SDK, as `python python.py JOB`, and prints what it found as one JSON object.

JOB is JSON: {"era": "legacy" | "auto" | "modern", "url" + "key" | "command" + "env", "tool", "arguments", "read"?}.
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

JOB = json.loads(sys.argv[1])
MODES = {"legacy": "legacy", "auto": "auto", "modern": "2026-07-28"}


async def all_tools(client):
    tools, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if not cursor:
            return tools


async def work(server):
    async with Client(server, mode=MODES[JOB.get("era", "auto")]) as client:
        info = client.server_info
        found = {
            "server": info.name if info else None,
            "revision": client.protocol_version,
            "tools": [tool.name for tool in await all_tools(client)],
            "result": (await client.call_tool(JOB["tool"], JOB["arguments"])).model_dump(mode="json", by_alias=True),
            "resources": [str(resource.uri) for resource in (await client.list_resources()).resources],
            "prompts": [prompt.name for prompt in (await client.list_prompts()).prompts],
        }
        if "read" in JOB:
            found["read"] = (await client.read_resource(JOB["read"])).model_dump(mode="json", by_alias=True)
        print(json.dumps(found))


async def main():
    if "command" in JOB:
        command, *args = JOB["command"]
        await work(StdioServerParameters(command=command, args=args, env=JOB["env"]))
        return
    headers = {"authorization": f"Bearer {JOB['key']}"} if "key" in JOB else {}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        await work(streamable_http_client(JOB["url"], http_client=http))


asyncio.run(main())
