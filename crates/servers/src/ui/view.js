"use strict";
// A view in a chat client: JSON-RPC with the window around it, as MCP Apps say. What is shown was made and escaped by the fleet.
(() => {
  const host = window.parent;
  if (host === window) return;
  const view = document.getElementById("view");
  const again = document.getElementById("again");
  const said = document.getElementById("said");
  const waiting = new Map();
  let next = 1;
  let tool = "ui__view";
  let given = {};
  const send = (message) => host.postMessage({ jsonrpc: "2.0", ...message }, "*");
  const ask = (method, params) =>
    new Promise((resolve, reject) => {
      waiting.set(next, { resolve, reject });
      send({ id: next, method, params });
      next += 1;
    });
  const show = (result) => {
    const html = result && result._meta && result._meta["flotilla/html"];
    if (typeof html === "string") {
      // Parsed apart, where nothing runs, and moved in without scripts, links or anything that acts.
      const page = new DOMParser().parseFromString(html, "text/html");
      page.querySelectorAll("script,iframe,object,embed,form,a,link,meta,base,img").forEach((node) => node.remove());
      view.replaceChildren(...page.body.childNodes);
    } else {
      const text = document.createElement("pre");
      const plain = result && (result.structuredContent || (result.content && result.content[0] && result.content[0].text));
      text.textContent = typeof plain === "string" ? plain : JSON.stringify(plain, null, 2);
      view.replaceChildren(text);
    }
    said.textContent = "";
    send({ method: "ui/notifications/size-changed", params: { height: document.documentElement.scrollHeight } });
  };
  const dress = (context) => {
    if (!context) return;
    if (context.theme === "light" || context.theme === "dark") document.documentElement.dataset.theme = context.theme;
    const named = context.toolInfo && context.toolInfo.tool && context.toolInfo.tool.name;
    if (named) tool = named;
  };
  window.addEventListener("message", (event) => {
    const message = event.data;
    if (event.source !== host || !message || message.jsonrpc !== "2.0") return;
    const answered = message.method === undefined && waiting.get(message.id);
    if (answered) {
      waiting.delete(message.id);
      if (message.error) answered.reject(new Error(message.error.message));
      else answered.resolve(message.result);
    } else if (message.method === "ui/notifications/tool-input") given = (message.params && message.params.arguments) || {};
    else if (message.method === "ui/notifications/tool-result") show(message.params);
    else if (message.method === "ui/notifications/host-context-changed") dress(message.params);
    else if (message.method === "ui/resource-teardown" || message.method === "ping") send({ id: message.id, result: {} });
  });
  again.addEventListener("click", () => {
    said.textContent = "asking";
    ask("tools/call", { name: tool, arguments: given }).then(show, (error) => {
      said.textContent = error.message;
    });
  });
  ask("ui/initialize", {
    protocolVersion: "2026-01-26",
    appInfo: { name: "flotilla", version: "1" },
    appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
  }).then(
    (result) => {
      dress(result.hostContext);
      again.hidden = !(result.hostCapabilities && result.hostCapabilities.serverTools);
      send({ method: "ui/notifications/initialized" });
    },
    (error) => {
      said.textContent = error.message;
    },
  );
})();
