//! The whole job with the builtin encoder, on a few dozen prompts: sums go well with one model, poems with the other.

use std::fs;

use super::*;
use crate::classifier::head::Evidence;
use crate::train::dataset::{Limits, read};
use crate::train::fit::tests::Unwilling;
use crate::train::in_force::Verdict;

const SUMS: [&str; 4] =
    ["What is {} plus 17?", "Compute {} * 3 - 4.", "Solve x + {} = 90 for x.", "How much is {} % of 250?"];
const POEMS: [&str; 4] = [
    "Write a poem about autumn, number {}.",
    "Compose {} rhymes on rain.",
    "A sonnet for {} swans, please.",
    "Sing of {} ships at sea.",
];

fn line(at: usize, kind: usize, models: [&str; 2]) -> String {
    let prompt = [SUMS, POEMS][kind][at % 4].replace("{}", &at.to_string());
    let outcome = |good: bool| serde_json::json!({"score": u8::from(good), "cost_usd": 0.001});
    let task = ["math/sums", "writing/poems"][kind];
    serde_json::json!({
        "id": format!("{at}-{kind}"), "source": "made", "task": task, "prompt": prompt,
        "outcomes": { models[0]: outcome(kind == 0), models[1]: outcome(kind == 1) },
    })
    .to_string()
}

fn lines(from: usize, to: usize, models: [&str; 2]) -> String {
    (from..to).flat_map(|at| [line(at, 0, models), line(at, 1, models)]).collect::<Vec<_>>().join("\n")
}

fn recipe() -> HeadRecipe {
    let mut recipe = HeadRecipe { name: "tiny".into(), ..HeadRecipe::default() };
    recipe.pooling = Pooling::mean_of(2);
    let stand_in = |arm: &str| Evidence { arm: arm.into(), weight: 1.0 };
    recipe.likeness.0.insert("poet-*".into(), vec![stand_in("made/poems"), stand_in("made/proems")]);
    recipe.fit.projected = 16;
    recipe.fit.key_states = 16;
    recipe.fit.trunk.hidden = 8;
    recipe.fit.trunk.latent = 4;
    recipe.fit.trunk.members = 1;
    recipe.fit.trunk.batch = 8;
    recipe.fit.trunk.rate = 1e-2;
    recipe
}

#[test]
fn a_job_trains_reports_resumes_and_its_head_judges_data_it_has_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for (split, from, to) in [("train", 0, 24), ("val", 24, 32), ("test", 32, 40)] {
        fs::create_dir_all(data.join(split)).unwrap();
        fs::write(data.join(split).join("made.jsonl"), lines(from, to, ["sums", "poems"])).unwrap();
    }
    let settings = config::Classifier { threads: 1, max_tokens: 32, ..config::Classifier::default() };
    let model = Model::load(&settings).unwrap();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("out"));
    let labels = vec![("What a nice day, is it not?".to_owned(), "chat".to_owned())];
    let dataset = || read(&data, Split::Train, Limits::default()).unwrap();
    let recipe = recipe();
    let job = Job { recipe: &recipe, out: &out, cache: &cache, in_force: "builtin", progress: &() };
    let trained = job.train(dataset(), labels.clone(), &model).unwrap();
    let why =
        "Not compared with the head in force (builtin): it was not fitted to 2 of the data's 2 models: poems, sums.";
    assert_eq!(trained.in_force.summary, why);
    assert!(trained.curve.len() > 1 && trained.curve.iter().all(|epoch| epoch.trunks == 1), "{:?}", trained.curve);
    assert!(trained.notes.iter().any(|note| note.contains("no effect: made/proems.")), "{:?}", trained.notes);
    let test = trained.test.as_ref().unwrap();
    let source = &test.sources[0];
    assert_eq!(source.prompts, 16);
    assert!(source.routers[0].routed.value > 0.9, "{:?}", source.routers[0].routed);
    assert_eq!(source.best_single.value, 0.5);
    assert!(source.models.iter().all(|model| model.basis == "learned"));
    let page = fs::read_to_string(&trained.report).unwrap();
    assert!(page.contains("<svg") && page.contains("TF-IDF") && !page.contains("src="));
    let json: serde_json::Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(json["test"]["sources"][0]["source"], "made");
    let version = &trained.head.description().version;
    assert!(page.contains("Learning curve") && page.contains(&crate::chart::escape(why)));
    assert!(page.contains(&format!("Version {version},")));
    assert_eq!((json["learning_curve"][0]["epoch"].as_u64(), json["version"].as_str()), (Some(1), Some(&**version)));

    // Again: nothing has to be read anew, and the same head comes out, which is no better than itself.
    let features = cache.join(super::super::features::file_name(&origin(&model, &recipe.pooling)));
    let (before, head) = (fs::metadata(&features).unwrap().len(), fs::read(&trained.file).unwrap());
    let job = Job { in_force: trained.file.to_str().unwrap(), ..job };
    let again = job.train(dataset(), labels, &model).unwrap();
    let differences = again.in_force.differences.unwrap();
    assert_eq!((differences.prompts, differences.verdict), (16, Verdict::TooFew));
    assert_eq!(differences.as_written.log_loss.value, 0.0);
    assert_eq!(fs::metadata(&features).unwrap().len(), before);
    assert_eq!(fs::read(&trained.file).unwrap(), head);

    // Loose files, a model that the head has never seen, and no train.
    let loose = folder.path().join("loose");
    fs::create_dir_all(&loose).unwrap();
    fs::write(loose.join("made.jsonl"), lines(40, 44, ["sums", "stranger"])).unwrap();
    let dataset = read(&loose, Split::Test, Limits::default()).unwrap();
    let judged = evaluate(&trained.head, &dataset, Split::Test, &model, &cache, &()).unwrap();
    let basis: Vec<&str> = judged.sources[0].models.iter().map(|model| model.basis.as_str()).collect();
    assert_eq!(basis, ["prior: unknown", "learned"]);
    assert!(judged.notes.iter().any(|note| note.contains("stranger")));
    assert!(judged.notes.iter().any(|note| note.contains("no train")));
}

#[test]
fn a_folder_that_cannot_be_made_is_told_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train.jsonl"), lines(0, 12, ["a", "b"])).unwrap();
    let dataset = read(folder.path(), Split::Train, Limits::default()).unwrap();
    let model = Model::load(&config::Classifier { threads: 1, ..config::Classifier::default() }).unwrap();
    let (recipe, out) = (recipe(), folder.path().join("train.jsonl"));
    let job = Job { recipe: &recipe, out: &out, cache: folder.path(), in_force: "none", progress: &Unwilling };
    let failed = job.train(dataset, Vec::new(), &model);
    assert!(matches!(failed, Err(JobError::File { path, .. }) if path == out));
}

#[test]
fn a_source_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train.jsonl"), lines(0, 2, ["a", "b"])).unwrap();
    let dataset = read(folder.path(), Split::Train, Limits::default()).unwrap();
    let model = Model::load(&config::Classifier { threads: 1, ..config::Classifier::default() }).unwrap();
    let recipe = HeadRecipe { sources: vec!["absent".into()], ..HeadRecipe::default() };
    let job = Job { recipe: &recipe, out: folder.path(), cache: folder.path(), in_force: "none", progress: &() };
    let failed = job.train(dataset, Vec::new(), &model);
    let failed = failed.unwrap_err();
    assert!(matches!(&failed, JobError::Source(source, there) if source == "absent" && !there.is_empty()));
    assert!(!failed.to_string().contains("which the recipe names"), "it may have been --sources: {failed}");
}
