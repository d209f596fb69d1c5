# What one does here, by name. `just` alone lists it.

set positional-arguments

_list:
    @just --list --unsorted

# Format, lint, test: what to run before a commit.
check: fmt lint test

# Everything CI proves.
ci:
    .ci/run

fmt:
    cargo fmt --all

# Warnings are errors; so are broken links in the documentation.
lint:
    cargo fmt --all -- --check
    cargo clippy --locked --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# All tests, or those whose names contain the given words.
test *filter:
    cargo test --locked -- "$@"

# Licences, banned crates, known vulnerabilities (needs cargo-deny).
deny:
    cargo deny check

# A gateway in front of built-in stand-ins for every vendor: no keys, no network.
sandbox *args:
    cargo run --release --locked -- serve --sandbox "$@"

# The gateway, with keys from .env.
serve *args:
    cargo run --release --locked -- serve "$@"

# Sandbox, simulated users and dashboard together.
demo *args:
    cargo run --release --locked -- demo "$@"

# What is in force, and which layer said so.
config *args:
    cargo run --locked --quiet -- config print "$@"

# Benchmarks, or those whose names contain the given words.
bench *filter:
    cargo bench --locked -- "$@"

# The documentation, private items included: it is written for those who change the code.
doc:
    cargo doc --locked --no-deps --document-private-items --open

# A container image called pointsman:dev.
image:
    podman build --format docker --tag pointsman:dev --file Containerfile .

# An optimised binary in target/release.
release:
    cargo build --release --locked

# Puts that binary and its service on this machine; run as root, after `just release`.
install:
    id -u pointsman >/dev/null 2>&1 || useradd --system --home-dir /var/lib/pointsman --shell /usr/sbin/nologin pointsman
    install -Dm755 target/release/pointsman /usr/local/bin/pointsman
    install -Dm644 packaging/pointsman.service /etc/systemd/system/pointsman.service
    test -e /etc/pointsman/pointsman.toml || install -Dm644 config/production.toml /etc/pointsman/pointsman.toml
    test -e /etc/pointsman/environment || install -Dm600 packaging/environment.example /etc/pointsman/environment
    install -d -m700 -o pointsman -g pointsman /var/lib/pointsman
    @echo "1. Put your keys into /etc/pointsman/environment."
    @echo "2. Make a token: cd /var/lib/pointsman && sudo -u pointsman env POINTSMAN__SERVER__DATA_DIR=/var/lib/pointsman pointsman token new my-app"
    @echo "3. Start it: systemctl enable --now pointsman"
