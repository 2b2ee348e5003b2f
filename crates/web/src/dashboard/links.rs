//! One-time links: a way to sign in that is made on the command line and works once, soon.

use std::sync::Arc;

use kernel::store::{Expect, Store, Write};
use kernel::{Clock, Fault, Secret, ids};
use mcp::seal::{Binding, Sealer};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

/// Where links wait in the store, by what their codes are.
const SPACE: &str = "sign_in_links";
/// How long a link works, in milliseconds.
pub const LINK_MS: i64 = 120_000;
/// Random bytes of a code.
const CODE_BYTES: usize = 32;

/// A link that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Link {
    /// Its path at the dashboard.
    pub path: String,
    /// When it stops working, in milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

/// The links of a fleet. The key that a link stands for waits sealed, under the digest of a code that only the link has.
#[derive(Clone)]
pub struct Links {
    store: Arc<dyn Store>,
    sealer: Sealer,
    clock: Clock,
}

impl Links {
    /// Links kept in `store`.
    pub fn new(store: Arc<dyn Store>, sealer: Sealer, clock: Clock) -> Self {
        Self { store, sealer, clock }
    }

    /// A link that signs in with `key`.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn make(&self, key: &Secret) -> Result<Link, Fault> {
        let code = ids::random_token(CODE_BYTES);
        let name = name_of(&code);
        let sealed = self.sealer.seal(binding(&name), LINK_MS, json!(key.expose()))?;
        let expires_ms = self.clock.now_ms() + LINK_MS;
        let write = Write::put(SPACE, &name, sealed).expecting(Expect::Absent).expiring_at(expires_ms);
        self.store.commit(vec![write]).await?;
        Ok(Link { path: format!("/ui/sign-in/link?code={code}"), expires_ms })
    }

    /// The key that a link stands for; the link is used up.
    ///
    /// # Errors
    /// When there is no such link, or no longer.
    pub async fn take(&self, code: &str) -> Result<Secret, Fault> {
        let used_up = || {
            Fault::unauthenticated("this link was used already, or its two minutes are over")
                .hint("`flotilla open` makes a new one")
        };
        let name = name_of(code);
        let entry = self.store.get(SPACE, &name).await?.ok_or_else(used_up)?;
        // Of two that come at once only one finds it as it was.
        let write = Write::delete(SPACE, &name).expecting(Expect::Revision(entry.revision));
        self.store.commit(vec![write]).await.map_err(|fault| match fault.code {
            kernel::Code::Conflict => used_up(),
            _ => fault,
        })?;
        let key = self.sealer.open(binding(&name), &entry.value).map_err(|_| used_up())?;
        key.as_str().map(Secret::new).ok_or_else(used_up)
    }
}

fn name_of(code: &str) -> String {
    ids::digest(format!("link\n{code}").as_bytes()) + &ids::digest(format!("link too\n{code}").as_bytes())
}

fn binding(name: &str) -> Binding<'_> {
    Binding { caller: "", purpose: "sign-in link", subject: name }
}

#[cfg(test)]
mod tests {
    use kernel::fake::World;

    use super::*;

    #[tokio::test]
    async fn a_link_works_once_and_soon() {
        let world = World::default();
        let sealer = Sealer::new(&[1; 32], world.clock.clone());
        let links = Links::new(world.store.clone(), sealer, world.clock.clone());
        let key = Secret::new("flt_x");
        let code = |link: Link| link.path.split_once("code=").unwrap().1.to_owned();
        let first = code(links.make(&key).await.unwrap());
        assert!(links.take("another").await.is_err());
        let both = tokio::join!(links.take(&first), links.take(&first));
        assert_eq!([both.0.is_ok(), both.1.is_ok()].iter().filter(|taken| **taken).count(), 1, "{both:?}");
        let kept = world.store.list(SPACE, "", None, 10).await.unwrap();
        assert!(kept.is_empty(), "{kept:?}");
        let late = code(links.make(&key).await.unwrap());
        let kept = world.store.list(SPACE, "", None, 10).await.unwrap();
        assert!(!format!("{kept:?}").contains("flt_x") && !format!("{kept:?}").contains(&late), "{kept:?}");
        world.clock.advance_ms(LINK_MS + 1);
        assert_eq!(links.take(&late).await.unwrap_err().code, kernel::Code::Unauthenticated);
    }
}
