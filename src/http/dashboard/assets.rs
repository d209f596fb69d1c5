//! Styles, scripts and the icon: in the binary, under names that contain their hash, so that browsers cache them for
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
        let hash = format!("{:x}", Sha256::digest(&text));
        Self { name: format!("{stem}.{}.{ending}", &hash[..12]), media_type, text }
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
    Asset::new("dashboard", "css", "text/css; charset=utf-8", &parts)
});

static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let parts = [
        include_str!("assets/core.js"),
        include_str!("assets/live.js"),
        include_str!("assets/actions.js"),
        include_str!("assets/streams.js"),
        include_str!("assets/playground.js"),
    ];
    Asset::new("dashboard", "js", "text/javascript; charset=utf-8", &parts)
});

static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", &[include_str!("assets/icon.svg")]));

/// The path of the style sheet.
pub(super) fn style() -> String {
    path(&STYLE)
}

/// The path of the script.
pub(super) fn script() -> String {
    path(&SCRIPT)
}

/// The path of the icon.
pub(super) fn icon() -> String {
    path(&ICON)
}

fn path(asset: &Asset) -> String {
    format!("/dashboard/assets/{}", asset.name)
}

/// `GET /dashboard/assets/{name}`. Open to all: assets hold no data.
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    match [&*STYLE, &*SCRIPT, &*ICON].into_iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers = [(CONTENT_TYPE, asset.media_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, asset.text.as_str()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
