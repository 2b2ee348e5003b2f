//! Signing in, with a key or a one-time link, and out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, State};
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header};
use kernel::{Access, Code, Fault, Secret, Trace};
use maud::{Markup, html};
use mcp::Ctx;
use mcp::phases::CallSpec;

use super::act::line_of;
use super::page::bare;
use super::query::Query;
use super::session::{Holder, bearer};
use super::{Dashboard, local, redirect};

/// Where it is.
pub(super) const PATH: &str = "/ui/sign-in";
/// Where a one-time link leads.
pub(super) const LINK_PATH: &str = "/ui/sign-in/link";

/// `GET /ui/sign-in`.
pub(super) async fn form(State(dashboard): State<Arc<Dashboard>>, headers: HeaderMap, uri: Uri) -> Response {
    let query = Query::of(uri.query().unwrap_or_default());
    let shown = dashboard.key_page(&headers, query.get("next").unwrap_or("/"), None);
    dashboard.answered(shown, &headers)
}

/// `GET /ui/sign-in/link?code=…`: asks before it signs in, so that whoever merely loads the link does not use it up.
pub(super) async fn link_form(State(dashboard): State<Arc<Dashboard>>, headers: HeaderMap, uri: Uri) -> Response {
    let query = Query::of(uri.query().unwrap_or_default());
    let code = query.get("code").unwrap_or_default().to_owned();
    let shown = dashboard.guest(&headers, StatusCode::OK, |token| {
        html! {
            p { "This link was made by `flotilla open`. It works once, within two minutes." }
            form.tall method="post" action=(LINK_PATH) {
                input type="hidden" name="token" value=(token);
                input type="hidden" name="code" value=(code);
                button autofocus { "Sign in" }
            }
        }
    });
    dashboard.answered(shown, &headers)
}

/// `POST /ui/sign-in`.
pub(super) async fn with_key(
    State(dashboard): State<Arc<Dashboard>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let done = async {
        let form = dashboard.form(&headers, &body)?;
        let (key, next) = (Secret::new(form.get("key").unwrap_or_default().trim()), form.get("next").unwrap_or("/"));
        match dashboard.enter(key, next, &headers, remote).await {
            Err(fault) if fault.code == Code::Unauthenticated => dashboard.key_page(&headers, next, Some(&fault)),
            entered => entered,
        }
    };
    dashboard.answered(done.await, &headers)
}

/// `POST /ui/sign-in/link`.
pub(super) async fn with_link(
    State(dashboard): State<Arc<Dashboard>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let done = async {
        let form = dashboard.form(&headers, &body)?;
        let entered = match dashboard.links.take(form.get("code").unwrap_or_default()).await {
            Ok(key) => dashboard.enter(key, "/", &headers, remote).await,
            Err(fault) => Err(fault),
        };
        match entered {
            Err(fault) if fault.code == Code::Unauthenticated => dashboard.key_page(&headers, "/", Some(&fault)),
            entered => entered,
        }
    };
    dashboard.answered(done.await, &headers)
}

/// `POST /ui/sign-out`.
pub(super) async fn out(State(dashboard): State<Arc<Dashboard>>, headers: HeaderMap, body: Bytes) -> Response {
    let done = dashboard.form(&headers, &body).and_then(|_| Ok(redirect(PATH, [dashboard.cookies.forget(&headers)?])));
    dashboard.answered(done, &headers)
}

impl Dashboard {
    /// Signs in with a key that holds, and writes that down.
    async fn enter(&self, key: Secret, next: &str, headers: &HeaderMap, remote: SocketAddr) -> Result<Response, Fault> {
        let began = Instant::now();
        let caller = self.guard.known(&bearer(&key)?, remote).await?;
        let spec =
            CallSpec { server: "dashboard", tool: "sign_in", access: Access::Read, time: std::time::Duration::ZERO };
        let ctx = Ctx::internal(caller, Trace::root());
        self.phases.record(&spec, None, &ctx, "ok", "", began.elapsed()).await;
        let cookie = self.cookies.keep(headers, &Holder::Key(key))?;
        Ok(redirect(local(next), [cookie]))
    }

    /// The page that asks for a key, and says why the last one did not do.
    fn key_page(&self, headers: &HeaderMap, next: &str, refused: Option<&Fault>) -> Result<Response, Fault> {
        let status = if refused.is_some() { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        self.guest(headers, status, |token| html! {
            @if let Some(fault) = refused { p.said.refused role="alert" { "✘ " (line_of(fault)) } }
            form.tall method="post" action=(PATH) {
                input type="hidden" name="token" value=(token);
                input type="hidden" name="next" value=(local(next));
                label { "API key" input type="password" name="key" required autofocus maxlength="200" autocomplete="current-password" placeholder="flt_…"; }
                button { "Sign in" }
            }
            p.dim { "On the fleet's own machine `flotilla open` prints a link that signs you in once. `flotilla token create NAME --role ROLE` makes a key." }
        })
    }

    /// A page for somebody who is not known yet, who gets a cookie for its form.
    fn guest(
        &self,
        headers: &HeaderMap,
        status: StatusCode,
        body: impl FnOnce(&str) -> Markup,
    ) -> Result<Response, Fault> {
        let known = self.cookies.holder(headers);
        let holder = known.clone().unwrap_or_else(Holder::visitor);
        let page = bare("Sign in", self.cookies.theme(headers), &body(&holder.form_token()));
        let mut response = (status, Html(page.into_string())).into_response();
        if known.is_none() {
            response.headers_mut().append(header::SET_COOKIE, self.cookies.keep(headers, &holder)?);
        }
        Ok(response)
    }
}
