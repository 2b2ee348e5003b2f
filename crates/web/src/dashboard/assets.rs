//! What pages load: embedded, and named by what it is, so that a browser keeps it for as long as it likes.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header;

/// One file.
pub struct Asset {
    kind: &'static str,
    bytes: &'static str,
    path: LazyLock<String>,
}

macro_rules! asset {
    ($about:literal $name:ident $file:literal $kind:literal) => {
        #[doc = $about]
        pub static $name: Asset = Asset {
            kind: $kind,
            bytes: include_str!(concat!("assets/", $file)),
            path: LazyLock::new(|| {
                let digest = kernel::ids::digest(include_bytes!(concat!("assets/", $file)));
                format!("/ui/assets/{digest}/{}", $file)
            }),
        };
    };
}
asset!("The script." SCRIPT "dashboard.js" "text/javascript; charset=utf-8");
asset!("The style." STYLE "dashboard.css" "text/css; charset=utf-8");
asset!("The sign in a browser's tab." ICON "icon.svg" "image/svg+xml");

impl Asset {
    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// The file at `path`.
pub fn find(path: &str) -> Option<Response> {
    let asset = [&SCRIPT, &STYLE, &ICON].into_iter().find(|asset| asset.path() == path)?;
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Some((headers, asset.bytes).into_response())
}
