//! The page: the files of `web/dist`, part of the program.

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Files;

/// `GET /` and what the page is made of.
pub(crate) async fn page(uri: Uri) -> Response {
    let path = match uri.path() {
        "/" => "index.html",
        path => path.trim_start_matches('/'),
    };
    let Some(file) = Files::get(path) else {
        return (StatusCode::NOT_FOUND, "there is nothing here; the page is at /\n").into_response();
    };
    // Names of what lies in assets/ change with their content.
    let keep = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    ([(header::CONTENT_TYPE, media_type(path)), (header::CACHE_CONTROL, keep)], file.data).into_response()
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_page_names_is_there_and_nothing_comes_from_elsewhere() {
        let index = Files::get("index.html").unwrap();
        let text = std::str::from_utf8(&index.data).unwrap();
        let names: Vec<&str> = text
            .split(['"', '\''])
            .filter(|part| part.starts_with("./") || part.starts_with("assets/") || part.starts_with("/assets/"))
            .collect();
        assert!(names.len() >= 2, "{text}");
        for name in names {
            let path = name.trim_start_matches("./").trim_start_matches('/');
            assert!(Files::get(path).is_some(), "{name} is missing: npm run build");
            assert_ne!(media_type(path), "application/octet-stream", "{name}");
        }
        assert!(!text.contains("http://") && !text.contains("https://"));
    }
}
