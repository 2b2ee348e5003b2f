"""A third party's MCP server over stdio, of revision 2025-06-18 and the standard library alone: good, slow and fatal tools.

`python server.py [FILE]`: what FILE holds when the server starts is the description of `echo`. Each call runs in a thread of its own, so that one that hangs holds up no other.
"""

import json
import os
import sys
import threading

WORDS = {"type": "object", "properties": {"text": {"type": "string"}}}
STARTED = {"started": {"type": "string", "description": "A file that is made when the call has begun."}}
WAIT = {"type": "object", "properties": {"path": {"type": "string"}, **STARTED}, "required": ["path"]}
HANG = {"type": "object", "properties": STARTED}
NONE = {"type": "object", "properties": {}}
TOOLS = {
    "echo": (open(sys.argv[1]).read() if len(sys.argv) > 1 else "Repeats a text.", WORDS),
    "pid": ("Tells the number of this process.", NONE),
    "wait_for_file": ("Answers once a file exists.", WAIT),
    "hang": ("Never answers.", HANG),
    "die": ("Ends this process in the middle of the call.", NONE),
}
WRITING = threading.Lock()


def send(message):
    with WRITING:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def call(identity, name, arguments):
    if "started" in arguments:
        open(arguments["started"], "w").close()
    if name == "hang":
        threading.Event().wait()
    if name == "die":
        os._exit(7)
    if name == "wait_for_file":
        looked = threading.Event()
        while not os.path.exists(arguments["path"]):
            looked.wait(0.005)
    text = str(os.getpid()) if name == "pid" else arguments.get("text", "done")
    send({"id": identity, "result": {"content": [{"type": "text", "text": text}], "x-third-party": {"kept": True}}})


def answer(message):
    method, identity, params = message.get("method"), message.get("id"), message.get("params", {})
    if identity is None:
        return
    if method == "initialize":
        info = {"name": "third-party", "version": "1.0.0"}
        send({"id": identity, "result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}})
    elif method == "ping":
        send({"id": identity, "result": {}})
    elif method == "tools/list":
        tools = [{"name": name, "description": about, "inputSchema": schema} for name, (about, schema) in TOOLS.items()]
        send({"id": identity, "result": {"tools": tools}})
    elif method == "tools/call":
        work = (identity, params["name"], params.get("arguments", {}))
        threading.Thread(target=call, args=work, daemon=True).start()
    else:
        send({"id": identity, "error": {"code": -32601, "message": f"no method {method}"}})


for line in sys.stdin:
    answer(json.loads(line))
