// The playground: a dry run, or an answer as it streams with what chose it, and a rating.

const playground = dashboard.one("[data-playground]");
if (playground) {
  const place = (name) => dashboard.one(`[data-${name}]`);
  const [answer, by, facts, rate, ranking, reason] = ["answer", "answer-by", "answer-facts", "rate", "ranking", "ranking-reason"].map(place);
  const stop = place("stop");
  let running;

  const draft = sessionStorage.getItem("draft");
  if (draft) dashboard.one("#prompt").value = draft;
  sessionStorage.removeItem("draft");

  const request = (stream) => {
    const fields = new FormData(playground);
    const objective = fields.get("objective");
    return {
      model: fields.get("model"),
      messages: [{ role: "user", content: fields.get("prompt") }],
      max_tokens: Number(fields.get("max_tokens")) || undefined,
      stream,
      routing: { tags: { source: "playground" }, ...(objective ? { objective } : {}) },
    };
  };
  const trouble = (box, error) => box.replaceChildren(dashboard.make("div", { class: "alert", role: "alert" }, error.message));

  // The candidates, with what the choice weighed.
  const rank = (decision) => {
    const bar = (share) => {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("class", "bar");
      svg.setAttribute("aria-hidden", "true");
      for (const [kind, width] of [["back", 1], ["fill", share]]) {
        const rect = document.createElementNS(svg.namespaceURI, "rect");
        for (const [name, value] of Object.entries({ class: kind, width: `${width * 100}%`, height: "100%", rx: 4 })) rect.setAttribute(name, value);
        svg.append(rect);
      }
      return svg;
    };
    const row = (candidate) =>
      dashboard.make(
        "tr",
        {},
        dashboard.make("th", { scope: "row" }, candidate.model, candidate.model === decision.chosen ? " " : "",
          candidate.model === decision.chosen ? dashboard.make("span", { class: "badge good" }, "chosen") : ""),
        dashboard.make("td", {}, bar(candidate.propensity)),
        dashboard.make("td", { class: "num" }, dashboard.percent(candidate.propensity)),
        dashboard.make("td", { class: "num" }, candidate.quality === undefined || candidate.quality_source === "default" ? "–" : dashboard.percent(candidate.quality)),
        dashboard.make("td", { class: "num" }, dashboard.usd(candidate.cost_usd)),
        dashboard.make("td", { class: "num" }, dashboard.ms(candidate.latency_ms ?? (candidate.latency_s === undefined ? undefined : candidate.latency_s * 1000))),
      );
    const head = ["Model", "", "Probability", "Good answer", "Cost", "First token"].map((name, at) =>
      dashboard.make("th", { scope: "col", class: at > 1 ? "num" : undefined }, name));
    const table = dashboard.make("table", {}, dashboard.make("thead", {}, dashboard.make("tr", {}, ...head)), dashboard.make("tbody", {}, ...decision.candidates.map(row)));
    const out = (decision.excluded ?? []).map((excluded) => dashboard.make("li", {}, dashboard.make("b", {}, excluded.model), `: ${excluded.reason}`));
    ranking.replaceChildren(
      dashboard.make("div", { class: "table-box" }, table),
      ...(out.length ? [dashboard.make("details", {}, dashboard.make("summary", {}, `${out.length} models fell out`), dashboard.make("ul", {}, ...out))] : []),
    );
    reason.textContent = decision.reason;
  };

  const dryRun = async () => {
    try {
      rank(await (await dashboard.call("POST", "/api/admin/route", request(false))).json());
    } catch (error) {
      trouble(ranking, error);
    }
  };

  // The candidates of the answer's own decision: a dry run would be another random draw.
  const explain = async (id) => {
    try {
      rank((await (await dashboard.call("GET", `/api/admin/decisions/${id}`)).json()).decision);
    } catch (error) {
      trouble(ranking, error);
    }
  };

  // Reads server-sent events from an answer's body.
  async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      let end;
      while ((end = text.indexOf("\n\n")) >= 0) {
        const lines = text.slice(0, end).split("\n");
        text = text.slice(end + 2);
        const field = (name) => lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2)).join("\n");
        yield { name: field("event"), data: JSON.parse(field("data") || "null") };
      }
    }
  }

  const send = async () => {
    running?.abort();
    running = new AbortController();
    const button = dashboard.one("button[type=submit]", playground);
    button.setAttribute("aria-busy", "true");
    stop.hidden = false;
    rate.hidden = true;
    answer.replaceChildren();
    facts.textContent = "";
    by.textContent = "";
    const begun = performance.now();
    let first;
    try {
      const response = await dashboard.call("POST", "/api/admin/chat", request(true), running.signal);
      // `fetch` reads headers as Latin-1; they are UTF-8.
      const utf8 = (text) => new TextDecoder().decode(Uint8Array.from(text, (byte) => byte.charCodeAt(0)));
      const header = (name) => utf8(response.headers.get(`x-pointsman-${name}`) ?? "");
      by.textContent = [header("model"), header("reason")].filter(Boolean).join(" · ");
      rate.dataset.decision = header("decision");
      dashboard.one("[data-decision-link]").href = `/dashboard/decisions/${header("decision")}`;
      explain(header("decision"));
      for await (const { name, data } of events(response)) {
        if (name === "delta") {
          first ??= performance.now() - begun;
          if (data.thinking) answer.append(dashboard.make("span", { class: "thinking" }, data.thinking));
          else if (data.text) answer.append(data.text);
        } else if (name === "end") {
          const usage = data.usage ?? {};
          facts.textContent = [
            `first token ${dashboard.ms(first)}`,
            `total ${dashboard.ms(performance.now() - begun)}`,
            usage.output_tokens !== undefined ? `${usage.input_tokens} → ${usage.output_tokens} tokens` : "",
            dashboard.usd(data.cost_usd),
          ].filter(Boolean).join(" · ");
        } else if (name === "error") {
          throw new Error(data.error?.message ?? "The answer broke off.");
        }
      }
      rate.hidden = false;
    } catch (error) {
      if (error.name !== "AbortError") trouble(answer, error);
      if (error.decision) explain(error.decision);
    } finally {
      button.removeAttribute("aria-busy");
      stop.hidden = true;
    }
  };

  playground.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  playground.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) playground.requestSubmit();
  });
  place("dry-run").addEventListener("click", () => playground.reportValidity() && dryRun());
  stop.addEventListener("click", () => running?.abort());
  for (const button of dashboard.all("[data-sample]")) {
    button.addEventListener("click", () => {
      dashboard.one("#prompt").value = button.dataset.sample;
      dashboard.one("#prompt").focus();
    });
  }
  for (const button of dashboard.all("[data-thumb]", rate)) {
    button.addEventListener("click", async () => {
      try {
        await dashboard.call("POST", "/api/admin/feedback", { decision_id: rate.dataset.decision, thumbs: button.dataset.thumb, source: "playground" });
        dashboard.toast("Thank you. The policy learns from it.");
      } catch (error) {
        dashboard.toast(error.message, true);
      }
    });
  }
}
