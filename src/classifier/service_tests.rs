//! The classifier as the gateway uses it, with the builtin model.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use futures::future::join_all;

use super::super::EstimateSource;
use super::*;
use crate::bandit::Factor;
use crate::protocol::{Message, Role, Tool};

const PATIENT: Duration = Duration::from_secs(60);

fn settings() -> config::Classifier {
    config::Classifier { threads: 1, ..config::Classifier::default() }
}

fn models() -> BTreeMap<String, config::Model> {
    let model = config::Model { score: Some(0.8), ..config::Model::default() };
    BTreeMap::from([("known".to_owned(), model)])
}

fn request(text: &str) -> ChatRequest {
    ChatRequest { messages: vec![Message::text(Role::User, text)], ..ChatRequest::default() }
}

async fn ready(settings: &config::Classifier) -> Classifier {
    let classifier = Classifier::start(settings, &models());
    tokio::time::timeout(Duration::from_secs(60), classifier.settled()).await.unwrap();
    assert!(classifier.is_ready(), "{:?}", classifier.status());
    classifier
}

/// One for the tests that leave it as it was.
fn shared() -> &'static tokio::sync::OnceCell<Classifier> {
    static SHARED: OnceLock<tokio::sync::OnceCell<Classifier>> = OnceLock::new();
    SHARED.get_or_init(tokio::sync::OnceCell::new)
}

#[tokio::test]
async fn a_prompt_is_read_once_and_then_remembered() {
    let classifier = shared().get_or_init(|| async { ready(&settings()).await }).await;
    let first = classifier.read(&request("What is the capital of France?"), PATIENT).await.unwrap();
    assert!(!first.cached && !first.truncated);
    assert_eq!(first.tokens, 7);
    let again = classifier.read(&request("What is the capital of France?"), PATIENT).await.unwrap();
    assert!(again.cached);
    assert_eq!(again.features, first.features);
    assert_eq!(classifier.read(&request("Something else"), PATIENT).await.map(|reading| reading.cached), Ok(false));
}

#[tokio::test]
async fn a_question_is_read_alike_whatever_is_sent_along() {
    let classifier = shared().get_or_init(|| async { ready(&settings()).await }).await;
    let asked = request("Translate \"where is the station\" into three languages.");
    let alone = classifier.read(&asked, PATIENT).await.unwrap();
    let mut along = asked.clone();
    let system = "You are a senior engineer. You write idiomatic Rust, with tests, and explain each function.";
    along.messages.insert(0, Message::text(Role::System, system));
    along.messages.insert(1, Message::text(Role::User, "Reverse a linked list, please."));
    along.messages.insert(2, Message::text(Role::Assistant, "fn reverse(list: List) -> List { list.rev() }"));
    along.tools = ["search_web", "read_file", "run_tests"]
        .map(|name| Tool {
            description: Some("Runs the tests of the workspace".into()),
            ..Tool::new(name, serde_json::json!({"type": "object", "properties": {"path": {"type": "string"}}}))
        })
        .to_vec();
    let reading = classifier.read(&along, PATIENT).await.unwrap();
    assert!(alone.task.is_some() && !alone.features.is_empty());
    assert_eq!((&reading.task, &reading.features), (&alone.task, &alone.features));
    assert_eq!((reading.familiarity, reading.tokens), (alone.familiarity, alone.tokens));
    // For a head that was fitted to no tools they are known to do something, and unlike all that it knows.
    let moved = |reading: &Reading| {
        let odds = reading.estimate("known").odds.unwrap();
        let of_tools = |(factor, _): &(Factor, f32)| [Factor::Tools, Factor::Unfamiliar].contains(factor);
        Factor::HEAD.into_iter().zip(odds.moved).partition::<Vec<_>, _>(of_tools)
    };
    let ((tools, rest), (no_tools, same)) = (moved(&reading), moved(&alone));
    assert_eq!(rest, same);
    assert!(tools.iter().zip(&no_tools).all(|(with, without)| with != without), "{tools:?} {no_tools:?}");
}

#[tokio::test]
async fn changed_models_are_seen_at_once_even_for_remembered_prompts() {
    let classifier = ready(&settings()).await;
    let asked = request("Prove that there are infinitely many primes.");
    let before = classifier.read(&asked, PATIENT).await.unwrap();
    assert_eq!(before.estimate("stranger").source, EstimateSource::Default);
    let mut changed = models();
    changed.insert("stranger".into(), config::Model { like: Some("known".into()), ..config::Model::default() });
    classifier.configure(&changed);
    let after = classifier.read(&asked, PATIENT).await.unwrap();
    assert_ne!(after.estimate("stranger").source, EstimateSource::Default);
    assert_eq!(classifier.prior("stranger").quality, classifier.prior("known").quality);
}

#[tokio::test]
async fn a_spent_budget_is_no_error_of_the_request_and_is_counted() {
    let classifier = shared().get_or_init(|| async { ready(&settings()).await }).await;
    let before = classifier.status().counts.missed("too_slow");
    let missed = classifier.read(&request("How late is it?"), Duration::ZERO).await;
    assert_eq!(missed, Err(Missed::TooSlow));
    assert_eq!(classifier.status().counts.missed("too_slow"), before + 1);
    // Whatever becomes of it, it is counted once.
    let classifier = ready(&config::Classifier { cache_mb: 0, ..settings() }).await;
    let long = "How late is it? ".repeat(50);
    for wait in [Duration::from_micros(1), Duration::from_micros(300), PATIENT] {
        let _ = classifier.read(&request(&long), wait).await;
    }
    let counts = classifier.status().counts;
    assert_eq!(counts.read + counts.missed("too_slow"), 3, "{counts:?}");
    // The thread goes on with others.
    assert!(classifier.read(&request("And now?"), PATIENT).await.is_ok());
}

#[tokio::test]
async fn a_full_queue_turns_away_and_loses_nobody() {
    let classifier = ready(&config::Classifier { queue: 2, cache_mb: 0, ..settings() }).await;
    let texts: Vec<ChatRequest> = (0..40).map(|n| request(&format!("{n} ").repeat(200))).collect();
    let results = join_all(texts.iter().map(|request| classifier.read(request, PATIENT))).await;
    let read = results.iter().filter(|result| result.is_ok()).count();
    let busy = results.iter().filter(|result| **result == Err(Missed::Busy)).count();
    assert_eq!(read + busy, 40, "{results:?}");
    assert!(read >= 2 && busy >= 1, "{read} read, {busy} turned away");
    let counts = classifier.status().counts;
    assert_eq!((counts.read, counts.missed("busy")), (read as u64, busy as u64));
}

#[tokio::test]
async fn waiting_prompts_are_read_together() {
    let classifier = ready(&config::Classifier { cache_mb: 0, ..settings() }).await;
    let texts: Vec<ChatRequest> = (0..30).map(|n| request(&format!("What is {n} plus {n}?"))).collect();
    let results = join_all(texts.iter().map(|request| classifier.read(request, PATIENT))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let counts = classifier.status().counts;
    assert!(counts.batches < 30, "{counts:?}");
}

/// A prompt that waits for as long as `patience`, and where its answer comes.
fn job(text: &str, patience: Duration) -> (Job, oneshot::Receiver<Result<Arc<Reading>, Missed>>) {
    let (answer, answered) = oneshot::channel();
    let prompt = Prompt::of_text(text);
    let asked = Instant::now();
    (Job { key: prompt.key(256), prompt, asked, until: asked + patience, answer }, answered)
}

/// Serves `first` and what is behind it in the queue, which must be all of it.
fn one_turn(classifier: &Classifier, model: &Model, first: Job, jobs: &Receiver<Job>, pace: &mut Pace) {
    let mut waiting = VecDeque::new();
    serve(&classifier.shared, model, Some(first), jobs, &mut waiting, pace);
    assert!(waiting.is_empty());
}

/// How long somebody must be able to wait to have so many tokens read, within a twentieth.
fn needed(pace: &Pace, tokens: usize) -> Duration {
    let mut left = Duration::from_micros(1);
    while !pace.fits(tokens, left) {
        left = left.mul_f64(1.05) + Duration::from_nanos(1);
    }
    left
}

#[tokio::test]
async fn a_queue_full_of_prompts_that_came_too_late_does_not_make_the_next_ones_seem_short() {
    let classifier = ready(&config::Classifier { cache_mb: 0, ..settings() }).await;
    let state = classifier.shared.state.load_full();
    let State::Ready(model) = &*state else { panic!("it is ready") };
    let (queue, jobs) = sync_channel(64);
    let mut pace = Pace::default();
    let (first, answered) = job("How late is it?", PATIENT);
    one_turn(&classifier, model, first, &jobs, &mut pace);
    let tokens = answered.await.unwrap().unwrap().tokens as usize;
    for patient in [None, Some(())] {
        let before = needed(&pace, tokens);
        let (first, _told) = job("How late is it?", Duration::ZERO);
        let (late, _told): (Vec<Job>, Vec<_>) = (0..40).map(|_| job("How late is it?", Duration::ZERO)).unzip();
        late.into_iter().for_each(|late| queue.send(late).unwrap());
        let patient = patient.map(|()| job("How late is it?", PATIENT));
        let answered = patient.map(|(patient, answered)| {
            queue.send(patient).unwrap();
            answered
        });
        one_turn(&classifier, model, first, &jobs, &mut pace);
        // One doubt, or one reading, which counts for three tenths.
        assert!(needed(&pace, tokens) > before.mul_f64(0.65), "{pace:?}");
        if let Some(answered) = answered {
            assert!(answered.await.unwrap().is_ok());
        }
    }
    assert_eq!(classifier.status().counts.batches, 2);
}

#[tokio::test]
async fn after_a_slow_moment_who_is_alone_finds_out_whether_it_is_over() {
    let classifier = ready(&config::Classifier { cache_mb: 0, ..settings() }).await;
    let state = classifier.shared.state.load_full();
    let State::Ready(model) = &*state else { panic!("it is ready") };
    let (_queue, jobs) = sync_channel(8);
    let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    for (observed, is_read) in [(Instant::now(), false), (long_ago, true)] {
        let mut pace = Pace::default();
        pace.observe(1, PATIENT * 2, observed);
        let (asked, answered) = job("How long is a moment?", PATIENT);
        one_turn(&classifier, model, asked, &jobs, &mut pace);
        assert_eq!(answered.await.unwrap().is_ok(), is_read);
    }
}

#[tokio::test]
async fn who_has_left_is_skipped() {
    let classifier = ready(&config::Classifier { cache_mb: 0, ..settings() }).await;
    let state = classifier.shared.state.load_full();
    let State::Ready(model) = &*state else { panic!("it is ready") };
    let job = |text: &str| job(text, PATIENT);
    let (queue, jobs) = sync_channel(8);
    let (first, gone) = job("left while it waited");
    drop(gone);
    for text in ["left too", "also left"] {
        queue.send(job(text).0).unwrap();
    }
    let (stays, answered) = job("stays");
    queue.send(stays).unwrap();
    let mut pace = Pace::default();
    one_turn(&classifier, model, first, &jobs, &mut pace);
    assert_eq!(answered.await.unwrap().unwrap().tokens, 2);
    let counts = classifier.status().counts;
    assert_eq!((counts.batches, counts.abandoned), (1, 3));
    // Two who came too late to be in time are told, and hold nobody up.
    pace.observe(1, Duration::from_secs(1), Instant::now());
    let hurried = |text: &str| {
        let (job, answered) = job(text);
        (Job { until: Instant::now() + Duration::from_millis(100), ..job }, answered)
    };
    let (first, told) = hurried("in a hurry");
    let (second, told_too) = hurried("so am I");
    let (patient, answered) = job("stays as well");
    queue.send(second).unwrap();
    queue.send(patient).unwrap();
    one_turn(&classifier, model, first, &jobs, &mut pace);
    assert_eq!((told.await.unwrap(), told_too.await.unwrap()), (Err(Missed::TooSlow), Err(Missed::TooSlow)));
    assert!(answered.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_long_prompt_is_read_at_both_ends() {
    let classifier = shared().get_or_init(|| async { ready(&settings()).await }).await;
    let middle = "lorem ipsum ".repeat(5_000);
    let reading = classifier.read(&request(&format!("Translate this: {middle} into Latin.")), PATIENT).await.unwrap();
    assert!(reading.truncated);
    assert_eq!(reading.tokens, 256);
    let other = request(&format!("Translate this: {middle} into French."));
    assert!(!classifier.read(&other, PATIENT).await.unwrap().cached, "its end differs");
}

#[tokio::test]
async fn a_long_prompt_in_a_hurry_is_read_in_part_and_as_a_whole_the_next_time() {
    let classifier = ready(&settings()).await;
    let state = classifier.shared.state.load_full();
    let State::Ready(model) = &*state else { panic!("it is ready") };
    let text = format!("Translate this: {} into Latin.", "lorem ipsum ".repeat(100));
    let (asked, answered) = job(&text, PATIENT);
    let mut pace = Pace::default();
    // A whole reading would take 77 seconds, half of one 38.
    pace.observe(256, Duration::from_secs(77), Instant::now());
    one_turn(&classifier, model, asked, &sync_channel(1).1, &mut pace);
    let reading = answered.await.unwrap().unwrap();
    assert!(reading.shortened && reading.truncated);
    assert_eq!(reading.tokens, 128);
    let next = classifier.read(&request(&text), PATIENT).await.unwrap();
    assert!(!next.shortened && !next.cached);
    assert_eq!(next.tokens, 256);
    assert_eq!(classifier.status().counts.shortened, 0, "a reading counts where its request gets it");
}

#[tokio::test]
async fn a_classifier_that_is_off_or_broken_says_so() {
    let off = Classifier::start(&config::Classifier { enabled: false, ..settings() }, &models());
    assert_eq!(off.read(&request("a"), PATIENT).await, Err(Missed::Disabled));
    assert_eq!((off.status().state, off.prior("known").quality), ("disabled", 0.8));
    let broken =
        Classifier::start(&config::Classifier { model: "/nowhere/model.gguf".into(), ..settings() }, &models());
    tokio::time::timeout(Duration::from_secs(5), broken.settled()).await.unwrap();
    let Err(Missed::Failed(reason)) = broken.read(&request("a"), PATIENT).await else { panic!("it should fail") };
    assert!(reason.contains("/nowhere/model.gguf"), "{reason}");
    assert_eq!(broken.status().state, "failed");
    assert_eq!(broken.status().counts.missed("failed"), 1);
}

#[tokio::test]
async fn without_a_head_nothing_counts_as_read_and_why_is_told() {
    let classifier = ready(&config::Classifier { head: "/nowhere/head.safetensors".into(), ..settings() }).await;
    assert_eq!(classifier.read(&request("a"), PATIENT).await, Err(Missed::NoHead));
    let status = classifier.status();
    assert_eq!((status.counts.read, status.counts.missed("no_head")), (0, 1));
    assert!(status.reason.is_some_and(|reason| reason.contains("/nowhere/head.safetensors")));
    assert_eq!((status.state, classifier.state_word()), ("ready", "ready, without a head"));
    assert_eq!(classifier.prior("known").quality, 0.8, "what is configured still counts");
    classifier.swap_head("builtin").unwrap();
    assert!(classifier.read(&request("a"), PATIENT).await.is_ok());
    assert_eq!((classifier.status().reason, classifier.state_word()), (None, "ready"));
    // Who was waiting when it was taken away hears it, too.
    classifier.swap_head("none").unwrap();
    let state = classifier.shared.state.load_full();
    let State::Ready(model) = &*state else { panic!("it is ready") };
    let (asked, answered) = job("Still there?", PATIENT);
    one_turn(&classifier, model, asked, &sync_channel(1).1, &mut Pace::default());
    assert_eq!(answered.await.unwrap(), Err(Missed::NoHead));
}

#[tokio::test]
async fn where_nobody_says_a_word_nothing_is_read() {
    let classifier = ready(&settings()).await;
    for blank in ["", " \n"] {
        assert_eq!(classifier.read(&request(blank), PATIENT).await, Err(Missed::NoWords));
    }
    let counts = classifier.status().counts;
    assert_eq!((counts.read, counts.cached, counts.missed("no_words")), (0, 0, 2));
}

#[tokio::test]
async fn after_stopping_nothing_hangs() {
    let classifier = ready(&settings()).await;
    classifier.stop(PATIENT).await;
    assert!(matches!(classifier.read(&request("a"), PATIENT).await, Err(Missed::Failed(_))));
    assert_eq!(classifier.status().state, "stopped");
}
