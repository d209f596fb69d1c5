//! `pointsman demo`: the whole thing at work, with nothing to set up.
//!
//! A [`Stage`] is stand-in vendors, a gateway and its dashboard, in a temporary directory. For some minutes the
//! simulated users of [`World::demo`] ask questions, and some of them rate answers, late. Half-way one model gets worse
//! and begins to fail, at two thirds the price of another trebles. In the end a [`report`] compares the gateway with a
//! random choice, the best single model, and an oracle.

mod report;
mod stage;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use stage::Stage;

use super::WrongUse;
use crate::protocol::Usage;
use crate::sandbox::World;
use crate::sandbox::crowd::{Answered, Crowd, CrowdError};
use crate::sandbox::score::{Scale, Score};

/// Most users who wait for an answer at the same time.
const MAX_WAITING: usize = 192;

/// Parts of the run in the report.
pub(super) const PARTS: usize = 4;

/// Answers that the figure "liked lately" covers.
const RECENT_ANSWERS: usize = 500;

/// The pause between two lines of progress where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How long the users keep coming
    #[arg(long, default_value_t = 3.0, value_name = "MINUTES")]
    minutes: f64,
    /// How many questions they ask: about a day of a mid-sized company, so that there are as many ratings to learn from
    #[arg(long, default_value_t = 9000, value_name = "N")]
    requests: u64,
    /// The seed of everything random in the users' world
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    seed: u64,
    /// Stay up afterwards, until Ctrl-C
    #[arg(long)]
    keep_open: bool,
    /// Where the proxy listens; a free port where this one is taken
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3100")]
    listen: SocketAddr,
    /// Where the dashboard is; a free port where this one is taken
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3200")]
    admin: SocketAddr,
}

pub(super) fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    ensure!(args.minutes > 0.0 && args.minutes.is_finite(), WrongUse("--minutes must be more than 0".into()));
    ensure!(args.requests > 0, "--requests must be more than 0");
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
    let code = runtime.block_on(demo(args));
    runtime.shutdown_background();
    code
}

async fn demo(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let world = Arc::new(World::demo(args.seed, args.requests));
    let stage = Stage::set(args.listen, args.admin).await?;
    stage.warm_up().await;
    eprintln!("\n  Stand-in vendors, a gateway and {} simulated kinds of users are ready.", world.tastes.len());
    eprintln!("  Watch them:  {}\n", stage.link());
    let parts = play(&stage, &world, &args).await?;
    println!("{}", report::table(&parts));
    if let Some(told) = stage.unread() {
        println!("\n{told}");
    }
    if args.keep_open {
        eprintln!("\n  Still serving; Ctrl-C ends it.");
        tokio::signal::ctrl_c().await?;
    }
    stage.strike().await;
    Ok(ExitCode::SUCCESS)
}

/// Lets the users ask, and returns the score of each part of the run.
async fn play(stage: &Stage, world: &Arc<World>, args: &DemoArgs) -> anyhow::Result<Vec<Score>> {
    let crowd = Crowd::new(stage.proxy(), Arc::clone(world))?;
    let mut game = Game::new(world, args, stage.scale());
    let mut asking: JoinSet<(u64, Result<Answered, CrowdError>)> = JoinSet::new();
    let mut rating = JoinSet::new();
    let mut clock = tokio::time::interval(Duration::from_secs_f64(args.minutes * 60.0 / args.requests as f64));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    for number in 0..args.requests {
        tokio::select! {
            _ = clock.tick() => {}
            _ = &mut interrupted => break,
        }
        for news in stage.change(world, number).await {
            game.tell(&news);
        }
        let next = crowd.clone();
        asking.spawn(async move { (number, next.ask(number).await) });
        while let Some(done) =
            if asking.len() >= MAX_WAITING { asking.join_next().await } else { asking.try_join_next() }
        {
            game.take(done?, &crowd, &mut rating, stage);
        }
        while rating.try_join_next().is_some() {}
    }
    while let Some(done) = asking.join_next().await {
        game.take(done?, &crowd, &mut rating, stage);
    }
    game.bar.finish_and_clear();
    // Ratings that would come later than this are not waited for.
    Ok(game.parts)
}

/// The run so far.
struct Game<'a> {
    world: &'a Arc<World>,
    requests: u64,
    /// The factor by which delays of ratings are shortened in a run shorter than the default.
    haste: f64,
    parts: Vec<Score>,
    lately: VecDeque<bool>,
    done: u64,
    failed: u64,
    cost_usd: f64,
    bar: ProgressBar,
    told: Instant,
}

impl<'a> Game<'a> {
    fn new(world: &'a Arc<World>, args: &DemoArgs, scale: Scale) -> Self {
        let bar = ProgressBar::new(args.requests);
        if let Ok(style) = ProgressStyle::with_template("  {bar:32} {pos}/{len}  {msg}") {
            bar.set_style(style);
        }
        Self {
            world,
            requests: args.requests,
            haste: (args.minutes / 3.0).clamp(0.05, 1.0),
            parts: vec![Score::new(scale); PARTS],
            lately: VecDeque::new(),
            done: 0,
            failed: 0,
            cost_usd: 0.0,
            bar,
            told: Instant::now(),
        }
    }

    fn take(
        &mut self,
        (number, answered): (u64, Result<Answered, CrowdError>),
        crowd: &Crowd,
        ratings: &mut JoinSet<()>,
        stage: &Stage,
    ) {
        let visit = self.world.visit(number);
        let part = (number * PARTS as u64 / self.requests.max(1)) as usize;
        let answered = answered.ok();
        let usage = answered.as_ref().map_or(Usage::default(), |answer| Usage {
            input_tokens: answer.input_tokens,
            output_tokens: answer.output_tokens,
            ..Usage::default()
        });
        if let Some(score) = self.parts.get_mut(part) {
            score.add(self.world, &visit, answered.as_ref().map(|answer| answer.model.as_str()), &usage);
        }
        self.done += 1;
        match answered {
            None => self.failed += 1,
            Some(answer) => {
                self.cost_usd += answer.cost_usd;
                self.lately.push_back(answer.verdict.liked);
                if self.lately.len() > RECENT_ANSWERS {
                    self.lately.pop_front();
                }
                if let Some((rating, delay_s)) = answer.verdict.rating {
                    let (crowd, wait) = (crowd.clone(), Duration::from_secs_f64(delay_s * self.haste));
                    ratings.spawn(async move {
                        tokio::time::sleep(wait).await;
                        // A rating that the gateway does not take is lost, as in life.
                        let _ = crowd.rate(&answer.decision, rating).await;
                    });
                }
            }
        }
        self.show(stage);
    }

    fn show(&mut self, stage: &Stage) {
        let liked = self.lately.iter().filter(|liked| **liked).count() as f64 / self.lately.len().max(1) as f64;
        let told = format!(
            "{:.0} % liked lately, ${:.4} spent, {} failed, {}",
            liked * 100.0,
            self.cost_usd,
            self.failed,
            stage.policy()
        );
        self.bar.set_position(self.done);
        self.bar.set_message(told.clone());
        if self.bar.is_hidden() && self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            eprintln!("  {}/{}  {told}", self.done, self.requests);
        }
    }

    fn tell(&self, news: &str) {
        if self.bar.is_hidden() {
            eprintln!("  {news}");
        } else {
            self.bar.println(format!("  {news}"));
        }
    }
}
