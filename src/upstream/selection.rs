//! Which models a list of names means, as API tokens and requests give such lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Catalog, Deployment, Model};

/// The models that a list of names means, found in the catalog once, however many models are asked about.
#[derive(Debug)]
pub struct Selection<'c>(BTreeMap<&'c str, Vec<&'c Arc<Model>>>);

impl Catalog {
    /// What these names mean. Names of no model mean nothing.
    pub fn selection(&self, names: &[String]) -> Selection<'_> {
        let mut models: BTreeMap<&str, Vec<&Arc<Model>>> = BTreeMap::new();
        for model in names.iter().filter_map(|name| self.find(name)) {
            models.entry(model.name.as_str()).or_default().push(model);
        }
        Selection(models)
    }
}

impl Selection<'_> {
    /// Whether no model is meant.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a model is meant, wherever it is served.
    pub fn has(&self, model: &Model) -> bool {
        self.0.contains_key(model.name.as_str())
    }

    /// What is meant of a model: all of it or, where a listed one is named as `provider/model` alone, what it is at those
    /// servers; `None` = nothing.
    pub fn part_of(&self, model: &Arc<Model>) -> Option<Arc<Model>> {
        let named = self.0.get(model.name.as_str())?;
        let is_meant =
            |it: &&Arc<Deployment>| named.iter().flat_map(|part| &part.deployments).any(|own| own.name == it.name);
        let deployments: Vec<_> = model.deployments.iter().filter(is_meant).cloned().collect();
        if deployments.len() == model.deployments.len() {
            return Some(Arc::clone(model));
        }
        let Model { name, settings, discovered, .. } = model.as_ref();
        let part = Model { name: name.clone(), settings: settings.clone(), deployments, discovered: *discovered };
        (!part.deployments.is_empty()).then(|| Arc::new(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::discovery::ListedModel;
    use crate::upstream::{Discovered, Listing};

    #[test]
    fn a_list_means_models_wherever_they_are_or_at_the_servers_that_it_names() {
        let server = |name: &str, port: u16| {
            format!("[providers.{name}]\nbase_url = 'http://127.0.0.1:{port}'\ndiscover = true\n")
        };
        let config = ["a", "b", "c"].iter().zip(1..).map(|(name, port)| server(name, port)).collect::<String>();
        let mut listing = Listing::default();
        listing.update(Discovered::Models(["m", "n"].map(ListedModel::named).into()));
        let lists = ["a", "b", "c"].map(|name| (name.to_owned(), listing.clone())).into();
        let catalog = Catalog::new(&config.parse().unwrap(), &lists, None);
        let servers = |names: &[&str], model: &str| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let selection = catalog.selection(&names);
            let model = catalog.find(model).unwrap();
            let part = selection.part_of(model);
            assert_eq!(part.is_some() && !selection.is_empty(), part.is_some());
            let names = |part: Arc<Model>| part.deployments.iter().map(|it| it.provider.name.clone()).collect();
            part.map(|part: Arc<Model>| -> String { names(part) })
        };
        let some = |servers: &str| Some(servers.to_owned());
        assert_eq!(servers(&["m"], "m"), some("abc"));
        assert_eq!(servers(&["a/m"], "m"), some("a"), "not at the others, although the model is theirs, too");
        assert_eq!(servers(&["c/m", "a/m"], "m"), some("ac"));
        assert_eq!(servers(&["a/m", "m"], "m"), some("abc"));
        assert_eq!(servers(&["a/m"], "a/m"), some("a"));
        assert_eq!(servers(&["a/m"], "b/m"), None);
        assert_eq!(servers(&["a/m", "nobody"], "n"), None);
        assert_eq!(servers(&[], "m"), None);
    }
}
