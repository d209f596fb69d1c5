//! `pointsman route`: a dry run on the command line.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use comfy_table::Table;

use super::load::ConfigArgs;
use crate::app;
use crate::config::Config;
use crate::protocol::{ChatRequest, Message, Role};
use crate::route::Decision;
use crate::store::{HandOver, OpenError, Store};

/// How long the classifier may take to load.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct RouteArgs {
    /// The prompt; read from standard input where it is `-` or absent
    prompt: Option<String>,
    /// The model asked for: auto, auto:cost, or a name
    #[arg(long, default_value = "auto")]
    model: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: RouteArgs) -> anyhow::Result<ExitCode> {
    let prompt = match args.prompt.as_deref() {
        Some("-") | None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("the prompt cannot be read")?;
            text
        }
        Some(prompt) => prompt.to_owned(),
    };
    let loaded = args.config.load()?;
    let (_handed, store) = store(&loaded.config)?;
    let (gateway, backstage) = app::build(&loaded, store)?;
    let request = ChatRequest {
        model: args.model,
        messages: vec![Message::text(Role::User, prompt)],
        ..ChatRequest::default()
    };
    let live = gateway.live();
    let headers = http::HeaderMap::new();
    let asked = gateway.asked_dry(&request, &headers, None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let plan = runtime.block_on(async {
        drop(tokio::time::timeout(LOAD_TIMEOUT, gateway.classifier.settled()).await);
        let plan = gateway.plan(&live, asked).await;
        gateway.classifier.stop(Duration::from_secs(1)).await;
        plan
    });
    backstage.writer.close();
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => bail!("{error}"),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&*plan.decision)?);
    } else {
        print(&plan.decision);
    }
    Ok(ExitCode::SUCCESS)
}

/// The store as the last gateway left it, with the guard that hands its files back to their owner; one in memory if
/// there is none, or it cannot be opened.
fn store(config: &Config) -> anyhow::Result<(Option<HandOver>, Store)> {
    let dir = &config.server.data_dir;
    match Store::open_existing(dir, &config.store) {
        Ok(store) => Ok((Some(HandOver::of(dir)), store)),
        Err(OpenError::Missing { .. }) => Ok((None, Store::in_memory()?)),
        Err(error @ (OpenError::Locked { .. } | OpenError::Unreadable { .. })) => {
            eprintln!("{}", without(&error, &config.server.listen.to_string()));
            Ok((None, Store::in_memory()?))
        }
        Err(error) => Err(error.into()),
    }
}

/// The warning where the decision log cannot be opened; `listen` is the address of the gateway.
fn without(error: &OpenError, listen: &str) -> String {
    format!(
        "{error}.\nSo this choice ignores what was learned, what operators changed and what servers listed; ask the running \
         gateway what it would choose: POST http://{listen}/api/route"
    )
}

fn print(decision: &Decision) {
    println!("{}: {} ({:.0} %)", decision.chosen, decision.reason, decision.propensity * 100.0);
    if let Some(task) = &decision.task {
        println!("task: {task}");
    }
    if let Some(why) = decision.features.as_ref().and_then(|features| features.why.as_deref()) {
        println!("without features: {why}");
    }
    println!("");
    let mut table = Table::new();
    table.set_header(["candidate", "probability", "quality", "utility", "expected cost", "time to first piece"]);
    for candidate in &decision.candidates {
        let prediction = candidate.prediction.as_ref();
        let latency = candidate.latency_ms.map_or_else(|| "not measured".into(), |ms| format!("{ms:.0} ms"));
        table.add_row([
            candidate.model.to_string(),
            format!("{:.1} %", candidate.propensity * 100.0),
            prediction.map_or_else(String::new, |it| format!("{:.2} ({}: {})", it.quality, it.source, it.basis)),
            prediction.map_or_else(String::new, |it| format!("{:.3}", it.utility)),
            format!("${:.6}", candidate.cost_usd),
            latency,
        ]);
    }
    println!("{table}");
    for excluded in &decision.excluded {
        println!("  not {}: {}", excluded.model, excluded.reason);
    }
}
