//! The dashboard on port 8080: pages made on the server, each with one feed, and forms that call the fleet's own tools.
//!
//! Invariants:
//! - What a page shows and what a button does are calls of the fleet's tools as whoever looks: the same phases, the same roles, the same audit
//!   trail as through any other door. There is no second way.
//! - Every form carries what only its own session knows, and is refused from other sites. No script or style stands in a page.
//! - Text from the fleet is text: maud escapes it, and the policy would not run what slipped through.
//! - A page works without its script; the feed ([`live`]) makes it current, and says so only while it is.

pub mod act;
pub mod arguments;
pub mod assets;
pub mod bar;
pub mod chart;
pub mod download;
pub mod links;
pub mod live;
pub mod look;
pub mod page;
pub mod playground;
pub mod query;
pub mod session;
pub mod sign_in;
pub mod views;
pub mod words;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::sse::Sse;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use kernel::{Access, Caller, Clock, Code, Fault, Tasks};
use mcp::http::Door;
use mcp::phases::Phases;
use mcp::toolbox::Router as Tools;

use crate::access::{Guard, known_hosts};
use crate::problem::Problem;
use links::Links;
use live::{Feeds, Seen, Subject};
use look::Look;
use page::{Page, Visit};
use query::Query;
use session::{Cookies, Holder};

/// Largest form, in bytes.
const FORM_BYTES_MAX: usize = 256 << 10;
/// Longest path that somebody is led back to, in bytes.
const BACK_BYTES_MAX: usize = 2_048;
/// Nothing runs or is loaded but our own files, and nothing of ours is shown inside of another's page.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

/// What the dashboard stands on.
pub struct Parts {
    /// Reaches every tool of the fleet.
    pub router: Arc<dyn Tools>,
    /// Checks callers.
    pub guard: Guard,
    /// Knows which hosts it answers to.
    pub door: Arc<Door>,
    /// Makes and reads cookies.
    pub cookies: Cookies,
    /// One-time links.
    pub links: Links,
    /// Writes down who signed in.
    pub phases: Phases,
    /// What stands on every page, such as that callers without a key are let in.
    pub notice: Option<String>,
    /// Tells the time.
    pub clock: Clock,
    /// Owns the feeds.
    pub tasks: Tasks,
}

/// The dashboard.
pub struct Dashboard {
    router: Arc<dyn Tools>,
    guard: Guard,
    cookies: Cookies,
    links: Links,
    phases: Phases,
    notice: Option<String>,
    clock: Clock,
    tasks: Tasks,
    feeds: Feeds,
}

/// Who asks.
struct Asked {
    caller: Caller,
    holder: Holder,
    /// Whether this browser has not been seen before, and is to be given a cookie.
    fresh: bool,
}

/// The routes of port 8080.
pub fn routes(parts: Parts) -> Router {
    let Parts { router, guard, door, cookies, links, phases, notice, clock, tasks } = parts;
    let feeds = Feeds::new(tasks.clone());
    let dashboard = Arc::new(Dashboard { router, guard, cookies, links, phases, notice, clock, tasks, feeds });
    Router::new()
        .route("/", get(show))
        .route("/ui", get(show))
        .route("/ui/{*path}", get(show))
        .route("/ui/live", get(live_feed))
        .route(views::logs::DOWNLOAD_PATH, get(download::lines))
        .route(views::audit::DOWNLOAD_PATH, get(download::rows))
        .route(views::playground::CALL_PATH, post(playground::call))
        .route("/ui/act", post(act::act))
        .route("/ui/theme", post(act::theme))
        .route(sign_in::PATH, get(sign_in::form).post(sign_in::with_key))
        .route(sign_in::LINK_PATH, get(sign_in::link_form).post(sign_in::with_link))
        .route("/ui/sign-out", post(sign_in::out))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(map_response(guarded))
        .layer(from_fn_with_state(door, known_hosts))
        .route("/ui/assets/{*path}", get(asset))
        .route("/health/live", get(|| async { "alive" }))
        .with_state(dashboard)
        .fallback(crate::service::not_found)
}

/// What every answer of the dashboard carries.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`, which would take the origin from our own forms too.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn asset(uri: Uri) -> Response {
    let missing =
        || Problem(Fault::not_found("no such file").hint("load the page again: this fleet is another version"));
    assets::find(uri.path()).unwrap_or_else(|| missing().into_response())
}

/// `GET` of any page.
async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let here = uri.path_and_query().map_or("/", |here| here.as_str());
    let shown = dashboard.show(&headers, remote, here).await;
    match shown {
        Err(fault) if fault.code == Code::Unauthenticated && wants_html(&headers) && !carries_key(&headers) => {
            let to = format!("{}?next={}", sign_in::PATH, query::encoded(here));
            redirect(&to, dashboard.cookies.forget(&headers).ok())
        }
        Err(fault) if fault.code == Code::Unauthenticated => {
            let mut response = Problem(fault).into_response();
            // A browser that sent a key as its password asks for another.
            let basic = HeaderValue::from_static("Basic realm=\"flotilla: any name, and a key as the password\"");
            response.headers_mut().append(header::WWW_AUTHENTICATE, basic);
            response
        }
        shown => dashboard.answered(shown, &headers),
    }
}

/// `GET /ui/live?look=PATH`: the feed of the page at that path.
async fn live_feed(
    State(dashboard): State<Arc<Dashboard>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::of(uri.query().unwrap_or_default());
    let here = query.get("look").unwrap_or("/").to_owned();
    let asked = dashboard.asked(&headers, remote).await?;
    let subject = Subject { caller: asked.caller, token: asked.holder.form_token(), look: here.clone() };
    let (watched, stopping) = (Arc::clone(&dashboard), dashboard.tasks.stopping());
    let watch: live::Watch = Arc::new(move || {
        let (dashboard, headers, here) = (Arc::clone(&watched), headers.clone(), here.clone());
        Box::pin(async move { dashboard.seen(&headers, remote, &here).await })
    });
    let events = dashboard.feeds.follow(subject, watch)?.take_until(stopping.cancelled_owned());
    let mut response = Sse::new(events).into_response();
    // Nginx would hold events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Dashboard {
    /// Who asks: by the session's key, by what the request carries, or (on this machine) nobody in particular, who may look.
    async fn asked(&self, headers: &HeaderMap, remote: SocketAddr) -> Result<Asked, Fault> {
        let known = self.cookies.holder(headers);
        let fresh = known.is_none();
        let holder = known.unwrap_or_else(Holder::visitor);
        let credentials = holder.credentials(&keyed(headers))?;
        let caller = self.guard.admit(&credentials, remote, Access::Read, "the dashboard").await?;
        Ok(Asked { caller, holder, fresh })
    }

    fn look(&self, asked: &Asked, here: &str) -> Look {
        Look::new(Arc::clone(&self.router), &asked.caller, asked.holder.form_token(), here, self.clock.now_ms())
    }

    async fn show(&self, headers: &HeaderMap, remote: SocketAddr, here: &str) -> Result<Response, Fault> {
        let asked = self.asked(headers, remote).await?;
        let look = self.look(&asked, here);
        let page = views::page(&look);
        self.shown(headers, &asked, &look, page).await
    }

    /// A page in its shell.
    async fn shown(
        &self,
        headers: &HeaderMap,
        asked: &Asked,
        look: &Look,
        page: impl Future<Output = Result<Page, Fault>>,
    ) -> Result<Response, Fault> {
        let (bar, page) = tokio::join!(bar::bar(look), page);
        let said = self.cookies.said(headers);
        let visit = Visit {
            caller: &asked.caller,
            signed_in: matches!(asked.holder, Holder::Key(_)),
            theme: self.cookies.theme(headers),
            said: said.as_ref().map(|(said, _)| said.clone()),
            notice: self.notice.as_deref(),
        };
        let mut response = Html(page::whole(look, &visit, &bar, &page?).into_string()).into_response();
        let cookies = response.headers_mut();
        if asked.fresh {
            cookies.append(header::SET_COOKIE, self.cookies.keep(headers, &asked.holder)?);
        }
        if let Some((_, told)) = said {
            cookies.append(header::SET_COOKIE, told);
        }
        Ok(response)
    }

    /// The live panels of a page as they are now.
    async fn seen(&self, headers: &HeaderMap, remote: SocketAddr, here: &str) -> Result<Seen, Fault> {
        let asked = self.asked(headers, remote).await?;
        let look = self.look(&asked, here);
        let (bar, page) = tokio::join!(bar::bar(&look), views::page(&look));
        let Page { panels, .. } = page?;
        let live = panels.iter().filter(|panel| panel.live);
        let mut seen = vec![("bar".to_owned(), page::bar_panel(&bar).into_string())];
        seen.extend(live.map(|panel| (panel.id.clone(), page::panel_of(panel).into_string())));
        Ok(Seen { at_ms: self.clock.now_ms(), panels: seen })
    }

    /// A form of ours, sent by one of our pages.
    ///
    /// # Errors
    /// When it comes from elsewhere, or from a page of another session.
    fn form(&self, headers: &HeaderMap, body: &[u8]) -> Result<Query, Fault> {
        let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
        if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(Fault::denied("this form comes from another site"));
        }
        let text = std::str::from_utf8(body).map_err(|_| Fault::invalid("the form is not UTF-8"))?;
        let form = Query::of(text);
        let token = self.cookies.holder(headers).map(|holder| holder.form_token());
        let given = form.get("token").unwrap_or_default();
        if !token.is_some_and(|token| same(&token, given)) {
            return Err(Fault::denied("this form is of another session, or of none")
                .hint("go back, load the page again, and send it anew"));
        }
        Ok(form)
    }

    /// Who sent a form of ours, and the form.
    async fn posted(&self, headers: &HeaderMap, remote: SocketAddr, body: &[u8]) -> Result<(Asked, Query), Fault> {
        let form = self.form(headers, body)?;
        Ok((self.asked(headers, remote).await?, form))
    }

    /// A refusal as a page for people, and as a problem document for programs.
    fn answered(&self, answer: Result<Response, Fault>, headers: &HeaderMap) -> Response {
        match answer {
            Ok(response) => response,
            Err(fault) if !wants_html(headers) => Problem(fault).into_response(),
            Err(fault) => {
                let status =
                    StatusCode::from_u16(fault.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let body = maud::html! { (words::trouble(&fault)) p { a href="/" { "To the overview" } } };
                let page = page::bare("That did not work", self.cookies.theme(headers), &body);
                (status, Html(page.into_string())).into_response()
            }
        }
    }
}

/// A redirect of a browser to a page of ours, with cookies.
fn redirect(to: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Response {
    let to = HeaderValue::from_str(local(to)).unwrap_or(HeaderValue::from_static("/"));
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response();
    response.headers_mut().extend(cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie)));
    response
}

/// A path of ours; the overview in place of anything that leads elsewhere.
fn local(path: &str) -> &str {
    let inside = path.starts_with('/') && !path.starts_with("//") && path.len() <= BACK_BYTES_MAX;
    if inside && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') { path } else { "/" }
}

/// Whether two texts are the same, without telling by its time how much of them is.
fn same(one: &str, other: &str) -> bool {
    let differences = one.bytes().zip(other.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differences == 0
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok()).is_some_and(|kinds| kinds.contains("text/html"))
}

fn carries_key(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key("x-api-key")
}

/// The same headers with the key that a browser or `curl -u` sent as its password, where the fleet expects it.
fn keyed(headers: &HeaderMap) -> HeaderMap {
    let mut keyed = headers.clone();
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let pair = given.and_then(|text| String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok());
    let bearer = pair.as_deref().and_then(|pair| {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", pair.split_once(':')?.1)).ok()?;
        value.set_sensitive(true);
        Some(value)
    });
    if let Some(bearer) = bearer {
        keyed.insert(header::AUTHORIZATION, bearer);
    }
    keyed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        assert_eq!(local("/ui/services/x?a=b"), "/ui/services/x?a=b");
        let long = format!("/{}", "x".repeat(BACK_BYTES_MAX));
        for bad in ["", "//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nset-cookie: x", "/ü", &long]
        {
            assert_eq!(local(bad), "/", "{bad}");
        }
    }
}
