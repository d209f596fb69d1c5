"""A gateway in front of the sandbox, on free ports, for the length of a test module."""

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading

BINARY = pathlib.Path(
    os.environ.get("POINTSMAN_BIN", pathlib.Path(__file__).parents[2] / "target/debug/pointsman")
).resolve()

# One model for each kind of backend.
BACKENDS = {"openai": "gpt-4o", "deepseek": "deepseek-r1", "anthropic": "claude-sonnet-5-5", "ollama": "llama3.2"}


class Gateway:
    """`pointsman serve --sandbox` in a directory of its own."""

    def __init__(self, config="", tokens=()):
        self.directory = tempfile.TemporaryDirectory(prefix="pointsman-sdk-")
        path = pathlib.Path(self.directory.name)
        (path / "test.toml").write_text(config)
        self.tokens = {name: self._token(name, *options) for name, *options in tokens}
        self.process = subprocess.Popen(
            [BINARY, "serve", "--sandbox", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", "test.toml"],
            cwd=path, stderr=subprocess.PIPE, text=True, env=self._environment(),
        )
        self.log = []
        self._addresses()

    def _environment(self):
        return {"PATH": os.environ["PATH"], "RUST_BACKTRACE": "1"}

    def _token(self, name, *options):
        command = [BINARY, "token", "new", name, *options]
        made = subprocess.run(command, cwd=self.directory.name, env=self._environment(), capture_output=True, text=True, check=True)
        return made.stdout.strip()

    def _addresses(self):
        found = {}
        ready = threading.Event()

        def read():
            for line in self.process.stderr:
                self.log.append(line)
                for name, mark in (("url", "listens on "), ("admin", "admin API are on ")):
                    address = re.search(re.escape(mark) + r"(http://\S+)", line)
                    if address:
                        found[name] = address.group(1)
                # The banner's last line: a command to paste.
                if "/v1/chat/completions" in line:
                    ready.set()
            ready.set()

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        ready.wait(timeout=60)
        if "url" not in found:
            self.stop()
            raise RuntimeError("the gateway did not start:\n" + "".join(self.log))
        self.url, self.admin = found["url"], found.get("admin")

    def stop(self):
        """Drains it; a gateway that does not end well, or that panicked, fails the module."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=30)
        finally:
            self.process.kill()
            self.reader.join(timeout=5)
            self.directory.cleanup()
        log = "".join(self.log)
        assert "panicked" not in log, log
        assert code == 0, f"exit code {code}\n{log}"
