//! `pointsman bench`: the cost of the gateway in latency, throughput and memory. Each figure is shown beside that of
//! the same load sent directly to the same upstream; the two are measured in turns, so that fluctuations of the machine
//! affect both.
//!
//! The upstream is [`FixedUpstream`], here in this process; the gateway is a process of its own with API tokens, rules,
//! rate limits, metrics and JSON log lines to a file.

mod figures;
mod load;
mod subject;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use comfy_table::Table;
use serde_json::{Value, json};

use figures::Figures;
use load::{Load, Until};
use subject::Subject;

use crate::sandbox::FixedUpstream;

/// The number of turns of direct and gateway.
const TURNS: u32 = 5;

/// The exit code after an interruption, as shells have it.
const INTERRUPTED: u8 = 130;

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Seconds for each figure
    #[arg(long, default_value_t = 4.0, value_name = "SECONDS")]
    seconds: f64,
    /// Connections at once, one figure for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64], value_name = "N,...")]
    connections: Vec<usize>,
    /// Requests per second of the run that measures latency at a steady rate; 0 leaves it out
    #[arg(long, default_value_t = 1000.0, value_name = "N")]
    rate: f64,
    /// Requests of the run that watches memory; 0 leaves it out
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    requests: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only serve the upstream at this address, for other load generators, until interrupted
    #[arg(long, value_name = "ADDRESS")]
    upstream: Option<SocketAddr>,
    /// Milliseconds that this upstream waits before each answer, as in 400 or 200-600
    #[arg(long, requires = "upstream", value_name = "MS", default_value = "0", value_parser = wait)]
    wait_ms: RangeInclusive<u64>,
}

/// `400`, or `200-600`.
fn wait(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (from.trim().parse(), to.trim().parse()) {
        (Ok(from), Ok(to)) if from <= to => Ok(from..=to),
        _ => Err("milliseconds, as in 400 or 200-600".to_owned()),
    }
}

/// One line of the result.
struct Line {
    streamed: bool,
    connections: usize,
    rate: Option<f64>,
    direct: Figures,
    gateway: Figures,
}

pub(super) fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
    match args.upstream {
        Some(address) => runtime.block_on(serve(address, args.wait_ms))?,
        None => return runtime.block_on(until_interrupted(&args)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures. If interrupted, it still ends the gateway that it started and removes the gateway's files.
async fn until_interrupted(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    tokio::select! {
        done = bench(args) => done.map(|()| ExitCode::SUCCESS),
        Ok(()) = tokio::signal::ctrl_c() => Ok(ExitCode::from(INTERRUPTED)),
    }
}

async fn serve(address: SocketAddr, wait_ms: RangeInclusive<u64>) -> anyhow::Result<()> {
    let upstream = FixedUpstream::start(address, wait_ms).await.context("the upstream")?;
    eprintln!("The upstream listens on http://{}", upstream.address);
    tokio::signal::ctrl_c().await?;
    Ok(())
}

async fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    let upstream =
        FixedUpstream::start(SocketAddr::from(([127, 0, 0, 1], 0)), 0..=0).await.context("the upstream")?;
    let subject = Subject::start(upstream.address).await?;
    let idle = subject.memory("VmRSS");
    let mut lines = Vec::new();
    let mut plans: Vec<(bool, usize, Option<f64>)> = Vec::new();
    for streamed in [false, true] {
        plans.extend(args.connections.iter().map(|connections| (streamed, (*connections).max(1), None)));
        plans.extend((args.rate > 0.0).then_some((streamed, 32, Some(args.rate))));
    }
    for (streamed, connections, rate) in plans {
        lines.push(measure(args, &upstream, &subject, streamed, connections, rate).await?);
        if !args.json {
            eprintln!("{}", progress(streamed, connections, rate));
        }
    }
    let course = memory(args, &subject).await?;
    let peak = subject.memory("VmHWM");
    drop(subject);
    let memory = json!({ "idle_mib": idle, "peak_mib": peak, "course_mib": course, "requests": args.requests });
    if args.json {
        let lines: Vec<Value> = lines.iter_mut().map(Line::json).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "figures": lines, "memory": memory }))?);
    } else {
        print(&mut lines);
        print_memory(idle, peak, &course, args.requests);
    }
    Ok(())
}

fn progress(streamed: bool, connections: usize, rate: Option<f64>) -> String {
    let rate = rate.map(|rate| format!(" at {rate} requests/s")).unwrap_or_default();
    format!("measured {}, {connections} connections{rate}", kind(streamed))
}

fn kind(streamed: bool) -> &'static str {
    if streamed { "streamed" } else { "whole" }
}

fn request(streamed: bool, token: &str, host: SocketAddr) -> Vec<u8> {
    let stream = if streamed { "\"stream\":true," } else { "" };
    let body = format!(
        "{{\"model\":\"bench\",{stream}\"temperature\":0.2,\"messages\":[{{\"role\":\"system\",\"content\":\"You are a \
         helpful assistant.\"}},{{\"role\":\"user\",\"content\":\"Why is the sky blue, and why is it red in the \
         evening? Answer in two sentences.\"}}]}}"
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn measure(
    args: &BenchArgs,
    upstream: &FixedUpstream,
    subject: &Subject,
    streamed: bool,
    connections: usize,
    rate: Option<f64>,
) -> anyhow::Result<Line> {
    let load = |address| Load { address, request: request(streamed, &subject.token, address), connections, rate };
    let (straight, through) = (load(upstream.address), load(subject.address));
    let slice = Duration::from_secs_f64(args.seconds.max(0.1) / f64::from(TURNS));
    // A warm-up: connections to the upstream are opened, code is paged in.
    load::run(&through, Until::Elapsed(slice / 2)).await?;
    let (mut direct, mut gateway) = (Figures::default(), Figures::default());
    for _ in 0..TURNS {
        for (load, figures) in [(&straight, &mut direct), (&through, &mut gateway)] {
            let begun = Instant::now();
            let samples = load::run(load, Until::Elapsed(slice)).await?;
            figures.add(&samples, begun.elapsed());
        }
    }
    Ok(Line { streamed, connections, rate, direct, gateway })
}

/// Resident memory after each tenth of many requests.
async fn memory(args: &BenchArgs, subject: &Subject) -> anyhow::Result<Vec<f64>> {
    let mut course = Vec::new();
    if args.requests < 10 {
        return Ok(course);
    }
    let load = Load {
        address: subject.address,
        request: request(false, &subject.token, subject.address),
        connections: 64,
        rate: None,
    };
    for _ in 0..10 {
        load::run(&load, Until::Requests(args.requests / 10)).await?;
        course.extend(subject.memory("VmRSS"));
    }
    Ok(course)
}

impl Line {
    fn json(&mut self) -> Value {
        let figures = |figures: &mut Figures| {
            json!({
                "requests": figures.count(),
                "per_second": figures.per_second(),
                "p50_ms": figures.whole_ms(0.5),
                "p99_ms": figures.whole_ms(0.99),
                "first_byte_p50_ms": figures.first_ms(0.5),
                "first_byte_p99_ms": figures.first_ms(0.99),
            })
        };
        json!({
            "kind": kind(self.streamed),
            "connections": self.connections,
            "rate": self.rate,
            "direct": figures(&mut self.direct),
            "gateway": figures(&mut self.gateway),
        })
    }
}

fn print(lines: &mut [Line]) {
    let mut table = Table::new();
    table.set_header([
        "answers",
        "connections",
        "direct/s",
        "gateway/s",
        "p50 ms",
        "p99 ms",
        "added p50",
        "added p99",
        "first byte p50",
        "added",
    ]);
    for line in lines {
        let (direct, gateway) = (&mut line.direct, &mut line.gateway);
        let added = |through: f64, straight: f64| format!("{:+.3}", through - straight);
        let rate = line.rate.map(|rate| format!(", {rate}/s")).unwrap_or_default();
        table.add_row([
            kind(line.streamed).to_owned(),
            format!("{}{rate}", line.connections),
            format!("{:.0}", direct.per_second()),
            format!("{:.0}", gateway.per_second()),
            format!("{:.3}", gateway.whole_ms(0.5)),
            format!("{:.3}", gateway.whole_ms(0.99)),
            added(gateway.whole_ms(0.5), direct.whole_ms(0.5)),
            added(gateway.whole_ms(0.99), direct.whole_ms(0.99)),
            format!("{:.3}", gateway.first_ms(0.5)),
            added(gateway.first_ms(0.5), direct.first_ms(0.5)),
        ]);
    }
    println!("{table}");
}

fn print_memory(idle: Option<f64>, peak: Option<f64>, course: &[f64], requests: u64) {
    let (Some(idle), Some(peak)) = (idle, peak) else {
        println!("Memory cannot be measured on this system.");
        return;
    };
    println!("Resident memory: {idle:.1} MiB idle, {peak:.1} MiB at most.");
    let told: Vec<String> = course.iter().map(|mib| format!("{mib:.1}")).collect();
    if !told.is_empty() {
        println!("After each tenth of {requests} requests: {} MiB.", told.join(", "));
    }
}
