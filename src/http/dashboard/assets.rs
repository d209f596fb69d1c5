//! Styles, scripts and the icon: in the binary, under names that hold their hash, so that browsers keep them for
//! good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sha2::{Digest, Sha256};

/// One file.
#[derive(Debug)]
struct Asset {
    name: String,
    media_type: &'static str,
    text: String,
}

impl Asset {
    fn new(stem: &str, ending: &str, media_type: &'static str, parts: &[&str]) -> Self {
        let text = parts.join("\n");
        let hash: String = Sha256::digest(&text).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self { name: format!("{stem}.{hash}.{ending}"), media_type, text }
    }
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let parts = [
        include_str!("assets/base.css"),
        include_str!("assets/layout.css"),
        include_str!("assets/parts.css"),
        include_str!("assets/pages.css"),
        crate::chart::STYLE,
    ];
    Asset::new("panel", "css", "text/css; charset=utf-8", &parts)
});

static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let parts = [
        include_str!("assets/core.js"),
        include_str!("assets/live.js"),
        include_str!("assets/actions.js"),
        include_str!("assets/streams.js"),
        include_str!("assets/playground.js"),
    ];
    Asset::new("panel", "js", "text/javascript; charset=utf-8", &parts)
});

static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", &[include_str!("assets/icon.svg")]));

/// Where the style sheet is.
pub(super) fn style() -> String {
    path(&STYLE)
}

/// Where the script is.
pub(super) fn script() -> String {
    path(&SCRIPT)
}

/// Where the icon is.
pub(super) fn icon() -> String {
    path(&ICON)
}

fn path(asset: &Asset) -> String {
    format!("/dashboard/assets/{}", asset.name)
}

/// `GET /dashboard/assets/{name}`. Open: there is nothing in them but how things look.
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    match [&*STYLE, &*SCRIPT, &*ICON].into_iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers = [(CONTENT_TYPE, asset.media_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, asset.text.as_str()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
