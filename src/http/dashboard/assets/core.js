"use strict";
// What every page uses: calls to the admin API, numbers with units, toasts, theme, menu, filters, tooltips.

const dashboard = {
  all: (selector, from = document) => [...from.querySelectorAll(selector)],
  one: (selector, from = document) => from.querySelector(selector),

  // Makes an element; text is set as text, never as markup.
  make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== undefined && child !== null));
    return element;
  },

  // Calls the admin API. An error answer is thrown as an Error with the gateway's message.
  async call(method, path, body, signal) {
    const headers = { "x-pointsman-csrf": dashboard.one('meta[name="csrf"]')?.content ?? "" };
    if (body !== undefined) headers["content-type"] = "application/json";
    const response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
    if (response.status === 401) {
      dashboard.signIn();
      throw new Error("Your session has ended.");
    }
    if (!response.ok) {
      const told = await response.json().catch(() => ({}));
      const error = new Error(told.error?.message ?? `The gateway answered ${response.status}.`);
      error.decision = response.headers.get("x-pointsman-decision");
      throw error;
    }
    return response;
  },

  signIn() {
    // An unsent prompt is kept and restored after sign-in.
    const draft = dashboard.one("#prompt")?.value;
    if (draft) sessionStorage.setItem("draft", draft);
    location.assign(`/dashboard/login?ended=1&next=${encodeURIComponent(location.pathname + location.search)}`);
  },

  toast(text, bad = false) {
    // Errors of earlier actions are out of date.
    for (const old of dashboard.all("#toasts .bad")) old.remove();
    const toast = dashboard.make("div", { class: bad ? "toast bad" : "toast" }, text);
    dashboard.one("#toasts")?.append(toast);
    setTimeout(() => toast.remove(), bad ? 9000 : 4000);
  },

  // Asks for confirmation; resolves to true or false.
  ask(text, yes) {
    const dialog = dashboard.one("#ask");
    dashboard.one("#ask-text").textContent = text;
    dashboard.one("#ask-yes").textContent = yes || "Yes";
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
  },

  ms(value) {
    if (value === null || value === undefined) return "–";
    if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
    return `${value >= 10 ? value.toFixed(0) : value.toFixed(1)} ms`;
  },
  usd(value) {
    if (value === null || value === undefined) return "–";
    if (value === 0) return "$0";
    return `$${value >= 1 ? value.toFixed(2) : value >= 0.01 ? value.toFixed(4) : value.toFixed(6)}`;
  },
  percent(value) {
    if (value === null || value === undefined) return "–";
    const hundred = value * 100;
    return `${hundred !== 0 && hundred < 10 ? hundred.toFixed(1) : hundred.toFixed(0)} %`;
  },
  clock: (ms) => new Date(ms).toLocaleTimeString([], { hour12: false }),
  ago(ms) {
    const seconds = Math.max(0, Math.round((Date.now() - ms) / 1000));
    if (seconds < 2) return "now";
    if (seconds < 100) return `${seconds} s ago`;
    if (seconds < 6000) return `${Math.round(seconds / 60)} min ago`;
    if (seconds < 172800) return `${Math.round(seconds / 3600)} h ago`;
    return `${Math.round(seconds / 86400)} days ago`;
  },
};

// Light and dark: the choice is a cookie, so that the next page comes in the right colours at once.
document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-theme-toggle]")) return;
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  document.cookie = `pointsman_theme=${dark ? "light" : "dark"};path=/dashboard;max-age=31536000;samesite=strict`;
});

// The menu on narrow screens.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-menu]");
  if (!button) return;
  const open = button.closest(".side").classList.toggle("open");
  button.setAttribute("aria-expanded", String(open));
});

// A click anywhere in a row follows its link, which is there for keyboards.
document.addEventListener("click", (event) => {
  const row = event.target.closest("tr.link");
  if (!row || event.target.closest("a, button, input, select, label") || String(getSelection())) return;
  dashboard.one("a", row)?.click();
});

function young(page = document) {
  for (const time of dashboard.all("[data-ago]", page)) time.textContent = dashboard.ago(Number(time.dataset.ago));
}
young();
setInterval(young, 5000);

// Filters rows by text and by checkboxes (`data-only`); groups without visible rows disappear.
function sift(box) {
  const find = dashboard.one(`[data-find="${box.id}"]`)?.value.trim().toLowerCase() ?? "";
  const only = dashboard.all(`[data-only][data-in="${box.id}"]`).filter((check) => check.checked).map((check) => check.dataset.only);
  let any = false;
  for (const group of dashboard.all("[data-group]", box)) {
    let some = false;
    for (const row of dashboard.all("[data-row]", group)) {
      const shown = row.textContent.toLowerCase().includes(find) && only.every((name) => row.hasAttribute(`data-${name}`));
      row.hidden = !shown;
      some ||= shown;
    }
    group.hidden = !some;
    any ||= some;
  }
  const none = dashboard.one("[data-none]", box);
  if (none) none.hidden = any;
}
document.addEventListener("input", (event) => {
  const id = event.target.dataset.find ?? event.target.dataset.in;
  if (id) sift(document.getElementById(id));
});

// The tooltip: a chart's marks have their value in a <title>, which is moved into a tooltip that shows at once and follows
// the pointer.
const tip = dashboard.one("#tip");
function tell(event) {
  const mark = event.target.closest?.(".chart *, .bar *, [data-tip]");
  const title = mark && dashboard.one(":scope > title", mark);
  if (title) {
    mark.dataset.tip = title.textContent;
    title.remove();
  }
  const text = mark?.dataset.tip;
  if (!tip) return;
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX + 12, innerWidth - box.width - 8)}px`;
  tip.style.top = `${event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18}px`;
}
document.addEventListener("pointermove", tell);
document.addEventListener("pointerleave", () => tip && (tip.hidden = true));
