//! Discord's events, read leniently: of each only what is used, and nothing of what does not hold it.

use serde_json::Value;

use super::rest::{is_id, is_token};

/// Most Discord roles of one person that are looked at.
const ROLES_MAX: usize = 256;
/// Longest text that is read, in characters: what Discord lets people write.
const TEXT_MAX: usize = 4_000;
/// Longest name that is shown or recorded, in characters.
const NAME_MAX: usize = 32;

/// Somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    /// Their id, which is theirs for ever.
    pub(super) id: String,
    /// Their name, which they may change.
    pub(super) name: String,
    /// The ids of their Discord roles.
    pub(super) roles: Vec<String>,
}

/// A message of somebody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) id: String,
    pub(super) channel: String,
    pub(super) guild: Option<String>,
    pub(super) person: Person,
    pub(super) text: String,
}

/// What somebody did with the bot's own commands or buttons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) id: String,
    /// What it is answered with, for fifteen minutes. Never shown.
    pub(super) token: String,
    pub(super) application: String,
    pub(super) guild: Option<String>,
    pub(super) person: Person,
    pub(super) what: What,
}

/// What it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A slash command with its options, as text.
    Slash { name: String, options: Vec<(String, String)> },
    /// A button, by the name that the bot gave it.
    Button(String),
}

/// Something that the bot has to do with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// The session began: the bot's application.
    Ready {
        application: String,
    },
    Said(Said),
    Asked(Asked),
}

/// Reads an event; nothing of what the bot has nothing to do with.
pub(super) fn heard(kind: &str, data: &Value) -> Result<Option<Heard>, &'static str> {
    match kind {
        "READY" => {
            let application = id(&data["application"]["id"]).ok_or("no application")?;
            Ok(Some(Heard::Ready { application }))
        }
        "MESSAGE_CREATE" => said(data),
        "INTERACTION_CREATE" => asked(data),
        _ => Ok(None),
    }
}

fn id(value: &Value) -> Option<String> {
    value.as_str().filter(|text| is_id(text)).map(ToOwned::to_owned)
}

/// The same, where it may be missing but not wrong.
fn maybe_id(value: &Value) -> Result<Option<String>, &'static str> {
    if value.is_null() { Ok(None) } else { id(value).map(Some).ok_or("an id that is none") }
}

fn person(user: &Value, member: &Value) -> Result<Person, &'static str> {
    let id = id(&user["id"]).ok_or("a user without an id")?;
    let roles = member["roles"].as_array().into_iter().flatten().filter_map(self::id).take(ROLES_MAX).collect();
    Ok(Person { id, name: plain(user["username"].as_str().unwrap_or_default()), roles })
}

/// A name with nothing in it that could be taken for something else.
pub(super) fn plain(name: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    name.chars().filter(fits).take(NAME_MAX).collect()
}

fn said(data: &Value) -> Result<Option<Heard>, &'static str> {
    let author = &data["author"];
    // Bots and webhooks are not answered: two that answer each other never end.
    if author["bot"] == true || !data["webhook_id"].is_null() {
        return Ok(None);
    }
    let text: String = data["content"].as_str().unwrap_or_default().chars().take(TEXT_MAX).collect();
    if !text.starts_with('!') {
        return Ok(None);
    }
    Ok(Some(Heard::Said(Said {
        id: id(&data["id"]).ok_or("a message without an id")?,
        channel: id(&data["channel_id"]).ok_or("a message without a channel")?,
        guild: maybe_id(&data["guild_id"])?,
        person: person(author, &data["member"])?,
        text,
    })))
}

fn asked(data: &Value) -> Result<Option<Heard>, &'static str> {
    let details = &data["data"];
    let what = match data["type"].as_u64() {
        Some(2) => What::Slash {
            name: details["name"].as_str().ok_or("a command without a name")?.chars().take(NAME_MAX).collect(),
            options: details["options"].as_array().into_iter().flatten().filter_map(option).take(25).collect(),
        },
        Some(3) => {
            What::Button(details["custom_id"].as_str().ok_or("a button without a name")?.chars().take(100).collect())
        }
        _ => return Ok(None),
    };
    // In a server there is a member, elsewhere a user.
    let member = &data["member"];
    let user = if member.is_object() { &member["user"] } else { &data["user"] };
    let token = data["token"].as_str().filter(|token| is_token(token)).ok_or("an interaction without a token")?;
    Ok(Some(Heard::Asked(Asked {
        id: id(&data["id"]).ok_or("an interaction without an id")?,
        token: token.to_owned(),
        application: id(&data["application_id"]).ok_or("an interaction without an application")?,
        guild: maybe_id(&data["guild_id"])?,
        person: person(user, member)?,
        what,
    })))
}

fn option(option: &Value) -> Option<(String, String)> {
    let value = match &option["value"] {
        Value::String(text) => text.chars().take(TEXT_MAX).collect(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
        other => other.to_string(),
    };
    Some((option["name"].as_str()?.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message() -> Value {
        json!({
            "id": "1", "channel_id": "2", "guild_id": "3", "content": "!status",
            "author": { "id": "4", "username": "alice" }, "member": { "roles": ["5", "x", 6] },
        })
    }

    fn with(mut value: Value, path: &str, to: Value) -> Value {
        *value.pointer_mut(path).unwrap() = to;
        value
    }

    #[test]
    fn a_message_is_read_or_passed_over() {
        let Ok(Some(Heard::Said(said))) = heard("MESSAGE_CREATE", &message()) else { panic!() };
        assert_eq!((said.person.name.as_str(), said.person.roles), ("alice", vec!["5".to_owned()]));
        let bot = json!({ "id": "4", "bot": true });
        assert_eq!(heard("MESSAGE_CREATE", &with(message(), "/author", bot)), Ok(None));
        assert_eq!(heard("MESSAGE_CREATE", &with(message(), "/content", json!("hello"))), Ok(None));
        for (path, bad) in
            [("/id", json!("../x")), ("/channel_id", json!(2)), ("/guild_id", json!("a")), ("/author", json!(7))]
        {
            assert!(heard("MESSAGE_CREATE", &with(message(), path, bad)).is_err(), "{path}");
        }
        assert_eq!(heard("TYPING_START", &json!(null)), Ok(None));
        assert!(heard("READY", &json!([])).is_err());
    }

    #[test]
    fn names_have_nothing_hostile_in_them() {
        for (name, shown) in [("alice", "alice"), ("@everyone", "everyone"), ("a\n`b`\u{202e}*", "ab"), ("", "")] {
            assert_eq!(plain(name), shown);
        }
        assert_eq!(plain(&"x".repeat(99)).len(), 32);
    }

    #[test]
    fn a_command_outside_a_server_has_a_user_and_no_roles() {
        let slash = json!({
            "id": "1", "application_id": "2", "token": "t", "type": 2, "user": { "id": "4", "username": "bob" },
            "data": { "name": "logs", "options": [{ "name": "lines", "value": 50 }, { "name": "x", "value": {} }, 7] },
        });
        let Ok(Some(Heard::Asked(asked))) = heard("INTERACTION_CREATE", &slash) else { panic!() };
        assert!(asked.guild.is_none() && asked.person.roles.is_empty());
        assert_eq!(asked.what, What::Slash { name: "logs".into(), options: vec![("lines".into(), "50".into())] });
        assert!(heard("INTERACTION_CREATE", &with(slash.clone(), "/token", json!("a/b"))).is_err());
        assert_eq!(heard("INTERACTION_CREATE", &with(slash, "/type", json!(4))), Ok(None));
    }
}
