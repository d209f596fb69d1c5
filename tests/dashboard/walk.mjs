// The walk: what a person does with the dashboard, step by step. Every step must pass; a failure leaves a picture.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { Gateway, HOSTILE, PASSWORD } from "./gateway.mjs";

const [binary, out] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PAGES = ["", "/monitor", "/logs", "/decisions", "/learning", "/models", "/playground", "/tokens", "/configuration", "/audit", "/api"];

const gateway = new Gateway(binary);
await gateway.start();
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const complaints = [];

function watch(page) {
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error.message}`));
  page.on("console", (message) => {
    const text = message.text();
    // A status that the step itself provokes is no complaint, nor is a gateway that it restarts.
    if (message.type() === "error" && !/status of (401|403|404)|ERR_CONNECTION_REFUSED/.test(text)) complaints.push(`${page.url()}: ${text}`);
  });
  page.on("dialog", (dialog) => complaints.push(`${page.url()}: a dialog opened: ${dialog.message()}`));
  return page;
}

const context = await browser.newContext({ viewport: { width: 1360, height: 900 } });
const page = watch(await context.newPage());
page.setDefaultTimeout(15000);
const open = (path) => page.goto(`${gateway.admin}/dashboard${path}`);
const sees = (text) => page.getByText(text).first().waitFor();

function check(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

async function signIn(on = page) {
  await on.fill("#user", "admin");
  await on.fill("#password", PASSWORD);
  await on.click("button[type=submit]");
  await on.waitForURL((url) => !url.pathname.includes("login"));
}

// Waits until something holds: the log and the refresh of a page take a moment.
async function until(holds, otherwise) {
  for (let tries = 0; tries < 120; tries++) {
    if (await holds()) return;
    await page.waitForTimeout(100);
  }
  throw new Error(otherwise);
}

// Until the page has fetched itself anew and put in place what is new.
async function refreshed(on = page) {
  await on.waitForResponse((answer) => answer.url() === on.url() && answer.request().resourceType() === "fetch");
  await on.waitForTimeout(150);
}

const has = (locator, state) => locator.evaluate((it, state) => it.matches(state), state);
const card = (name, on = page) => on.locator("section.model", { has: on.getByRole("heading", { name, exact: true }) });

const steps = {
  async "a stranger is sent to the door, and a wrong password stays outside"() {
    await open("/models");
    check(page.url().includes("/dashboard/login?next=/dashboard/models"), `at ${page.url()}`);
    await page.fill("#user", "admin");
    await page.fill("#password", "wrong");
    await page.click("button[type=submit]");
    await sees("Wrong name or password");
    check((await context.cookies()).every((cookie) => !cookie.name.startsWith("pointsman_session")), "a cookie was set");
  },

  async "the right one leads to the page that was wanted"() {
    await open("/models");
    await signIn();
    check(new URL(page.url()).pathname === "/dashboard/models", `at ${page.url()}`);
    const cookie = (await context.cookies()).find((cookie) => cookie.name.startsWith("pointsman_session"));
    check(cookie.httpOnly && cookie.sameSite === "Strict" && cookie.expires > 0, JSON.stringify(cookie));
  },

  async "nothing has happened yet, and pages say so"() {
    await open("");
    await sees("No request in this stretch");
    await open("/decisions");
    await sees("No decision here");
    await open("/tokens");
    await sees("No token yet");
  },

  async "a request is seen the moment it arrives"() {
    await open("/monitor");
    await sees("Waiting for requests");
    await page.locator("[data-stream-state]", { hasText: "Live" }).waitFor();
    check((await gateway.ask("Why is the sky blue?", { model: "gpt-4o" })).ok, "the chat failed");
    const row = page.locator("[data-rows] tr").first();
    await row.getByText("gpt-4o").first().waitFor();
    await row.getByText("done").waitFor();
    await row.getByText("ok", { exact: true }).waitFor();
  },

  async "a weight is changed, and traffic moves"() {
    await open("/models");
    const it = card("deepseek-r1");
    await it.getByText("Weight and price").click();
    await it.getByLabel("Weight", { exact: true }).fill("900000");
    await it.getByRole("button", { name: "Save" }).click();
    await sees("deepseek-r1 is changed");
    const models = [];
    for (let asked = 0; asked < 12; asked++) models.push((await (await gateway.ask(`Question ${asked}`)).json()).model);
    check(models.every((model) => model === "deepseek-r1"), `it went to ${models}`);
    await open("");
    await page.locator("#models-title").waitFor();
    await page.locator("tr", { hasText: "deepseek-r1" }).getByText("92 %").first().waitFor();
    await open("/audit");
    await page.locator("tr", { hasText: "model.change" }).getByText("dashboard admin").waitFor();
  },

  async "a model is tested, switched off and on again"() {
    await open("/models");
    const it = card("gpt-4o-mini");
    await it.getByRole("button", { name: "Test" }).click();
    await sees("openai/gpt-4o-mini answered in");
    await it.getByRole("button", { name: "Switch off" }).click();
    await it.getByText("off", { exact: true }).waitFor();
    check(!(await gateway.ask("hi", { model: "gpt-4o-mini" })).ok, "it still answers");
    await it.getByRole("button", { name: "Switch on" }).click();
    await it.getByText("ready", { exact: true }).waitFor();
    await it.getByRole("button", { name: "Drain", exact: true }).click();
    await it.getByText("drained", { exact: true }).waitFor();
    await it.getByRole("button", { name: "Undrain" }).click();
    await it.getByText("ready", { exact: true }).waitFor();
  },

  async "a box that is open holds nothing up, and folds up when it is done"() {
    await open("/models");
    const it = card("gpt-4o");
    const weight = it.getByLabel("Weight", { exact: true });
    const calls = () => card("gpt-4o-mini").getByText(/ calls$/).textContent();
    const before = await calls();
    await it.getByText("Weight and price").click();
    await weight.fill("7");
    await gateway.ask("hi", { model: "gpt-4o-mini" });
    await until(async () => (await calls()) !== before, "the page stands still");
    check((await weight.inputValue()) === "7", "what was typed is gone");
    await page.keyboard.press("Escape");
    check(!(await weight.isVisible()) && (await has(it.locator("summary"), ":focus")), "Escape folds nothing up");
    await page.keyboard.press("Enter");
    check((await weight.inputValue()) === "1", "what was not sent is still there");
    await page.locator("h1").click();
    check(!(await weight.isVisible()), "a click elsewhere folds nothing up");
    await it.getByText("Weight and price").click();
    await weight.fill("7");
    await it.getByRole("button", { name: "Save" }).click();
    await sees("gpt-4o is changed");
    await it.locator("dd").getByText("7", { exact: true }).waitFor();
    check(!(await weight.isVisible()), "it stays open");
    await it.getByRole("button", { name: "As configured" }).click();
    await it.locator("dd").getByText("1", { exact: true }).waitFor();
  },

  async "of two operators neither puts back what the other changed"() {
    const other = watch(await context.newPage());
    await other.goto(`${gateway.admin}/dashboard/models`);
    await card("gpt-4o", other).getByText("Weight and price").click();
    await open("/models");
    await card("gpt-4o").getByText("Weight and price").click();
    await card("gpt-4o").getByLabel("Weight", { exact: true }).fill("5");
    await card("gpt-4o").getByRole("button", { name: "Save" }).click();
    await sees("gpt-4o is changed");
    await card("gpt-4o", other).getByLabel("Price in").fill("2");
    await card("gpt-4o", other).getByRole("button", { name: "Save" }).click();
    await other.getByText("gpt-4o is changed").waitFor();
    const { models } = await (await page.request.get(`${gateway.admin}/api/admin/models`)).json();
    const told = models.find((model) => model.name === "gpt-4o");
    check(told.weight === 5 && told.price.input === 2 && told.price.cache_read > 0, JSON.stringify(told));
    await other.close();
    await refreshed();
    await card("gpt-4o").getByRole("button", { name: "As configured" }).click();
    await card("gpt-4o").locator("dd").getByText("1", { exact: true }).waitFor();
  },

  async "a key acts on what it was put on, also after the page has changed"() {
    await open("/models");
    // Both models are served at one place.
    await card("gpt-4o").getByRole("button", { name: "Drain", exact: true }).focus();
    await gateway.ask("hi", { model: "gpt-4o" });
    await refreshed();
    await page.keyboard.press("Enter");
    await card("gpt-4o").getByText("drained", { exact: true }).waitFor();
    check((await card(HOSTILE).getByText("drained", { exact: true }).count()) === 0, "the other model was drained");
    await page.keyboard.press("Enter");
    await card("gpt-4o").getByText("ready", { exact: true }).waitFor();
  },

  async "what is at work on a page stays where it is while the page changes"() {
    await open("");
    const row = page.locator("tr", { hasText: "deepseek-r1" }).getByRole("link").first();
    for (const kept of [page.locator(".chart-box").first(), page.locator(".table-box").first(), row]) {
      await kept.focus();
      await gateway.ask("Something new");
      await refreshed();
      check(await has(kept, ":focus"), `the focus went from ${await kept.evaluate((it) => it.outerHTML.slice(0, 80))}`);
    }
    await page.evaluate(() => getSelection().selectAllChildren(document.querySelector("#models-title")));
    await page.setViewportSize({ width: 390, height: 844 });
    const chart = page.locator(".chart-box").first();
    const shade = await chart.evaluate((box) => getComputedStyle(box).backgroundImage);
    check(shade.includes("gradient"), "nothing shows that a chart goes on beyond its box");
    await chart.evaluate((box) => (box.scrollLeft = -100));
    await gateway.ask("Something newer");
    await refreshed();
    check((await chart.evaluate((box) => box.scrollLeft)) === -100, "the chart jumped back");
    check((await page.evaluate(() => String(getSelection()))) === "Share by model", "the selection is lost");
    await page.setViewportSize({ width: 1360, height: 900 });
    // Rows that move down keep what they are.
    await open("/decisions");
    const second = page.locator("table.decisions tbody tr").nth(1).getByRole("link");
    await second.focus();
    const led = await second.getAttribute("href");
    await gateway.ask("Newest");
    await page.locator("table.decisions tbody tr").nth(2).locator(`a[href="${led}"]`).waitFor();
    check((await page.evaluate(() => document.activeElement.getAttribute("href"))) === led, "the focus is on another decision");
    // What was chosen and not yet applied.
    await open("/learning");
    await page.selectOption("#mode", "shadow");
    await page.fill("#rollout", "0.35");
    await page.locator("h1").click();
    await refreshed();
    check((await page.inputValue("#mode")) === "shadow" && (await page.inputValue("#rollout")) === "0.35", "what was chosen is put back");
    // Any share will do, and the form goes on from what holds then.
    await page.fill("#rollout", "0.01");
    await page.getByRole("button", { name: "Apply" }).click();
    const acts = page.locator(".stat", { hasText: "Acts" });
    await acts.getByText("only watches").waitFor();
    await page.selectOption("#mode", "live");
    await page.fill("#rollout", "1");
    await page.getByRole("button", { name: "Apply" }).click();
    await acts.getByText("on everything").waitFor();
    // A filter holds.
    await open("/models");
    await page.fill("#find", "gpt-4o-mini");
    await refreshed();
    check(!(await card("deepseek-r1").isVisible()), "the filter is forgotten");
  },

  async "a decision is explained and its answer rated"() {
    await open("/decisions");
    await page.locator("table.decisions tbody tr").first().click();
    await sees("Who could answer");
    await sees("chosen");
    await sees("Answered by");
    await page.getByRole("button", { name: "Bad" }).click();
    await sees("thumb down");
    await page.getByRole("button", { name: "5 ★" }).click();
    await sees("5 of 5");
    await open("/decisions?rated=true");
    check((await page.locator("table.decisions tbody tr").count()) === 1, "the filter shows others");
    await page.selectOption("select[name=status]", "error");
    await page.waitForURL(/status=error/);
    await page.goBack();
    await page.waitForURL((url) => !url.search.includes("status=error"));
    check((await page.inputValue("select[name=status]")) === "", "the filter says what the list is not");
  },

  async "the playground ranks, streams and takes a rating"() {
    await open("/playground");
    await page.fill("#prompt", "Write a haiku about points and signals.");
    await page.getByRole("button", { name: "Where would it go?" }).click();
    await page.locator("[data-ranking] tbody tr").first().waitFor();
    await page.locator("#prompt").press("Control+Enter");
    await page.locator("[data-answer]").getByText("[sandbox").waitFor();
    await page.locator("[data-rate]").waitFor();
    const by = (await page.locator("[data-answer-by]").textContent()).split(" · ")[0];
    const chosen = page.locator("[data-ranking] tr", { has: page.getByText("chosen", { exact: true }) });
    check((await chosen.locator("th").textContent()) === `${by} chosen`, `${by} answered, and another is called chosen`);
    await page.getByRole("button", { name: "Good answer" }).click();
    await sees("Thank you");
  },

  async "a token is made, shown once, used and revoked"() {
    await open("/tokens");
    await page.fill("#name", HOSTILE);
    await page.fill("#spend", "2.5");
    await page.getByRole("button", { name: "Make the token" }).click();
    await page.locator("#made").waitFor();
    const text = await page.locator("#made-text").textContent();
    check(text.startsWith("pm_"), text);
    check((await gateway.ask("hi", {}, text)).ok, "the token opens nothing");
    check((await gateway.ask("hi")).status === 401, "without it the door is open");
    await page.locator("#tokens").getByText(HOSTILE).first().waitFor();
    await page.locator("#tokens").getByText("$2.5/day").waitFor();
    await gateway.ask("harm", { routing: { tags: { who: HOSTILE } } }, text);
    await page.getByRole("button", { name: "Revoke" }).click();
    await page.locator("#ask-yes").click();
    await sees("The token is revoked");
    check((await gateway.ask("hi", {}, text)).ok, "without any token this machine is served");
  },

  async "the log is followed and filtered"() {
    await open("/logs");
    await page.locator("[data-lines] li", { hasText: "Answered a chat" }).first().waitFor();
    await page.locator("[data-lines] li", { hasText: HOSTILE }).first().waitFor();
    await page.locator("[data-log-wish] input").fill("An operator acted");
    await until(async () => (await page.locator("[data-lines] li", { hasText: "Answered a chat" }).count()) === 0, "others are still shown");
    await page.locator("[data-lines] li", { hasText: "model.change" }).first().waitFor();
  },

  async "settings are found, with who set them"() {
    await open("/configuration");
    await page.fill("#find", "routing.strategy");
    await until(async () => (await page.locator("#settings tr[data-row]:visible").count()) === 1, "the filter shows others");
    await page.locator("#settings tr[data-row]:visible", { hasText: "walk.toml" }).waitFor();
    check(!(await page.content()).includes(PASSWORD), "the password is on the page");
  },

  async "a policy is made from feedback and rolled back"() {
    gateway.choose("learned");
    await until(async () => (await (await gateway.ask("Who chooses?")).json()).routing.mode === "learned", "the weights still choose");
    for (let asked = 0; asked < 8; asked++) {
      const answer = await (await gateway.ask(`Teach ${asked}`)).json();
      const body = JSON.stringify({ decision_id: answer.routing.decision_id, thumbs: asked % 2 ? "up" : "down" });
      const rated = await fetch(`${gateway.proxy}/api/feedback`, { method: "POST", body });
      check(rated.ok, `the rating was refused: ${rated.status}`);
    }
    await open("/learning");
    await page.getByRole("button", { name: "Retune now" }).click();
    await page.locator("#versions > tbody > tr").nth(1).waitFor();
    const second = page.locator("#versions > tbody > tr").first();
    await page.getByText("All estimators").first().click();
    const all = page.locator("details.estimators");
    for (const method of ["IPS", "SNIPS", "doubly robust"]) await all.getByText(method, { exact: true }).first().waitFor();
    await page.waitForTimeout(4500);
    check(await all.getByText("SNIPS", { exact: true }).first().isVisible(), "the refresh of the page folds it up again");
    await second.getByRole("button", { name: "Promote" }).click();
    await page.locator("#ask-yes").click();
    await second.getByText("live", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Roll back" }).click();
    await page.locator("#ask-yes").click();
    await second.getByText("rolled back", { exact: true }).waitFor();
    check((await page.locator("#versions tbody").getByText("live", { exact: true }).count()) === 1, "not one version is live");
    await open("/audit");
    await page.locator("tr", { hasText: "policy.rollback" }).first().waitFor();
  },

  async "a prediction is accounted for, and the points add up"() {
    const answer = await (await gateway.ask("Fix this: ```rust\nfn main() { let x = 1 }\n```")).json();
    await open(`/decisions/${answer.routing.decision_id}`);
    await sees("Features that mattered");
    await sees("The task: ");
    const columns = await page.locator("table.reasons").evaluate((table) => {
      const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].slice(2).map((cell) => parseFloat(cell.textContent)));
      return rows[0].map((_, at) => rows.map((row) => row[at]));
    });
    check(columns.length > 1, "only one candidate is accounted for");
    for (const column of columns) {
      const said = column.pop();
      const sum = column.reduce((sum, points) => sum + points, 0);
      // Each of some fifteen numbers is rounded to a tenth.
      check(Math.abs(sum - said) < 0.8, `${column} is ${sum}, and ${said} is said`);
    }
  },

  async "forged requests change nothing"() {
    await open("");
    const statuses = await page.evaluate(async () => {
      const send = (headers) => fetch("/api/admin/models/gpt-4o", { method: "PATCH", headers, body: '{"weight": 0}' }).then((answer) => answer.status);
      return [await send({}), await send({ "x-pointsman-csrf": "guessed" })];
    });
    check(statuses.every((status) => status === 403), `answered ${statuses}`);
    // Another site, with the dashboard's cookie in the same browser.
    const evil = createServer((_, answer) => {
      answer.setHeader("content-type", "text/html");
      answer.end(`<form method="post" action="${gateway.admin}/api/admin/models/gpt-4o/drain" enctype="text/plain"><input name='{"drained":true,"deployment":"openai/gpt-4o","x' value='"}'></form>`);
    });
    await new Promise((resolve) => evil.listen(0, "127.0.0.1", resolve));
    const other = await context.newPage();
    await other.goto(`http://localhost:${evil.address().port}/`);
    const [answer] = await Promise.all([other.waitForResponse((answer) => answer.url().includes("/drain")), other.evaluate(() => document.forms[0].submit())]);
    check([401, 403].includes(answer.status()), `answered ${answer.status()}`);
    await other.close();
    evil.close();
    check((await gateway.ask("hi", { model: "gpt-4o" })).ok, "the model was drained");
  },

  async "nothing that others wrote became markup"() {
    for (const path of PAGES) {
      await open(path);
      await page.waitForTimeout(250);
      check((await page.evaluate(() => window.harmed)) === undefined, `${path} ran what it should have shown`);
      check((await page.locator('img[src="x"]').count()) === 0, `${path} holds the picture`);
    }
    await open("/models");
    await sees(HOSTILE);
  },

  async "keys alone lead through the page"() {
    await open("/tokens");
    await page.keyboard.press("Tab");
    check((await page.evaluate(() => document.activeElement.className)) === "skip", "the first stop is no short cut");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    check(await page.evaluate(() => document.activeElement.closest("main") !== null), "the short cut leads nowhere");
  },

  async "no serious barrier, in light, in dark and on a phone, and no page is too large"() {
    const looks = [["light", 1360], ["dark", 1360], ["light", 390]];
    const wrong = [];
    for (const [scheme, width] of looks) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize({ width, height: width < 600 ? 844 : 900 });
      const decision = await page.request.get(`${gateway.admin}/api/admin/decisions?limit=1&mode=learned`).then((answer) => answer.json());
      for (const path of [...PAGES, `/decisions/${decision.entries[0].decision.id}`]) {
        const answer = await open(path);
        const size = (await answer.body()).length;
        check(size < 200_000, `${path} has ${size} bytes`);
        await page.waitForTimeout(400);
        const name = `${path.split("/")[1] || "overview"}${path.split("/")[2] ? "-one" : ""}-${width < 600 ? "phone" : scheme}`;
        await page.screenshot({ path: `${out}/shots/${name}.png`, fullPage: true });
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (wider > 0) wrong.push(`${name} is ${wider} pixels too wide`);
        await page.evaluate(axe);
        const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
        const serious = found.violations.filter((violation) => ["serious", "critical"].includes(violation.impact));
        const told = serious.map((violation) => `${violation.id}: ${violation.nodes.slice(0, 3).map((node) => node.html.slice(0, 140)).join(" | ")}`);
        if (serious.length) wrong.push(`${name}: ${told.join("\n")}`);
      }
    }
    await page.emulateMedia({ colorScheme: null });
    await page.setViewportSize({ width: 1360, height: 900 });
    check(wrong.length === 0, wrong.join("\n"));
  },

  async "on a phone each chart says what it shows without being scrolled"() {
    await page.setViewportSize({ width: 390, height: 844 });
    for (const [path, least] of [["", 3], ["/learning", 2]]) {
      await open(path);
      const heads = await page.locator(".chart-head").evaluateAll((heads) =>
        heads.map((head) => ({
          title: head.querySelector("p").textContent,
          keys: [...head.querySelectorAll("li")].map((key) => key.textContent.trim()),
          seen: [head.querySelector("p"), ...head.querySelectorAll("li")].every((part) => {
            const { left, right, width, height } = part.getBoundingClientRect();
            return width > 0 && height > 0 && left >= 0 && right <= innerWidth;
          }),
          twice: [...head.nextElementSibling.querySelectorAll(".title, .key")].some((part) => part.getClientRects().length > 0),
        })),
      );
      check(heads.length >= least, `${path} has ${heads.length} charts`);
      for (const { title, keys, seen, twice } of heads) {
        check(title && seen && !twice, `${path}: of "${title}" with ${keys} something is out of sight, or shown twice`);
      }
      if (path === "") check(heads[0].keys.includes("deepseek-r1"), `the first chart's keys are ${heads[0].keys}`);
    }
    await page.setViewportSize({ width: 1360, height: 900 });
    await open("");
    check(!(await page.locator(".chart-head").first().isVisible()), "on a wide screen the chart says it itself");
  },

  async "the theme is chosen and remembered"() {
    await open("");
    await page.getByRole("button", { name: "Theme" }).click();
    const chosen = await page.evaluate(() => document.documentElement.dataset.theme);
    await page.reload();
    check((await page.evaluate(() => document.documentElement.dataset.theme)) === chosen, "it was forgotten");
  },

  async "pages are quick"() {
    for (const path of PAGES) {
      const times = [];
      for (let round = 0; round < 5; round++) {
        const from = performance.now();
        await (await page.request.get(`${gateway.admin}/dashboard${path}`)).body();
        times.push(performance.now() - from);
      }
      console.log(`      ${(path || "/").padEnd(16)} ${Math.min(...times).toFixed(0)} ms`);
    }
  },

  async "a session that has ended leads back to the door"() {
    await open("/models");
    await gateway.restart();
    await page.getByRole("button", { name: "Test" }).first().click();
    await page.waitForURL(/login\?ended=1/);
    await sees("Your session has ended");
    await signIn();
    check(new URL(page.url()).pathname === "/dashboard/models", `at ${page.url()}`);
    const it = card("deepseek-r1");
    await it.getByText("900000").first().waitFor();
    // What was being written is not lost by it.
    await open("/playground");
    await page.fill("#prompt", "A long question");
    await context.clearCookies({ name: /^pointsman_session/ });
    await page.getByRole("button", { name: "Send" }).click();
    await page.waitForURL(/login/);
    await signIn();
    check((await page.inputValue("#prompt")) === "A long question", "the question is lost");
  },

  async "signing out closes the door"() {
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL(/login/);
    await open("/tokens");
    check(page.url().includes("/login"), `at ${page.url()}`);
  },

  async "nobody complained on the way"() {
    check(complaints.length === 0, complaints.join("\n"));
  },
};

let failed = 0;
for (const [name, step] of Object.entries(steps)) {
  const from = performance.now();
  try {
    await step();
    console.log(`ok    ${name} (${((performance.now() - from) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}\n      ${error.message.split("\n").join("\n      ")}`);
    await page.screenshot({ path: `${out}/shots/failed-${failed}.png` }).catch(() => {});
  }
}
await browser.close();
await gateway.stop();
gateway.clear();
console.log(failed ? `${failed} of ${Object.keys(steps).length} steps failed; pictures are in ${out}/shots` : `All ${Object.keys(steps).length} steps passed; pictures are in ${out}/shots`);
process.exit(failed ? 1 : 0);
