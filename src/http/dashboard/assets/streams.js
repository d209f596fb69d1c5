// Live requests and live log lines: server-sent events drawn as they come. All text is set as text, never as markup.

// Opens a stream and reopens it when it breaks; shows its state where the page has an element for it.
function follow(path, take, begin) {
  const state = dashboard.one("[data-stream-state]");
  const say = (text) => state && (state.textContent = text);
  const source = new EventSource(path);
  // A gateway that hangs breaks no connection, but no longer sends its event of every ten seconds.
  let silence;
  let silent = false;
  const heard = () => {
    if (silent) say("Live");
    silent = false;
    clearTimeout(silence);
    silence = setTimeout(() => {
      silent = source.readyState === EventSource.OPEN;
      if (silent) say("Connection lost");
    }, 25000);
  };
  for (const kind of ["open", "message", "missed", "alive"]) source.addEventListener(kind, heard);
  source.addEventListener("open", () => {
    begin?.();
    say("Live");
  });
  source.addEventListener("message", (event) => take(JSON.parse(event.data)));
  source.addEventListener("missed", (event) => say(`Live; ${event.data} too fast to show`));
  source.addEventListener("error", async () => {
    say("Connection lost; trying again");
    if (source.readyState !== EventSource.CLOSED) return;
    // The stream was refused, not cut: the session or the gateway has ended.
    const check = await fetch("/api/admin/config").catch(() => undefined);
    if (check?.status === 401) dashboard.signIn();
    else setTimeout(() => follow(path, take, begin), 3000);
  });
  return source;
}

// The pause button: events that come meanwhile are shown when it is released.
function pausable(draw) {
  const waiting = [];
  let paused = false;
  dashboard.one("[data-pause]")?.addEventListener("click", (event) => {
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

const monitor = dashboard.one("[data-monitor]");
if (monitor) {
  const ORDER = ["routing", "routed", "calling", "answering", "ended"];
  const NAMES = { routing: "routing", routed: "routed", calling: "calling", retrying: "failed, trying on", answering: "answering", ended: "done" };
  const MOST = 200;
  const rows = dashboard.one("[data-rows]", monitor);
  const find = dashboard.one("[data-monitor-find]");

  const phase = (item) => {
    const bad = item.phase === "ended" && !["ok", "cancelled"].includes(item.status);
    const at = item.phase === "retrying" ? 2 : ORDER.indexOf(item.phase);
    const bars = [1, 2, 3, 4].map((step) => {
      const kind = bad ? "bad" : at >= step ? "done" : at + 1 === step ? (item.phase === "retrying" ? "bad" : "now") : "";
      return dashboard.make("i", { class: kind });
    });
    return [dashboard.make("span", { class: "phase", "aria-hidden": "true" }, ...bars), ` ${NAMES[item.phase] ?? item.phase}`];
  };
  const badge = (item) => {
    if (!item.status) return "";
    const kind = item.status === "ok" ? "good" : item.status === "cancelled" ? "" : "bad";
    return dashboard.make("span", { class: `badge ${kind}` }, item.status);
  };
  const model = (item) => {
    if (!item.model) return ["–"];
    const name = item.decision_id ? dashboard.make("a", { href: `/dashboard/decisions/${item.decision_id}` }, item.model) : item.model;
    const tries = item.calls > 1 ? dashboard.make("span", { class: "muted" }, ` after ${item.calls} calls (${item.failure ?? "failed"})`) : null;
    return [name, tries];
  };
  const sifted = (row) => (row.hidden = !row.textContent.toLowerCase().includes(find.value.trim().toLowerCase()));

  const draw = pausable((item) => {
    dashboard.one("[data-empty]", monitor).hidden = true;
    let row = dashboard.one(`[data-seq="${item.seq}"]`, rows);
    if (!row) {
      row = dashboard.make("tr", { "data-seq": item.seq, class: "fresh" });
      rows.prepend(row);
      while (rows.children.length > MOST) rows.lastElementChild.remove();
    }
    const cell = (content, kind) => dashboard.make("td", { class: kind }, ...[content].flat());
    const tokens = item.output_tokens === null ? "–" : `${item.input_tokens} → ${item.output_tokens}`;
    row.replaceChildren(
      cell(dashboard.clock(item.at_ms), "muted"),
      cell([item.requested, dashboard.make("span", { class: "muted" }, ` ${item.dialect}${item.token ? `, ${item.token}` : ""}`)], "long"),
      cell(phase(item)),
      cell(badge(item)),
      cell(model(item), "long"),
      cell(dashboard.ms(item.first_token_ms), "num"),
      cell(dashboard.ms(item.latency_ms), "num"),
      cell(tokens, "num"),
      cell(dashboard.usd(item.cost_usd), "num"),
    );
    sifted(row);
  });
  find.addEventListener("input", () => [...rows.children].forEach(sifted));
  follow(monitor.dataset.monitor, draw);
}

const logs = dashboard.one("[data-logs]");
if (logs) {
  const MOST = 1000;
  const list = dashboard.one("[data-lines]", logs);
  const none = dashboard.one("[data-empty]", logs);
  const wish = dashboard.one("[data-log-wish]");
  let source;

  const draw = pausable((line) => {
    const atEnd = logs.scrollHeight - logs.scrollTop - logs.clientHeight < 40;
    none.hidden = true;
    const said = dashboard.make("span", { class: "said" }, dashboard.make("b", {}, line.message));
    for (const [name, value] of line.fields) said.append(" ", dashboard.make("span", {}, `${name}=`), value);
    list.append(
      dashboard.make(
        "li",
        { title: line.target },
        dashboard.make("time", { datetime: new Date(line.at_ms).toISOString() }, dashboard.clock(line.at_ms)),
        dashboard.make("span", { class: `level ${line.level}` }, line.level),
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
  dashboard.one("[data-clear]").addEventListener("click", clear);
  open();
}
