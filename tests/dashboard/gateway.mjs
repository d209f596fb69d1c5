// A gateway of the walk's own: the real binary in front of its sandbox, in a directory of its own.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const PASSWORD = "a long password for the walk";

// A model and an API token whose names would do harm if any page took them for markup.
export const HOSTILE = '<img src=x onerror="window.harmed=1">';

// One that no line is long enough for.
const LONG = "m".repeat(120);

const config = (strategy) => `
[routing]
strategy = "${strategy}"
[learning]
interval_s = 3600
min_feedback = 1000
[classifier]
# However busy the machine is, each prompt is read.
budget_ms = 10000
[models.${JSON.stringify(HOSTILE)}]
provider = "openai"
upstream = "gpt-4o"
weight = 0.0
[models.${LONG}]
provider = "openai"
upstream = "gpt-4o-mini"
weight = 0.0
[[rules]]
name = ${JSON.stringify(HOSTILE)}
when = { keywords = ["harm"] }
prefer = ["gpt-4o"]
`;

export class Gateway {
  constructor(binary, environment = {}) {
    this.binary = binary;
    this.environment = { POINTSMAN_ADMIN_PASSWORD: PASSWORD, ...environment };
    this.dir = mkdtempSync(join(tmpdir(), "pointsman-walk-"));
    this.choose("weighted");
  }

  // What chooses among the models; a running gateway takes it over within a second or two.
  choose(strategy) {
    writeFileSync(join(this.dir, "walk.toml"), config(strategy));
  }

  async start(admin = "127.0.0.1:0") {
    const data = JSON.stringify(join(this.dir, "data"));
    const args = ["serve", "--sandbox", "--config", "walk.toml", "--listen", "127.0.0.1:0", "--admin", admin, "--set", `server.data_dir=${data}`];
    this.child = spawn(this.binary, args, { cwd: this.dir, env: { ...process.env, ...this.environment }, stdio: ["ignore", "ignore", "pipe"] });
    this.said = "";
    this.child.stderr.on("data", (data) => (this.said += data));
    const find = async (pattern) => {
      for (let tries = 0; tries < 300; tries++) {
        const found = this.said.match(pattern);
        if (found) return found[1];
        if (this.child.exitCode !== null) break;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      throw new Error(`the gateway did not start:\n${this.said}`);
    };
    this.proxy = `http://${await find(/listens on http:\/\/(\S+)/)}`;
    this.adminAddress = await find(/admin API are on http:\/\/(\S+)/);
    this.admin = `http://${this.adminAddress}`;
    await find(/(models can be called)/);
  }

  async stop() {
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGTERM");
    await gone;
  }

  // The same gateway again, at the same address: sessions are in memory, so all of them end.
  async restart() {
    await this.stop();
    await this.start(this.adminAddress);
  }

  async ask(text, body = {}, token) {
    const headers = { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) };
    const sent = { model: "auto", messages: [{ role: "user", content: text }], ...body };
    return fetch(`${this.proxy}/api/chat`, { method: "POST", headers, body: JSON.stringify(sent) });
  }

  clear() {
    rmSync(this.dir, { recursive: true, force: true });
  }
}
