// Parts of a page that change by themselves: the page is fetched again, and each part is updated in place. Unchanged
// elements stay, and with them focus, scrolling, a selection, and a screen reader's place. A part's `data-live` says after
// how many milliseconds; where it is empty, the part is updated along with the page's others.

const fields = {
  preset: (select) => Math.max([...select.options].findIndex((option) => option.defaultSelected), 0),

  // Whether the user changed the field since its value came.
  touched(field) {
    if (field.matches("select")) return field.selectedIndex !== this.preset(field);
    if (field.matches("[type=checkbox], [type=radio]")) return field.checked !== field.defaultChecked;
    return field.value !== field.defaultValue;
  },

  // Sets the field to the value of the page.
  settle(field) {
    if (field.matches("select")) field.selectedIndex = this.preset(field);
    else if (field.matches("[type=checkbox], [type=radio]")) field.checked = field.defaultChecked;
    else field.value = field.defaultValue;
  },
};

const fresh = {
  busy: false,
  failures: 0,
  // A page that takes the gateway long to make says another time.
  get every() {
    return Math.min(...dashboard.all("[data-live]").map((part) => Number(part.dataset.live || Infinity)), Infinity);
  },

  wait() {
    setTimeout(async () => {
      if (document.visibilityState === "visible") await this.now();
      this.wait();
    }, Math.min(this.every, 60_000));
  },

  async now() {
    if (this.busy) return;
    this.busy = true;
    try {
      // A server that accepts the request and never answers must not block the next try.
      const signal = AbortSignal.timeout(10_000);
      const response = await fetch(location.href, { headers: { accept: "text/html" }, signal });
      if (response.redirected && new URL(response.url).pathname === "/dashboard/login") return dashboard.signIn();
      if (!response.ok) throw new Error(String(response.status));
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      young(page);
      for (const part of dashboard.all("[data-live]")) {
        const next = page.getElementById(part.id);
        if (next) this.swap(part, next);
      }
      this.failed(false);
    } catch {
      this.failed(true);
    } finally {
      this.busy = false;
    }
  },

  swap(part, next) {
    if (part.isEqualNode(next)) return;
    const at = document.activeElement;
    const key = part.contains(at) ? at.dataset.key : undefined;
    this.blend(part, next);
    // Filtered rows stay hidden.
    if (dashboard.one(`[data-find="${CSS.escape(part.id)}"]`)) sift(part);
    if (document.activeElement === at) return;
    // The element was moved, or replaced by the one with its key, if there is just one.
    const found = at.isConnected ? [at] : key ? dashboard.all(`[data-key="${CSS.escape(key)}"]`, part) : [];
    if (found.length === 1) found[0].focus({ preventScroll: true });
  },

  // Makes `old` like `next`, but leaves alone what the user is working with: a field with the focus, a changed value, an
  // open <details>, a button whose action is running.
  blend(old, next) {
    if (old.isEqualNode(next)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = next.data;
      return;
    }
    const isField = old.matches("input, select, textarea");
    if (isField && old === document.activeElement) return;
    const settled = isField && !fields.touched(old);
    const value = isField && old.value;
    const ours = ["open", "aria-busy"];
    for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && !ours.includes(name)) old.removeAttribute(name);
    for (const { name, value } of [...next.attributes]) {
      if (old.getAttribute(name) !== value && !ours.includes(name)) old.setAttribute(name, value);
    }
    this.children(old, next);
    if (settled) fields.settle(old);
    else if (isField) old.value = value;
  },

  // Two elements are the same one if their tag and name are: a link to another page is another element, even at the same
  // place.
  name: (node) => `${node.nodeName} ${node.id || node.dataset?.key || node.getAttribute?.("href") || ""}`,

  children(old, next) {
    const wanted = new Set([...next.childNodes].map(this.name));
    for (const child of [...old.childNodes]) if (!wanted.has(this.name(child))) child.remove();
    let at = old.firstChild;
    for (const child of [...next.childNodes]) {
      const name = this.name(child);
      let like = at;
      while (like && this.name(like) !== name) like = like.nextSibling;
      if (like) this.blend(like, child);
      else like = document.importNode(child, true);
      if (like === at) at = at.nextSibling;
      else old.insertBefore(like, at);
    }
    while (at) {
      const after = at.nextSibling;
      at.remove();
      at = after;
    }
  },

  // Shows a note at the second failure in a row: a single one may be a restart.
  failed(yes) {
    this.failures = yes ? this.failures + 1 : 0;
    let note = dashboard.one("#stale");
    if (this.failures >= 2 && !note) {
      note = dashboard.make("div", { id: "stale", class: "alert warn stale", role: "alert" }, "The gateway does not answer. This page is out of date; trying again.");
      dashboard.one("#main").prepend(note);
    } else if (this.failures === 0) {
      note?.remove();
    }
  },
};
dashboard.refresh = () => fresh.now();
if (Number.isFinite(fresh.every)) {
  fresh.wait();
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && fresh.now());
}
