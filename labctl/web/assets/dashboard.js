"use strict";

// The token is now in a cookie, so it need not stay in the address bar and the history.
if (location.search) history.replaceState(null, "", location.pathname + location.hash);

const byId = (id) => document.getElementById(id);

// Text is only ever inserted as text, because names and messages come from files and guests.
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const WORDS = { absent: "not created", off: "off", suspended: "suspended", starting: "starting", booting: "booting", running: "running", silent: "silent", panicked: "panicked", disk_full: "disk full", unreachable: "unreachable", halting: "halting", crashed: "crashed" };
const COLOURS = { running: "good", starting: "busy", booting: "busy", halting: "busy", silent: "bad", panicked: "bad", disk_full: "bad", unreachable: "bad", crashed: "bad" };

// Ports with well-known service names; `null`: not useful in a browser.
const KNOWN = { 22: null, 80: "HTTP", 443: "HTTPS", 3306: null, 4646: "Nomad", 4647: null, 4648: null, 5432: null, 6379: null, 8300: null, 8301: null, 8302: null, 8500: "Consul", 8502: null, 8600: null, 9090: "Prometheus" };

function port([host, guest], address) {
  const shown = (host === guest ? String(host) : host + " → " + guest) + (KNOWN[guest] ? " " + KNOWN[guest] : "");
  if (KNOWN[guest] === null) return make("span", {}, shown);
  const secure = guest === 443 || guest === 8443;
  const usual = host === (secure ? 443 : 80);
  const url = (secure ? "https://" : "http://") + address + (usual ? "" : ":" + host) + "/";
  return make("a", { href: url, target: "_blank", rel: "noopener noreferrer", title: url }, shown);
}

function agent(node, supervised) {
  if (!supervised) return node.state === "running" ? "unknown" : "–";
  if (node.state === "running") return "answers";
  return ["booting", "silent", "panicked", "disk_full", "unreachable"].includes(node.state) ? "silent" : "–";
}

function span(seconds) {
  if (seconds < 120) return seconds + " s";
  if (seconds < 7200) return Math.floor(seconds / 60) + " min";
  if (seconds < 172800) return Math.floor(seconds / 3600) + " h";
  return Math.floor(seconds / 86400) + " days";
}

// Times advance even if nothing happens.
function age(element) {
  element.textContent = span(Math.max(0, Math.floor((Date.now() - Number(element.dataset.since)) / 1000)));
}

function uptime(node) {
  if (!node.since_unix_ms) return make("div", {}, "–");
  const element = make("div", { class: "age", "data-since": String(node.since_unix_ms), title: "since " + new Date(node.since_unix_ms).toLocaleString() });
  age(element);
  return element;
}

function past(node) {
  const parts = [];
  if (node.reboots) parts.push(node.reboots === 1 ? "rebooted once" : "rebooted " + node.reboots + " times");
  if (node.panics) parts.push(node.panics === 1 ? "panicked once" : "panicked " + node.panics + " times");
  if (!parts.length) return null;
  const words = node.last_panic ? { title: node.last_panic.line } : {};
  return make("div", { class: node.panics ? "why" : "faint", ...words }, parts.join(", "));
}

function cell(label, className, ...children) {
  return make("td", { "data-label": label || undefined, class: className || undefined }, make("div", {}, ...children));
}

function memory(mib) {
  return mib >= 1024 && mib % 256 === 0 ? mib / 1024 + " GiB" : mib + " MiB";
}

function row(node, supervised) {
  const known = node.loopback !== "0.0.0.0";
  const state = make("span", { class: "pill " + (COLOURS[node.state] || "") }, WORDS[node.state] || node.state);
  const why = node.why ? make("span", { class: "why" }, node.why) : null;
  const links = node.published.map((published) => port(published, node.loopback));
  const udp = node.published_udp.map(([host, guest]) => make("span", {}, (host === guest ? host : host + " → " + guest) + " UDP"));
  const ports = make("div", { class: "ports" }, ...links, ...udp);
  return make("tr", {},
    cell("", "node", make("div", { class: "name" }, node.name), node.groups.length ? make("div", { class: "faint" }, node.groups.join(", ")) : null),
    cell("", "state", state, why),
    cell("Up for", "", uptime(node), past(node)),
    cell("Agent", "", agent(node, supervised)),
    cell("Address", "", make("div", { class: "mono" }, node.address), make("div", { class: "faint" }, node.hostnames.join(", "))),
    cell("On host", "", make("div", { class: "mono" }, known ? node.loopback : "–"), ports),
    cell("CPUs", "number", String(node.cpus)),
    cell("Memory", "number", memory(node.memory_mib)));
}

function showStatus(status) {
  document.title = status.lab + " · labctl";
  byId("lab").textContent = status.lab;
  const running = status.nodes.filter((node) => node.state === "running").length;
  const parts = [running + " of " + status.nodes.length + (status.nodes.length === 1 ? " node" : " nodes") + " running"];
  for (const bad of ["crashed", "panicked", "disk_full", "unreachable", "silent"]) {
    const count = status.nodes.filter((node) => node.state === bad).length;
    if (count) parts.push(count + " " + WORDS[bad]);
  }
  if (status.accel) parts.push(status.accel === "kvm" ? "on KVM" : "emulated (" + status.accel + ")");
  if (status.supervisor === null) parts.push(running ? "no supervisor: the next labctl command starts one" : "labctl up starts it");
  byId("summary").textContent = parts.join(" · ");
  const failed = status.failed_restore;
  byId("trouble").hidden = !failed;
  byId("trouble").textContent = failed ? "The last restore failed: " + failed.message + (failed.hint ? "\n" + failed.hint : "") : "";
  const supervised = status.supervisor !== null;
  byId("nodes").tBodies[0].replaceChildren(...status.nodes.map((node) => row(node, supervised)));
}

function clock(milliseconds, dated) {
  const time = new Date(milliseconds);
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const today = time.toDateString() === new Date().toDateString();
  const text = today && !dated ? time.toLocaleTimeString([], options) : time.toLocaleString([], { ...options, month: "short", day: "numeric" });
  return make("time", { datetime: time.toISOString() }, text);
}

function sentence(happened) {
  switch (happened.event) {
    case "node": {
      const state = happened.state;
      return happened.node + (state.state === "crashed" ? " " : state.state === "disk_full" ? ": " : " is ") + (WORDS[state.state] || state.state) + (state.why ? ": " + state.why : "");
    }
    case "kernel": {
      const says = { panic: "its kernel has panicked", oops: "its kernel reports an internal fault", stall: "its kernel reports a stall, which can happen on a busy host" };
      return happened.node + ": " + (says[happened.trouble] || happened.trouble) + ": " + happened.line;
    }
    case "rebooted": {
      const causes = { asked: "rebooted, after ", panic: "rebooted after a kernel panic; it had been up for ", itself: "rebooted by itself (another boot id), after " };
      return happened.node + ": " + (causes[happened.cause] || "rebooted, after ") + span(Math.floor(happened.ran_ms / 1000));
    }
    case "work": return happened.what + ": " + happened.step;
    default: return happened.text || happened.event;
  }
}

function showEvent(happened) {
  byId("no-events").hidden = true;
  const kind = { node: () => happened.state.state, kernel: () => happened.trouble, rebooted: () => (happened.cause === "itself" ? "warning" : "rebooted") }[happened.event]?.() || happened.event;
  byId("events").prepend(make("li", {}, clock(happened.at_unix_ms), make("span", { class: kind }, sentence(happened))));
  // The server keeps the same number.
  while (byId("events").children.length > 500) byId("events").lastElementChild.remove();
}

const VERDICTS = { passed: "good", failed: "bad", aborted: "bad", no_effect: "busy", not_steady_before: "busy" };

function report(line) {
  const text = make("pre", {}, "…");
  const seconds = (line.elapsed_ms / 1000).toFixed(1) + " s total";
  const back = line.recovery_seconds === null ? null : "steady again after " + line.recovery_seconds.toFixed(1) + " s";
  const details = make("details", { "data-name": line.name },
    make("summary", {},
      make("span", { class: "pill " + (VERDICTS[line.verdict] || "") }, line.verdict.replaceAll("_", " ")),
      make("span", { class: "name" }, line.scenario),
      clock(line.started_unix_ms, true),
      make("span", { class: "faint" }, [line.reason, back, seconds, "seed " + line.seed].filter(Boolean).join(" · "))),
    text);
  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    try {
      const answer = await fetch("/api/reports/" + encodeURIComponent(line.name));
      text.textContent = answer.ok ? await answer.text() : "This report no longer exists.";
    } catch {
      text.textContent = "The dashboard does not respond.";
    }
  });
  return details;
}

function showReports(lines) {
  byId("no-reports").hidden = lines.length > 0;
  const open = new Set([...byId("reports").querySelectorAll("details[open]")].map((details) => details.dataset.name));
  // `#NAME` in the URL opens a report.
  if (!byId("reports").children.length) open.add(location.hash.slice(1));
  byId("reports").replaceChildren(...lines.map(report));
  for (const details of byId("reports").children) details.open = open.has(details.dataset.name);
}

function link(text, colour) {
  byId("link").textContent = text;
  byId("link").className = "pill " + colour;
}

setInterval(() => document.querySelectorAll(".age").forEach(age), 10000);

const stream = new EventSource("/api/stream");
stream.addEventListener("open", () => link("live", "good"));
stream.addEventListener("begin", () => {
  byId("events").replaceChildren();
  byId("no-events").hidden = false;
});
stream.addEventListener("status", (message) => showStatus(JSON.parse(message.data)));
stream.addEventListener("happened", (message) => showEvent(JSON.parse(message.data)));
stream.addEventListener("reports", (message) => showReports(JSON.parse(message.data)));
stream.addEventListener("error", () => {
  // The browser reconnects by itself unless it was refused, for example by a restarted dashboard.
  const refused = stream.readyState === EventSource.CLOSED;
  link(refused ? "closed: open the new address" : "no response", "bad");
});
