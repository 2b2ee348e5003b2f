//! What both wire formats have in common: an answer that grows event by event.

use kernel::models::{CALLS_MAX, SAID_BYTES_MAX, Stop, ToolCall, Usage};
use kernel::{Code, Fault};

use crate::retry::Trouble;

/// The tool by which a model that knows no schemas of answers gives one.
pub(crate) const ANSWER: &str = "answer";

/// An answer so far.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    pub(crate) text: String,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) stop: Option<Stop>,
    pub(crate) usage: Usage,
    /// Whether the provider has said that this was all.
    pub(crate) whole: bool,
    /// Where the next piece of the open call goes; Anthropic counts blocks of all kinds.
    pub(crate) open: Option<(u64, usize)>,
}

/// What an event brought.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// More words.
    pub(crate) words: String,
}

impl Folded {
    /// Whether the model has said anything yet: from then on nothing is asked again.
    pub(crate) fn begun(&self) -> bool {
        !self.text.is_empty() || !self.calls.is_empty()
    }

    pub(crate) fn say(&mut self, words: &str) -> Result<News, Trouble> {
        self.text.push_str(words);
        self.check_size()?;
        Ok(News { words: words.to_owned() })
    }

    pub(crate) fn call(&mut self, id: &str, name: &str) -> Result<usize, Trouble> {
        if self.calls.len() >= CALLS_MAX {
            return Err(Trouble::never(Fault::too_large(format!(
                "the model wants more than {CALLS_MAX} calls at once"
            ))));
        }
        self.calls.push(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments: String::new() });
        Ok(self.calls.len() - 1)
    }

    pub(crate) fn argue(&mut self, place: usize, piece: &str) -> Result<News, Trouble> {
        if let Some(call) = self.calls.get_mut(place) {
            call.arguments.push_str(piece);
        }
        self.check_size()?;
        Ok(News::default())
    }

    fn check_size(&self) -> Result<(), Trouble> {
        let size = self.text.len() + self.calls.iter().map(|call| call.arguments.len()).sum::<usize>();
        if size <= SAID_BYTES_MAX {
            return Ok(());
        }
        Err(Trouble::never(Fault::too_large(format!("the answer is larger than {SAID_BYTES_MAX} bytes"))))
    }

    /// Puts an answer that came by the tool [`ANSWER`] where words belong.
    pub(crate) fn unwrap_answer(&mut self) {
        if let Some(place) = self.calls.iter().position(|call| call.name == ANSWER) {
            self.text = self.calls.swap_remove(place).arguments;
            if self.calls.is_empty() && self.stop == Some(Stop::Tools) {
                self.stop = Some(Stop::End);
            }
        }
    }
}

/// An event that is not of the documented form.
pub(crate) fn unreadable(what: &dyn std::fmt::Display) -> Trouble {
    Trouble::never(Fault::upstream(format!("an event of the answer cannot be read: {what}")))
}

/// What a provider says went wrong, by its own word for it.
pub(crate) fn named_trouble(kind: &str, words: &str) -> Trouble {
    let said = format!("{kind}: {words}");
    match kind {
        "overloaded_error" | "api_error" | "server_error" => Trouble::later(Fault::unavailable(said)),
        "rate_limit_error" | "rate_limit_exceeded" => Trouble::later(Fault::new(Code::RateLimited, said)),
        "timeout_error" => Trouble::later(Fault::timeout(said)),
        _ => Trouble::never(Fault::upstream(said)),
    }
}
