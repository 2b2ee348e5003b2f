//! Addresses of resources in the aggregate.
//!
//! - A server of the fleet puts its own name where an address has its host: `docs://utilities`, `logs://logging/today`. Such an address
//!   stays as it is.
//! - An upstream knows nothing of its name here. Its interactive views move under it, because clients look for the scheme:
//!   `ui://board` becomes `ui://NAME/board`.
//! - Every other address gets its part's name in front of its scheme: `file:///a` becomes `NAME+file:///a`, which is a valid scheme,
//!   and tells a client that only the fleet can fetch it.
//!
//! The same holds for URI templates. Each rule can be turned back, so nothing has to be remembered.

use std::borrow::Cow;

use crate::part::Origin;

const UI: &str = "ui://";

/// The aggregate's address of `uri` of `part`.
pub fn outward(part: &str, origin: Origin, uri: &str) -> String {
    match origin {
        Origin::Server if authority(uri) == Some(part) => uri.to_owned(),
        Origin::Upstream if uri.starts_with(UI) => format!("{UI}{part}/{}", &uri[UI.len()..]),
        _ => format!("{part}+{uri}"),
    }
}

/// Whose address this is: the part's name, and the part's own address for it. `origin` tells what kind of part a name belongs to.
pub fn inward<'a>(uri: &'a str, origin: impl Fn(&str) -> Option<Origin>) -> Option<(&'a str, Cow<'a, str>)> {
    let scheme = &uri[..uri.find(':')?];
    if let Some((part, own)) = scheme.split_once('+').map(|(part, _)| (part, &uri[part.len() + 1..]))
        && origin(part).is_some()
    {
        return Some((part, own.into()));
    }
    let part = authority(uri)?;
    match origin(part)? {
        Origin::Server => Some((part, uri.into())),
        Origin::Upstream => {
            let rest = uri.strip_prefix(UI)?.strip_prefix(part)?;
            Some((part, format!("{UI}{}", rest.strip_prefix('/')?).into()))
        }
    }
}

/// What stands between `://` and the next delimiter.
fn authority(uri: &str) -> Option<&str> {
    let rest = &uri[uri.find("://")? + 3..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let origin = |name: &str| match name {
            "logging" => Some(Origin::Server),
            "up" => Some(Origin::Upstream),
            _ => None,
        };
        for (part, own, aggregate) in [
            ("logging", "docs://logging", "docs://logging"),
            ("logging", "logs://logging/{day}?q=1", "logs://logging/{day}?q=1"),
            ("logging", "logs://{service}", "logging+logs://{service}"),
            ("logging", "ui://up/x", "logging+ui://up/x"),
            ("up", "docs://up", "up+docs://up"),
            ("up", "file:///etc/x", "up+file:///etc/x"),
            ("up", "urn:a:b", "up+urn:a:b"),
            ("up", "git+ssh://h/x", "up+git+ssh://h/x"),
            ("up", "ui://board", "ui://up/board"),
            ("up", "ui://up/board", "ui://up/up/board"),
        ] {
            let kind = origin(part).unwrap();
            assert_eq!(outward(part, kind, own), aggregate);
            assert_eq!(inward(aggregate, origin), Some((part, own.into())), "{aggregate}");
        }
        for foreign in ["", "x", "file:///a", "docs://nobody", "nobody+file:///a", "docs://up", "ui://up", "+a:b"] {
            assert_eq!(inward(foreign, origin), None, "{foreign}");
        }
    }
}
