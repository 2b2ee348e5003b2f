"""Works with an agent through the official Python A2A client, as `python peer.py JOB`, and prints what it found as one JSON object.

JOB is JSON: {"url", "key", "hook", "do": "whole" | "stream" | "cancel" | "refused"}.
"""

import asyncio
import json
import sys
import uuid

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types.a2a_pb2 import (
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import A2AError
from google.protobuf.json_format import MessageToDict, Parse
from google.protobuf.struct_pb2 import Value

JOB = json.loads(sys.argv[1])


def said(text=None, data=None, at_once=False, context=None):
    """A message of one part."""
    part = Part(text=text) if data is None else Part()
    if data is not None:
        part.data.CopyFrom(_value(data["input"]))
    message = Message(message_id=str(uuid.uuid4()), role=Role.ROLE_USER, parts=[part])
    if context:
        message.context_id = context
    if data is not None:
        message.metadata.update({"skill": data["skill"]})
    return SendMessageRequest(message=message, configuration=SendMessageConfiguration(return_immediately=at_once))


def _value(value):
    return Parse(json.dumps(value), Value())


async def events(stream):
    return [MessageToDict(event) async for event in stream]


async def whole(client, streaming):
    """Sends, gets, lists; keeps, shows and deletes a hook."""
    answers = await events(client.send_message(said("summary")))
    task = answers[-1]["task"]
    got = await client.get_task(GetTaskRequest(id=task["id"]))
    listed = await client.list_tasks(ListTasksRequest(context_id=task["contextId"]))
    hook = TaskPushNotificationConfig(task_id=task["id"], id="h1", url="https://example.com/hook", token="sesame")
    kept = await client.create_task_push_notification_config(hook)
    named = {"task_id": task["id"], "id": "h1"}
    shown = await client.get_task_push_notification_config(GetTaskPushNotificationConfigRequest(**named))
    hooks = await client.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task["id"]))
    await client.delete_task_push_notification_config(DeleteTaskPushNotificationConfigRequest(**named))
    left = await client.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task["id"]))
    return {
        "sent": task,
        "got": MessageToDict(got),
        "listed": MessageToDict(listed),
        "hook": [MessageToDict(kept), MessageToDict(shown), len(hooks.configs), len(left.configs)],
    }


async def stream(client, streaming):
    """Follows a message to its end, and tells a hook of it."""
    request = said(data={"skill": "summary", "input": {}}, context="a-conversation")
    request.configuration.task_push_notification_config.CopyFrom(
        TaskPushNotificationConfig(id="h1", url=JOB["hook"], token="sesame")
    )
    return {"events": await events(streaming.send_message(request))}


async def cancel(client, streaming):
    """Cancels what runs while somebody follows it."""
    wait = {"skill": "run_workflow", "input": {"workflow": "test/waits"}}
    sent = (await events(client.send_message(said(data=wait, at_once=True))))[-1]["task"]
    while MessageToDict(await client.get_task(GetTaskRequest(id=sent["id"])))["status"]["state"] != "TASK_STATE_WORKING":
        await asyncio.sleep(0.05)
    following = streaming.subscribe(SubscribeToTaskRequest(id=sent["id"]))
    # Whoever has heard how it stands hears of the rest.
    first = MessageToDict(await anext(following))
    cancelled = MessageToDict(await client.cancel_task(CancelTaskRequest(id=sent["id"])))
    return {"sent": sent, "cancelled": cancelled, "followed": [first, *await events(following)]}


async def refused(client, streaming):
    """What is refused, and in what words."""
    told = []
    for call in (
        lambda: client.get_task(GetTaskRequest(id="task_999999")),
        lambda: client.cancel_task(CancelTaskRequest(id="nonsense")),
        lambda: events(client.send_message(said("sing"))),
        lambda: events(streaming.subscribe(SubscribeToTaskRequest(id="task_999999"))),
    ):
        try:
            await call()
            told.append("done")
        except A2AError as error:
            told.append(f"{type(error).__name__}: {error}")
    return {"told": told}


async def main():
    headers = {"authorization": f"Bearer {JOB['key']}"}
    async with httpx.AsyncClient(headers=headers, timeout=90) as http:
        card = await A2ACardResolver(http, JOB["url"]).get_agent_card()
        client = ClientFactory(ClientConfig(streaming=False, httpx_client=http)).create(card)
        streaming = ClientFactory(ClientConfig(streaming=True, httpx_client=http)).create(card)
        found = await {"whole": whole, "stream": stream, "cancel": cancel, "refused": refused}[JOB["do"]](client, streaming)
        print(json.dumps({"card": MessageToDict(card), **found}))


asyncio.run(main())
