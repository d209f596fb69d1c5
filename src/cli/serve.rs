//! `pointsman serve`: runs the gateway until it is told to stop.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::config::unknown_to_the_head;
use super::load::ConfigArgs;
use super::{descriptors, say, start_pages};
use crate::app::App;
use crate::config::{self, Auth, LoadArgs, Loaded, LogFormat};
use crate::gateway::Gateway;
use crate::http::{self, Drain};
use crate::sandbox::{Pace, Sandbox};
use crate::telemetry;

/// Most threads for work of the background tasks that blocks.
const MAX_BLOCKING_THREADS: usize = 16;

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Answer from built-in stand-ins for every vendor: no keys, no network
    #[arg(long)]
    sandbox: bool,
    /// Where the proxy listens (server.listen)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where the admin listener is (admin.listen)
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = http::keep_blocking(&mut builder, MAX_BLOCKING_THREADS).context("the runtime cannot be started")?;
    let code = runtime.block_on(serve(args));
    // Tasks that still run after the drain was cut are not waited for.
    runtime.shutdown_background();
    code
}

async fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    // First of all, so that a signal during the start is not lost.
    let mut signals = Signals::listen()?;
    let mut load = args.config.load_args()?;
    let mut flag = |name: &str, key: &str, value: Option<SocketAddr>| {
        load.flags.extend(value.map(|value| (name.to_owned(), key.to_owned(), format!("\"{value}\""))));
    };
    flag("--listen", "server.listen", args.listen);
    flag("--admin", "admin.listen", args.admin);
    let sandbox = if args.sandbox { Some(Sandbox::start(Pace::Real).await.context("the sandbox")?) } else { None };
    if let Some(sandbox) = &sandbox {
        load.sandbox = Some(sandbox.settings());
        load.environment.push(Sandbox::variable());
    }
    let loaded = config::load(&load).context("the configuration is wrong")?;
    let _telemetry = telemetry::init(&loaded.config.telemetry)?;
    let (server, limits) = (&loaded.config.server, &loaded.config.limits);
    let too_few = descriptors::remark(descriptors::raise_limit(), server.max_connections, limits.max_in_flight);
    if let Some(remark) = too_few {
        tracing::warn!(remark, "Connections may be refused");
    }
    for remark in loaded.remarks.iter().chain(&unknown_to_the_head(&loaded.config)) {
        tracing::warn!(remark, "The configuration may hold a mistake");
    }
    let app = tokio::select! {
        app = start_apart(load.clone(), loaded) => app?,
        () = signals.stop() => {
            tracing::warn!("Told to stop before the start was done");
            return Ok(ExitCode::SUCCESS);
        }
    };
    announce(&app, sandbox.is_some());
    tokio::spawn(give_back_start_pages(Arc::clone(&app.gateway)));
    let code = until_stopped(app, &load, &mut signals).await?;
    if let Some(sandbox) = sandbox {
        sandbox.stop().await;
    }
    Ok(code)
}

/// Waits until the start is over, the classifier's too.
async fn give_back_start_pages(gateway: Arc<Gateway>) {
    gateway.classifier.settled().await;
    start_pages::give_back();
}

/// Starts on a thread of its own: opening the decision log blocks, on a disk that hangs for ever, and a signal must end
/// that, too.
async fn start_apart(load: LoadArgs, loaded: Loaded) -> anyhow::Result<App> {
    let (tell, told) = oneshot::channel();
    let runtime = Handle::current();
    let start = move || drop(tell.send(runtime.block_on(App::start(load, loaded))));
    std::thread::Builder::new().name("start".into()).spawn(start).context("no thread can be started")?;
    Ok(told.await.context("the start panicked")??)
}

fn announce(app: &App, sandbox: bool) {
    let live = app.gateway.live();
    let now = std::time::Instant::now();
    let usable = live.catalog.models().filter(|model| model.ready(now).next().is_some()).count();
    if live.config.telemetry.log_format == LogFormat::Json {
        // The sign-in link is in no log line: those are stored, and shown to people who may not sign in.
        let link = app.admin.and_then(|admin| app.gateway.leave_link(&admin.to_string()));
        let line = serde_json::json!({
            "timestamp": format!("{:.6}", jiff::Timestamp::now()),
            "level": "INFO",
            "message": "Pointsman listens",
            "version": env!("CARGO_PKG_VERSION"),
            "proxy": format!("http://{}", app.proxy),
            "admin": app.admin.map(|admin| format!("http://{admin}")),
            "dashboard": app.admin.map(|admin| format!("http://{admin}/dashboard")),
            "dashboard.link_file": link,
            "models": live.catalog.models().count(),
            "models.callable": usable,
        });
        say(format_args!("{line}"));
        return;
    }
    say(format_args!("Pointsman {} listens on http://{}", env!("CARGO_PKG_VERSION"), app.proxy));
    if let Some(admin) = app.admin {
        say(format_args!("Metrics and the admin API are on http://{admin}"));
        match app.gateway.sign_in.new_link() {
            Some(link) => {
                say(format_args!(
                    "The dashboard opens once by this link: http://{admin}/dashboard/login?link={link}"
                ));
            }
            None => say(format_args!("The dashboard is on http://{admin}/dashboard")),
        }
    }
    say(format_args!("{usable} of {} models can be called.", live.catalog.models().count()));
    if usable == 0 {
        let asked = live.config.providers.iter().filter(|(_, provider)| provider.discovers());
        say(format_args!("{}", advice(asked.map(|(name, _)| name.as_str()))));
    }
    if sandbox {
        let log = crate::app::log_dir(&live.config, true);
        say(format_args!(
            "\nEvery answer comes from the sandbox; what is learned from them stays in {}. Try:\n",
            log.display()
        ));
        let body = r#"{"model": "auto", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}"#;
        let asks = live.config.access.auth != Auth::Off && !app.gateway.tokens().is_empty();
        let token = if asks { "-H 'authorization: Bearer pm_...' " } else { "" };
        say(format_args!("  curl {token}http://{}/api/chat -d '{body}'\n", app.proxy));
        say(format_args!("  curl {token}http://{}/v1/chat/completions -d '{body}'\n", app.proxy));
    }
}

/// The advice where no model can be called; `asked` are the providers that are asked for their models.
fn advice<'a>(asked: impl Iterator<Item = &'a str>) -> String {
    // Ollama is asked by default, installed or not.
    let (ollama, servers): (Vec<&str>, Vec<&str>) = asked.partition(|name| *name == "ollama");
    if !servers.is_empty() {
        return format!("Models may still come from the servers that are asked for them: {}.", servers.join(", "));
    }
    let keys = "Set a key (ANTHROPIC_API_KEY, OPENAI_API_KEY, DEEPSEEK_API_KEY), or try --sandbox.";
    // Its answer is not here yet: it may run.
    if ollama.is_empty() { keys.into() } else { format!("{keys} Ollama is being asked for its models.") }
}

/// The signals that operators and service managers send.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one that asks to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Serves until a signal: SIGHUP loads the configuration again, SIGTERM and SIGINT drain, a second one ends at once.
/// A drain cut by its deadline is no failure: the clients got an error event, and a service manager should see an
/// orderly stop.
async fn until_stopped(app: App, load: &LoadArgs, signals: &mut Signals) -> anyhow::Result<ExitCode> {
    let Signals { hangup, terminate, interrupt } = signals;
    // Apart, and one at a time: the files may be on a disk that hangs, which must neither keep the other signals from
    // being heard nor take up all threads.
    let mut reloads = JoinSet::new();
    loop {
        tokio::select! {
            _ = hangup.recv(), if reloads.is_empty() => drop(reloads.spawn_blocking(app.reloading())),
            Some(done) = reloads.join_next() => {
                if let Ok(Err(errors)) = done {
                    tracing::error!(errors = %errors, "The configuration is wrong; the old one stays in force");
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    let seconds = app.gateway.live().config.server.drain_s;
    let file = load.file.as_ref().map(|file| tracing::field::display(file.display()));
    tracing::info!(drain_s = seconds, config = file, "Draining; a second signal ends at once");
    tokio::select! {
        drain = app.stop() => {
            if let Drain::Cut(open) = drain {
                tracing::warn!(connections = open, "The drain's deadline passed; open connections were cut");
            }
            Ok(ExitCode::SUCCESS)
        }
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_server_s_list_is_not_told_to_set_a_key() {
        let told = advice(["ollama"].into_iter());
        assert!(told.contains("OPENAI_API_KEY") && told.ends_with("Ollama is being asked for its models."), "{told}");
        assert!(!advice([].into_iter()).contains("Ollama"));
        let told = advice(["acme", "ollama", "home"].into_iter());
        assert_eq!(told, "Models may still come from the servers that are asked for them: acme, home.");
    }
}
