//! Asks servers that list their models (Ollama and the like) for them, every half minute and after each change of the
//! configuration.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::upstream::{DISCOVER_EVERY, discover};

/// Keeps the lists of models up to date until `stop`.
pub(super) async fn keep_discovering(gateway: Arc<Gateway>, stop: CancellationToken) {
    loop {
        let round = async {
            ask_servers(&gateway).await;
            tokio::time::sleep(DISCOVER_EVERY).await;
        };
        tokio::select! {
            () = round => {}
            // A round under way, which asks by the old configuration, is dropped with its answers.
            () = gateway.servers_changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Asks all servers for their models, one after the other.
async fn ask_servers(gateway: &Gateway) {
    let live = gateway.live();
    for (name, _) in live.config.providers.iter().filter(|(_, provider)| provider.discovers()) {
        let Some(provider) = live.catalog.provider(name) else { continue };
        let known = gateway.listing(name);
        let found = discover(gateway.dispatcher.client(), provider, known.models()).await;
        gateway.discovered(name, found);
    }
}
