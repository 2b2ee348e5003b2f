"""An MCP server over standard streams that speaks only 2025-06-18 (in mode `current` only 2026-07-28), and misbehaves on request.

usage: server.py MODE [STATE-FILE]
"""

import json
import os
import sys
import threading
import time

mode = sys.argv[1]
state = sys.argv[2] if len(sys.argv) > 2 else None
lock = threading.Lock()
cancelled = set()
subscribed = set()
logs_from = None
initialized = False
extra_tools = []
listening = {}


def send(message):
    if mode == "current" and "result" in message:
        message["result"].setdefault("resultType", "complete")
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def tell(method, params=None):
    """Announces a change, in the current revision to those who listen."""
    if mode != "current":
        notify(method, params)
        return
    field = {
        "notifications/tools/list_changed": "toolsListChanged",
        "notifications/prompts/list_changed": "promptsListChanged",
    }.get(method)
    for id, filter in listening.items():
        if filter.get(field) or (params and params["uri"] in filter.get("resourceSubscriptions", [])):
            notify(method, {**(params or {}), "_meta": {"io.modelcontextprotocol/subscriptionId": id}})


def notify(method, params=None):
    send({"method": method, **({"params": params} if params is not None else {})})


def text(value):
    return {"content": [{"type": "text", "text": value}]}


def description():
    # What a file says, so that a test can change it behind our back.
    if state and os.path.exists(state):
        with open(state) as file:
            return file.read()
    return "Says what it is told."


def tools():
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    names = ["echo", "slow", "stuck", "pid", "die", "grow", "log", "touch", "big", "ask", "reword"]
    described = [
        {
            "name": name,
            "description": description() if name == "echo" else f"The tool {name}.",
            "inputSchema": schema,
            "annotations": {"readOnlyHint": name == "echo"},
            "x-unknown": {"kept": 1.50},
        }
        for name in names
    ]
    return described + extra_tools


def slow(id, params):
    token = params.get("_meta", {}).get("progressToken")
    for step in range(1, 4):
        if token is not None:
            notify("notifications/progress", {"progressToken": token, "progress": step, "total": 3, "x-kept": 1e2})
        time.sleep(0.02)
    send({"id": id, "result": text("done")})


def stuck(id):
    if state:
        with open(state, "a") as file:
            file.write("began\n")
    while id not in cancelled:
        time.sleep(0.01)
    if state:
        with open(state, "a") as file:
            file.write("cancelled\n")


def call(id, params):
    name, arguments = params["name"], params.get("arguments", {})
    if name == "echo":
        send({"id": id, "result": {**text(arguments.get("text", "")), "structuredContent": {"n": 1.50, "deep": [[[]]]}}})
    elif name == "slow":
        threading.Thread(target=slow, args=(id, params), daemon=True).start()
    elif name == "stuck":
        threading.Thread(target=stuck, args=(id,), daemon=True).start()
    elif name == "pid":
        send({"id": id, "result": text(str(os.getpid()))})
    elif name == "die":
        print("going down", file=sys.stderr, flush=True)
        os._exit(3)
    elif name == "grow":
        extra_tools.append({"name": "grown", "description": "New.", "inputSchema": {"type": "object"}})
        tell("notifications/tools/list_changed")
        tell("notifications/prompts/list_changed")
        send({"id": id, "result": text("grew")})
    elif name == "reword":
        with open(state, "w") as file:
            file.write(arguments["text"])
        tell("notifications/tools/list_changed")
        send({"id": id, "result": text("reworded")})
    elif name == "log":
        for level in ["debug", "info", "error"]:
            notify("notifications/message", {"level": level, "data": {"kept": 1.50}})
        send({"id": id, "result": text(str(logs_from))})
    elif name == "touch":
        tell("notifications/resources/updated", {"uri": "memo://1"})
        watched = subscribed | {uri for filter in listening.values() for uri in filter.get("resourceSubscriptions", [])}
        send({"id": id, "result": text(",".join(sorted(watched)))})
    elif name == "big":
        send({"id": id, "result": text("x" * int(arguments["text"]))})
    elif name == "ask" and mode == "current":
        given = params.get("inputResponses")
        if given is None:
            form = {"method": "elicitation/create", "params": {"message": "who", "requestedSchema": {"type": "object"}}}
            result = {"resultType": "input_required", "inputRequests": {"who": form}, "requestState": "kept"}
            send({"id": id, "result": result})
        else:
            send({"id": id, "result": text(params["requestState"] + ": " + given["who"]["content"]["value"])})
    elif name == "ask":
        send({"id": "q1", "method": "elicitation/create", "params": {"message": "?", "requestedSchema": {"type": "object"}}})
        waiting["q1"] = id
    else:
        send({"id": id, "error": {"code": -32602, "message": f"no tool {name}"}})


waiting = {}


def answer(message):
    call_id = waiting.pop(message["id"], None)
    if call_id is not None:
        send({"id": call_id, "result": text(json.dumps(message.get("error") or message.get("result")))})


def current(id, method, params):
    """What differs in the current revision. Returns whether the request is dealt with."""
    meta = params.get("_meta", {})
    if method == "server/discover":
        capabilities = {
            "tools": {"listChanged": True},
            "resources": {"subscribe": True, "listChanged": True},
            "prompts": {"listChanged": True},
            "logging": {},
        }
        info = {"io.modelcontextprotocol/serverInfo": {"name": "misbehaviour", "version": "1"}}
        result = {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "ttlMs": 0, "cacheScope": "private"}
        send({"id": id, "result": {**result, "_meta": info}})
    elif method == "initialize" or meta.get("io.modelcontextprotocol/protocolVersion") != "2026-07-28":
        send({"id": id, "error": {"code": -32602, "message": "only 2026-07-28 is spoken here"}})
    elif method == "subscriptions/listen":
        listening[id] = params["notifications"]
        accepted = {"_meta": {"io.modelcontextprotocol/subscriptionId": id}, "notifications": params["notifications"]}
        notify("notifications/subscriptions/acknowledged", accepted)
    else:
        return False
    return True


def request(id, method, params):
    global initialized, logs_from
    if mode == "current" and current(id, method, params):
        return
    if method == "initialize":
        initialized = True
        capabilities = {
            "tools": {"listChanged": True},
            "resources": {"subscribe": True, "listChanged": True},
            "prompts": {"listChanged": True},
            "logging": {},
            "completions": {},
        }
        info = {"name": "misbehaviour", "version": "1"}
        send({"id": id, "result": {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info}})
    elif not initialized and mode == "silent":
        pass
    elif method == "ping":
        send({"id": id, "result": {}})
    elif method == "tools/list":
        every = tools()
        start = int(params.get("cursor", 0))
        page = {"tools": every[start : start + 4]}
        if start + 4 < len(every):
            page["nextCursor"] = str(start + 4)
        send({"id": id, "result": page})
    elif method == "tools/call":
        call(id, params)
    elif method == "resources/list":
        send({"id": id, "result": {"resources": [{"uri": "memo://1", "name": "memo"}]}})
    elif method == "resources/read":
        if params["uri"] != "memo://1":
            send({"id": id, "error": {"code": -32002, "message": "resource not found", "data": {"uri": params["uri"]}}})
        else:
            send({"id": id, "result": {"contents": [{"uri": "memo://1", "text": "remember"}]}})
    elif method == "resources/subscribe":
        subscribed.add(params["uri"])
        send({"id": id, "result": {}})
    elif method == "resources/unsubscribe":
        subscribed.discard(params["uri"])
        send({"id": id, "result": {}})
    elif method == "prompts/list":
        send({"id": id, "result": {"prompts": [{"name": "greet", "arguments": [{"name": "who", "required": True}]}]}})
    elif method == "prompts/get":
        words = f"Greet {params['arguments']['who']}."
        send({"id": id, "result": {"messages": [{"role": "user", "content": {"type": "text", "text": words}}]}})
    elif method == "logging/setLevel":
        logs_from = params["level"]
        send({"id": id, "result": {}})
    elif method == "completion/complete":
        send({"id": id, "result": {"completion": {"values": ["ann", "bob"], "hasMore": False}}})
    else:
        send({"id": id, "error": {"code": -32601, "message": f"method not found: {method}"}})


def garbage():
    with lock:
        sys.stdout.write("warming up...\n\n{\"half\": \n[1, 2]\n\x00\x01 \u00fc\n{\"jsonrpc\":\"1.0\"}\n")
        sys.stdout.flush()


def flood():
    while True:
        with lock:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "method": "notifications/flood", "params": {"x": "y" * 200}}) + "\n")
            sys.stdout.flush()


if mode == "crash":
    print("cannot find my configuration", file=sys.stderr, flush=True)
    sys.exit(1)
if mode == "hang":
    while sys.stdin.readline():
        pass
    time.sleep(60)
if mode == "deaf":
    # Does not end when its input does, nor when asked to.
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "parent":
    import subprocess

    grandchild = subprocess.Popen(["sleep", "300"])
    with open(state, "w") as file:
        file.write(str(grandchild.pid))
if mode == "flood":
    threading.Thread(target=flood, daemon=True).start()

for line in sys.stdin:
    if mode == "garbage":
        garbage()
    message = json.loads(line)
    if "method" not in message:
        answer(message)
    elif "id" in message:
        request(message["id"], message["method"], message.get("params", {}))
    elif message["method"] == "notifications/cancelled":
        cancelled.add(message["params"]["requestId"])
        listening.pop(message["params"]["requestId"], None)
while mode == "deaf":
    time.sleep(1)
