//! A page: its panels, and the shell around them.

use kernel::Caller;
use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::look::Look;
use super::session::{Said, Theme};
use super::views::VIEWS;
use super::words;

/// A part of a page.
#[derive(Debug)]
pub struct Panel {
    /// Unique on its page.
    pub id: String,
    /// Whether it is looked at again and again.
    pub live: bool,
    /// What it shows.
    pub body: Markup,
}

/// A page without its shell.
#[derive(Debug)]
pub struct Page {
    /// What it is of.
    pub title: String,
    /// The view it belongs to, by its path.
    pub view: &'static str,
    /// What it shows, in this order.
    pub panels: Vec<Panel>,
}

impl Page {
    /// A page without panels yet.
    pub fn new(title: impl Into<String>, view: &'static str) -> Self {
        Self { title: title.into(), view, panels: Vec::new() }
    }

    /// Adds what changes by itself.
    #[must_use]
    pub fn live(mut self, id: &str, body: Markup) -> Self {
        self.panels.push(Panel { id: id.to_owned(), live: true, body });
        self
    }

    /// Adds what stays as it is, such as a form that somebody is filling in.
    #[must_use]
    pub fn still(mut self, id: &str, body: Markup) -> Self {
        self.panels.push(Panel { id: id.to_owned(), live: false, body });
        self
    }
}

/// What the shell needs to know of whoever looks.
#[derive(Debug)]
pub struct Visit<'a> {
    /// Who it is.
    pub caller: &'a Caller,
    /// Whether they signed in, and so can sign out.
    pub signed_in: bool,
    /// Their theme.
    pub theme: Theme,
    /// What their last act came to.
    pub said: Option<Said>,
    /// What everybody must know, such as that callers without a key are let in.
    pub notice: Option<&'a str>,
}

/// How often a page without script is loaded again, in seconds.
const RELOAD_SECONDS: u32 = 10;

/// A whole page. `bar` is the first of the live panels.
pub fn whole(look: &Look, visit: &Visit<'_>, bar: &Markup, page: &Page) -> Markup {
    // Reloading would empty a form that is being filled in.
    let reloads = page.panels.iter().all(|panel| panel.live);
    html! {
        (DOCTYPE)
        html lang="en" data-theme=(visit.theme.as_str()) {
            head {
                (head(&page.title))
                script src=(assets::SCRIPT.path()) defer {}
                @if reloads { noscript { meta http-equiv="refresh" content=(RELOAD_SECONDS); } }
            }
            body data-look=(look.here) data-now=(look.now_ms) {
                a.skip href="#main" { "Skip to the page" }
                header {
                    (bar_panel(bar))
                    div.side {
                        form.find role="search" action="/ui/find" {
                            input #find type="search" name="q" aria-label="Search services, tools and logs" placeholder="search  /" maxlength="200";
                        }
                        span #feed role="status" data-feed="none" title="how fresh what you see is" { "as of " (words::clock(look.now_ms)) }
                        (who(look, visit))
                    }
                }
                (nav(page.view))
                @if let Some(notice) = visit.notice { p.notice { "⚠ " (notice) } }
                main #main tabindex="-1" {
                    h1 { (page.title) }
                    @if let Some(said) = &visit.said {
                        p.said.refused[!said.done] role="alert" { (if said.done { "✔ " } else { "✘ " }) (said.text) }
                    }
                    @for panel in &page.panels { (panel_of(panel)) }
                }
                (foot(look, visit.theme))
            }
        }
    }
}

/// What every page has in its head.
pub fn head(title: &str) -> Markup {
    html! {
        meta charset="utf-8";
        meta name="viewport" content="width=device-width, initial-scale=1";
        meta name="color-scheme" content="light dark";
        title { (title) " · Flotilla" }
        link rel="stylesheet" href=(assets::STYLE.path());
        link rel="icon" href=(assets::ICON.path());
    }
}

/// A page of its own, with nothing of the fleet on it: to sign in, or to say what went wrong.
pub fn bare(title: &str, theme: Theme, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-theme=(theme.as_str()) {
            head { (head(title)) }
            body.bare { main #main { h1 { (title) } (body) } }
        }
    }
}

/// The markup of a panel, as it stands in the page and travels on the feed.
pub fn panel_of(panel: &Panel) -> Markup {
    html! { section.panel id=(panel.id) { (panel.body) } }
}

/// The bar with what everybody must see, always.
pub fn bar_panel(bar: &Markup) -> Markup {
    html! { div.bar #bar { (bar) } }
}

fn who(look: &Look, visit: &Visit<'_>) -> Markup {
    html! {
        span.who { "◍ " b { (visit.caller.name) } " " span.dim { (visit.caller.role) } }
        @if visit.signed_in {
            form.inline method="post" action="/ui/sign-out" { (words::token(look)) button.quiet { "Sign out" } }
        } @else {
            a href={ "/ui/sign-in?next=" (super::query::encoded(&look.here)) } { "Sign in" }
        }
    }
}

fn nav(here: &str) -> Markup {
    html! {
        nav aria-label="Views" { ul {
            @for view in VIEWS {
                li { a href=(view.path) data-key=(view.key) aria-current=[(view.path == here).then_some("page")] title={ "g " (view.key) } { (view.name) } }
            }
        } }
    }
}

fn foot(look: &Look, theme: Theme) -> Markup {
    html! {
        footer {
            form.inline method="post" action="/ui/theme" {
                (words::token(look))
                input type="hidden" name="back" value=(look.here);
                "Theme: "
                @for one in [Theme::Auto, Theme::Light, Theme::Dark] {
                    button.quiet name="theme" value=(one.as_str()) aria-pressed=(if one == theme { "true" } else { "false" }) { (one.as_str()) }
                    " "
                }
            }
            details #keys {
                summary { "Keyboard " kbd { "?" } }
                dl {
                    dt { kbd { "/" } } dd { "search" }
                    @for view in VIEWS { dt { kbd { "g" } " " kbd { (view.key) } } dd { (view.name) } }
                    dt { kbd { "?" } } dd { "these keys" }
                    dt { kbd { "Esc" } } dd { "leave a field, close these keys" }
                }
            }
        }
    }
}
