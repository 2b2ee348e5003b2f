// The dashboard's script: the feed, ages, keys. Every page works without it; nothing here decides or calculates anything of the fleet.
"use strict";
const DEAD_MS = 5000;      // a feed that says nothing for so long is taken for dead
const AGAIN_MS = 3000;     // and asked for anew after so long
const body = document.body, feed = document.getElementById("feed");
let skew = Number(body.dataset.now) - Date.now(), source = null, heard = Date.now(), opened = 0, out = "";

function tell(state, text) {
  if (feed.dataset.feed !== state) feed.dataset.feed = state;
  if (feed.textContent !== text) feed.textContent = text;
  body.toggleAttribute("data-dead", state === "dead");
}
function ago(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  return s < 120 ? s + " s" : s < 7200 ? Math.floor(s / 60) + " min" : s < 172800 ? Math.floor(s / 3600) + " h" : Math.floor(s / 86400) + " days";
}
function ages(root) {
  for (const time of root.querySelectorAll("time[data-at]")) {
    const past = Date.now() + skew - Number(time.dataset.at);
    const text = past < -1500 ? "in " + ago(-past) : ago(past) + " ago";
    if (time.textContent !== text) time.textContent = text;
  }
}
// Somebody who types, or has opened something, must not have it taken away under their hands.
function busy(panel) {
  const at = document.activeElement;
  return (at && panel.contains(at) && at.matches("input, select, textarea")) || panel.querySelector("details[open]")
    || [...panel.querySelectorAll("input:not([type=hidden]), textarea")].some(field => field.value !== field.defaultValue);
}
const waiting = new Map();
function put(id, html) {
  const old = document.getElementById(id);
  if (!old) return;
  if (busy(old)) { waiting.set(id, html); old.classList.add("held"); return; }
  const template = document.createElement("template");
  template.innerHTML = html;
  const next = template.content.firstElementChild;
  const at = document.activeElement, link = at && old.contains(at) && at.getAttribute("href");
  ages(next);
  old.replaceWith(next);
  if (link) { const again = [...next.querySelectorAll("a")].find(a => a.getAttribute("href") === link); if (again) again.focus(); }
}
function take(event) {
  const look = JSON.parse(event.data);
  heard = Date.now();
  skew = look.at_ms - heard;
  for (const [id, html] of look.panels) { waiting.delete(id); put(id, html); }
  for (const [id, html] of [...waiting]) { const old = document.getElementById(id); if (old && !busy(old)) { waiting.delete(id); put(id, html); } }
}
function close() { if (source) source.close(); source = null; }
function open() {
  close();
  if (!feed || body.dataset.look === undefined || out || document.hidden) return;
  opened = Date.now();
  source = new EventSource("/ui/live?look=" + encodeURIComponent(body.dataset.look));
  source.addEventListener("look", take);
  source.addEventListener("out", event => { out = event.data; close(); });
}
function watch() {
  ages(document);
  if (!feed || body.dataset.look === undefined) return;
  const quiet = Date.now() - heard;
  if (out) return tell("dead", "■ " + out);
  if (document.hidden) return tell("paused", "paused");
  if (quiet > DEAD_MS) tell("dead", "■ no news for " + ago(quiet));
  else tell(quiet < 2 * DEAD_MS && opened && heard > opened ? "live" : "connecting", heard > opened ? "● live, " + ago(quiet) + " old" : "◐ connecting");
  if (quiet > DEAD_MS && Date.now() - opened > AGAIN_MS) open();
}
// A browser gives one server six connections: a tab that nobody sees must not hold one.
document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else { heard = Date.now(); open(); } });
setInterval(watch, 500);
open();
watch();

for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", () => navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent)
    .then(() => { button.textContent = "Copied"; }, () => { button.textContent = "The browser does not allow it"; }));
}

let going = 0;
document.addEventListener("keydown", event => {
  const at = document.activeElement, typing = at && at.matches("input, select, textarea");
  const keys = document.getElementById("keys");
  if (event.key === "Escape") { if (typing) at.blur(); if (keys) keys.open = false; return; }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") { const find = document.getElementById("find"); if (find) { event.preventDefault(); find.focus(); } }
  else if (event.key === "?") { if (keys) { keys.open = !keys.open; if (keys.open) keys.scrollIntoView(); } }
  else if (event.key === "g") { going = Date.now(); return; }
  else if (Date.now() - going < 1500) {
    const link = [...document.querySelectorAll("nav a[data-key]")].find(a => a.dataset.key === event.key);
    if (link) link.click();
  }
  going = 0;
});
