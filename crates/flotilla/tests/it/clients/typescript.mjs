// Works through a server with the official TypeScript SDK, as `node typescript.mjs JOB`, and prints what it found as one JSON object.
//
// JOB is JSON: { sdk: "v1" | "sse" (v1 over the transport of 2024-11-05) | "v2", era?: "legacy" | "auto" | "modern" (v2), url + key | command + env, tool, arguments, read? }.
// The SDKs are looked for below the folder that the variable MODULES names.

import { createRequire } from "node:module";

const job = JSON.parse(process.argv[2]);
const require = createRequire(process.env.MODULES);
const info = { name: `typescript-${job.sdk}`, version: "1.0.0" };

function parts() {
  if (job.sdk === "sse") {
    const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
    const { SSEClientTransport } = require("@modelcontextprotocol/sdk/client/sse.js");
    return { client: new Client(info), StreamableHTTPClientTransport: SSEClientTransport };
  }
  if (job.sdk === "v1") {
    const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
    const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
    return { client: new Client(info), StreamableHTTPClientTransport, StdioClientTransport };
  }
  const { Client, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");
  const { StdioClientTransport } = require("@modelcontextprotocol/client/stdio");
  const mode = job.era === "modern" ? { pin: "2026-07-28" } : (job.era ?? "auto");
  return { client: new Client(info, { versionNegotiation: { mode } }), StreamableHTTPClientTransport, StdioClientTransport };
}

function transport({ StreamableHTTPClientTransport, StdioClientTransport }) {
  if (job.command) {
    const [command, ...args] = job.command;
    return new StdioClientTransport({ command, args, env: job.env });
  }
  const headers = job.key ? { authorization: `Bearer ${job.key}` } : {};
  return new StreamableHTTPClientTransport(new URL(job.url), { requestInit: { headers } });
}

async function allTools(client) {
  const tools = [];
  let cursor;
  do {
    const page = await client.listTools(cursor ? { cursor } : undefined);
    tools.push(...page.tools);
    cursor = page.nextCursor;
  } while (cursor);
  return tools;
}

const made = parts();
const { client } = made;
const way = transport(made);
await client.connect(way);
const found = {
  server: client.getServerVersion()?.name,
  revision: client.getNegotiatedProtocolVersion?.() ?? way.protocolVersion ?? way._protocolVersion ?? null,
  tools: (await allTools(client)).map((tool) => tool.name),
  result: await client.callTool({ name: job.tool, arguments: job.arguments }),
};
const abilities = client.getServerCapabilities() ?? {};
if (abilities.resources) {
  found.resources = (await client.listResources()).resources.map((resource) => resource.uri);
  if (job.read) found.read = await client.readResource({ uri: job.read });
}
if (abilities.prompts) found.prompts = (await client.listPrompts()).prompts.map((prompt) => prompt.name);
await client.close();
console.log(JSON.stringify(found));
