#!/usr/bin/env bash
# switchyard.sh VENV PORT: NVIDIA Switchyard's server, which its Python package starts.
exec "$1/bin/python" - "$(dirname "$0")/switchyard.toml" "$2" <<'PYTHON'
import sys, time
from switchyard_rust.server import Server
server = Server(sys.argv[1], port=int(sys.argv[2]))
while True:
    time.sleep(3600)
PYTHON
