"""Runs schemathesis on the proxy's paths and on the admin's, each on its own listener."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

from gateway import Gateway

# The seed makes a failure repeatable; POINTSMAN_SCHEMA_SEED=... looks elsewhere.
SEED = os.environ.get("POINTSMAN_SCHEMA_SEED", "20261124")
EXAMPLES = os.environ.get("POINTSMAN_SCHEMA_EXAMPLES", "60")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# 503 is what a gateway says when no model can be called, and it is documented where it may be said.
SETTINGS = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]

# A model that there is: a random name would only ever be answered by 404.
[parameters]
"path.name" = "gpt-4o"
"""


def is_admin(path):
    return path.startswith(("/api/admin", "/metrics", "/openapi.json", "/dashboard", "/docs"))


def main():
    # With a token of its own: making one over the API would otherwise shut everybody else out.
    gateway = Gateway(tokens=[("schema", "--scopes", "chat,feedback,admin")])
    good = True
    try:
        with urllib.request.urlopen(f"{gateway.admin}/openapi.json", timeout=30) as answer:
            spec = json.load(answer)
        # Live streams have no end to wait for.
        every = {path: item for path, item in spec["paths"].items() if not path.endswith("/stream")}
        with tempfile.TemporaryDirectory(prefix="pointsman-schema-") as directory:
            settings = pathlib.Path(directory, "schemathesis.toml")
            settings.write_text(SETTINGS)
            for name, url, admin in (("proxy", gateway.url, False), ("admin", gateway.admin, True)):
                paths = {path: item for path, item in every.items() if is_admin(path) == admin}
                part = pathlib.Path(directory, f"{name}.json")
                part.write_text(json.dumps(spec | {"paths": paths, "servers": [{"url": url}]}))
                print(f"{name}: {len(paths)} paths", flush=True)
                tool = pathlib.Path(sys.executable).with_name("schemathesis")
                run = subprocess.run(
                    [tool, "--config-file", settings, "run", part, "--url", url, "--checks", CHECKS, "--phases",
                     "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", SEED, "--generation-database", "none",
                     "--request-timeout", "30",
                     "--header", f"Authorization: Bearer {gateway.tokens['schema']}"],
                    cwd=directory,
                )
                good = good and run.returncode == 0
    finally:
        # Fails where the gateway panicked.
        gateway.stop()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
