// Forms and buttons that call the admin API: `data-api="METHOD /path"`, with `data-body` for a button's JSON, `data-ask`
// for a question before, `data-done` for a message after, and `data-then` for an action after.

// A form's fields as JSON: empty ones are left out, numbers are numbers, lists are lists. A form with `data-changes` sends
// changed fields only, so that it does not undo somebody else's changes; objects are sent whole.
function gather(form) {
  const body = {};
  const object = (field) => field.name.split(".")[0];
  const changed = new Set([...form.elements].filter((field) => field.name && fields.touched(field)).map(object));
  for (const field of form.elements) {
    if (form.dataset.changes !== undefined && !changed.has(object(field))) continue;
    if (!field.name || field.disabled || (field.type === "checkbox" && !field.checked && field.dataset.type !== "flag")) continue;
    const put = (value) => {
      // `price.input` is a field of an object.
      const keys = field.name.split(".");
      const last = keys.pop();
      const at = keys.reduce((inner, key) => (inner[key] ??= {}), body);
      if (field.dataset.type === "list") (at[last] ??= []).push(value);
      else at[last] = value;
    };
    if (field.dataset.type === "flag") put(field.checked);
    else if (field.multiple) [...field.selectedOptions].forEach((option) => put(option.value));
    else if (field.dataset.type === "number") field.value !== "" && put(Number(field.value));
    else if (field.value !== "") put(field.value);
  }
  return body;
}

const after = {
  async retuned(answer) {
    dashboard.toast(answer.last_retune?.result ?? "Retuned.");
  },

  // A new token is shown once.
  async token(answer, form) {
    dashboard.one("#made-text").textContent = answer.text;
    dashboard.one("#made").hidden = false;
    dashboard.one("#made button").focus();
    form.reset();
  },
};

async function act(element, body, submitter) {
  const [method, path] = element.dataset.api.split(" ");
  if (element.dataset.ask && !(await dashboard.ask(element.dataset.ask, submitter.textContent.trim()))) return;
  submitter.setAttribute("aria-busy", "true");
  try {
    const response = await dashboard.call(method, path, body);
    const answer = await response.json().catch(() => ({}));
    const then = after[element.dataset.then];
    if (then) await then(answer, element);
    else dashboard.toast(answer.message ?? element.dataset.done ?? "Done.");
    shut(element.closest("details.menu"));
    if (element.dataset.go) location.assign(element.dataset.go);
    else await dashboard.refresh();
  } catch (error) {
    dashboard.toast(error.message, true);
  } finally {
    submitter.removeAttribute("aria-busy");
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-api]");
  if (!button || button.getAttribute("aria-busy")) return;
  event.preventDefault();
  act(button, button.dataset.body ? JSON.parse(button.dataset.body) : undefined, button);
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-api]");
  if (!form) return;
  event.preventDefault();
  const submitter = event.submitter ?? dashboard.one("button[type=submit]", form);
  if (submitter.getAttribute("aria-busy")) return;
  const body = gather(form);
  if (form.dataset.changes !== undefined && Object.keys(body).length === 0) {
    dashboard.toast("Nothing was changed.");
    return shut(form.closest("details.menu"));
  }
  act(form, body, submitter);
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch {
    // Browsers allow copying only on pages that came by TLS or from this machine.
    getSelection().selectAllChildren(text);
    dashboard.toast("The browser does not allow copying here: the text is selected, copy it by keyboard.", true);
  }
});

// A menu box closes when its action is done, by Escape, and by a click beside it; unsent input is discarded.
function shut(box) {
  if (!box?.open) return;
  const within = box.contains(document.activeElement);
  box.open = false;
  if (within) dashboard.one("summary", box).focus();
}
document.addEventListener("click", (event) => {
  for (const box of dashboard.all("details.menu[open]")) if (!box.contains(event.target)) shut(box);
});
document.addEventListener("toggle", (event) => {
  if (event.target.matches("details.menu:not([open])")) dashboard.one("form", event.target)?.reset();
}, true);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") dashboard.all("details.menu[open]").forEach(shut);
});

// Filters of a list are applied as soon as one is changed.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-filters]");
  if (form) form.requestSubmit();
});
// A page restored from the browser's cache would show the filters chosen on leaving it.
addEventListener("pageshow", (event) => event.persisted && dashboard.all("form[data-filters]").forEach((form) => form.reset()));
