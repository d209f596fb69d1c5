// Live requests and the live log: server-sent events drawn as they come. All text is set as text.

// Opens a stream and reopens it when it breaks; says so where the page has a place for it.
function follow(path, take, begin) {
  const state = panel.one("[data-stream-state]");
  const say = (text) => state && (state.textContent = text);
  const source = new EventSource(path);
  source.addEventListener("open", () => {
    begin?.();
    say("Live");
  });
  source.addEventListener("message", (event) => take(JSON.parse(event.data)));
  source.addEventListener("missed", (event) => say(`Live; ${event.data} too fast to show`));
  source.addEventListener("error", async () => {
    say("Connection lost; trying again");
    if (source.readyState !== EventSource.CLOSED) return;
    // Refused for good: the session ended, or the gateway did.
    const check = await fetch("/api/admin/config").catch(() => undefined);
    if (check?.status === 401) panel.signIn();
    else setTimeout(() => follow(path, take, begin), 3000);
  });
  return source;
}

// A button that holds the picture still; what comes meanwhile is shown when it is released.
function pausable(draw) {
  const waiting = [];
  let paused = false;
  panel.one("[data-pause]")?.addEventListener("click", (event) => {
    paused = !paused;
    event.currentTarget.setAttribute("aria-pressed", String(paused));
    event.currentTarget.textContent = paused ? "Resume" : "Pause";
    if (!paused) waiting.splice(0).forEach(draw);
  });
  return (item) => {
    if (!paused) return draw(item);
    waiting.push(item);
    if (waiting.length > 2000) waiting.shift();
  };
}

const monitor = panel.one("[data-monitor]");
if (monitor) {
  const ORDER = ["routing", "routed", "calling", "answering", "ended"];
  const NAMES = { routing: "routing", routed: "routed", calling: "calling", retrying: "failed, trying on", answering: "answering", ended: "done" };
  const MOST = 200;
  const rows = panel.one("[data-rows]", monitor);
  const find = panel.one("[data-monitor-find]");

  const phase = (item) => {
    const bad = item.phase === "ended" && !["ok", "cancelled"].includes(item.status);
    const at = item.phase === "retrying" ? 2 : ORDER.indexOf(item.phase);
    const bars = [1, 2, 3, 4].map((step) => {
      const kind = bad ? "bad" : at >= step ? "done" : at + 1 === step ? (item.phase === "retrying" ? "bad" : "now") : "";
      return panel.make("i", { class: kind });
    });
    return [panel.make("span", { class: "phase", "aria-hidden": "true" }, ...bars), ` ${NAMES[item.phase] ?? item.phase}`];
  };
  const badge = (item) => {
    if (!item.status) return "";
    const kind = item.status === "ok" ? "good" : item.status === "cancelled" ? "" : "bad";
    return panel.make("span", { class: `badge ${kind}` }, item.status);
  };
  const model = (item) => {
    if (!item.model) return ["–"];
    const name = item.decision_id ? panel.make("a", { href: `/dashboard/decisions/${item.decision_id}` }, item.model) : item.model;
    const tries = item.calls > 1 ? panel.make("span", { class: "muted" }, ` after ${item.calls} calls (${item.failure ?? "failed"})`) : null;
    return [name, tries];
  };
  const sifted = (row) => (row.hidden = !row.textContent.toLowerCase().includes(find.value.trim().toLowerCase()));

  const draw = pausable((item) => {
    panel.one("[data-empty]", monitor).hidden = true;
    let row = panel.one(`[data-seq="${item.seq}"]`, rows);
    if (!row) {
      row = panel.make("tr", { "data-seq": item.seq, class: "fresh" });
      rows.prepend(row);
      while (rows.children.length > MOST) rows.lastElementChild.remove();
    }
    const cell = (content, kind) => panel.make("td", { class: kind }, ...[content].flat());
    const tokens = item.output_tokens === null ? "–" : `${item.input_tokens} → ${item.output_tokens}`;
    row.replaceChildren(
      cell(panel.clock(item.at_ms), "muted"),
      cell([item.requested, panel.make("span", { class: "muted" }, ` ${item.dialect}${item.token ? `, ${item.token}` : ""}`)]),
      cell(phase(item)),
      cell(badge(item)),
      cell(model(item)),
      cell(panel.ms(item.first_token_ms), "num"),
      cell(panel.ms(item.latency_ms), "num"),
      cell(tokens, "num"),
      cell(panel.usd(item.cost_usd), "num"),
    );
    sifted(row);
  });
  find.addEventListener("input", () => [...rows.children].forEach(sifted));
  follow(monitor.dataset.monitor, draw);
}

const logs = panel.one("[data-logs]");
if (logs) {
  const MOST = 1000;
  const list = panel.one("[data-lines]", logs);
  const none = panel.one("[data-empty]", logs);
  const wish = panel.one("[data-log-wish]");
  let source;

  const draw = pausable((line) => {
    const atEnd = logs.scrollHeight - logs.scrollTop - logs.clientHeight < 40;
    none.hidden = true;
    const said = panel.make("span", { class: "said" }, panel.make("b", {}, line.message));
    for (const [name, value] of line.fields) said.append(" ", panel.make("span", {}, `${name}=`), value);
    list.append(
      panel.make(
        "li",
        { title: line.target },
        panel.make("time", { datetime: new Date(line.at_ms).toISOString() }, panel.clock(line.at_ms)),
        panel.make("span", { class: `level ${line.level}` }, line.level),
        said,
      ),
    );
    while (list.children.length > MOST) list.firstElementChild.remove();
    if (atEnd) logs.scrollTop = logs.scrollHeight;
  });
  const clear = () => {
    list.replaceChildren();
    none.hidden = false;
  };
  const open = () => {
    source?.close();
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(wish)) if (value) query.set(name, value);
    source = follow(`${logs.dataset.logs}?${query}`, draw, clear);
  };
  let soon;
  wish.addEventListener("submit", (event) => event.preventDefault());
  wish.addEventListener("input", () => {
    clearTimeout(soon);
    soon = setTimeout(open, 250);
  });
  panel.one("[data-clear]").addEventListener("click", clear);
  open();
}
