//! How anything here says no: a stable code, what went wrong and on what, and what would be right.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The result of every port and every fallible function above it.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

/// What kind of refusal or failure. Part of the public contract: a code never changes its name or meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The input is wrong; the message says where and what would be right.
    InvalidArgument,
    /// The thing named does not exist.
    NotFound,
    /// A thing of that name exists already.
    AlreadyExists,
    /// Somebody else changed it first (a compare-and-set lost), or it is held by another.
    Conflict,
    /// No credentials, or ones that do not verify.
    Unauthenticated,
    /// The caller's role does not allow it.
    PermissionDenied,
    /// Too many calls; `retry_after_ms` in the data says when to come back.
    RateLimited,
    /// A body, a range or an answer is larger than its limit.
    TooLarge,
    /// It took longer than its limit.
    Timeout,
    /// The caller took the request back.
    Cancelled,
    /// The part that would answer is not reachable now; trying later may work.
    Unavailable,
    /// The part exists, but was never configured; the hint names the setting.
    NotConfigured,
    /// It cannot be done here by design.
    Unsupported,
    /// An upstream answered, but with a failure or with something that is not an answer.
    Upstream,
    /// A contract reverted; the reason is decoded in the message.
    Reverted,
    /// Held back until a person approves it.
    Quarantined,
    /// A bug of ours.
    Internal,
}

impl Code {
    /// The code as clients see it, in `snake_case`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "too_large",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Unavailable => "unavailable",
            Self::NotConfigured => "not_configured",
            Self::Unsupported => "unsupported",
            Self::Upstream => "upstream",
            Self::Reverted => "reverted",
            Self::Quarantined => "quarantined",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status a REST answer with this code has.
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidArgument | Self::Reverted => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied | Self::Quarantined => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Cancelled => 499,
            Self::Unsupported => 501,
            Self::Upstream => 502,
            Self::Unavailable | Self::NotConfigured => 503,
            Self::Timeout => 504,
            Self::Internal => 500,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal or a failure.
///
/// The message is lower case, without a full stop: what, and on what. It never holds a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind.
    pub code: Code,
    /// What went wrong, and on what.
    pub message: String,
    /// What would be right, or what to do next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// Machine-readable particulars (a revert's bytes, a limit's figures).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data: Option<Box<Value>>,
}

/// Makes the constructors `Fault::not_found(…)` and so on.
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident,)*) => {
        impl Fault {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self { Self::new(Code::$code, message) })*
        }
    };
}

constructors! {
    /// See [`Code::InvalidArgument`].
    invalid => InvalidArgument,
    /// See [`Code::NotFound`].
    not_found => NotFound,
    /// See [`Code::AlreadyExists`].
    already_exists => AlreadyExists,
    /// See [`Code::Conflict`].
    conflict => Conflict,
    /// See [`Code::Unauthenticated`].
    unauthenticated => Unauthenticated,
    /// See [`Code::PermissionDenied`].
    denied => PermissionDenied,
    /// See [`Code::TooLarge`].
    too_large => TooLarge,
    /// See [`Code::Timeout`].
    timeout => Timeout,
    /// See [`Code::Cancelled`].
    cancelled => Cancelled,
    /// See [`Code::Unavailable`].
    unavailable => Unavailable,
    /// See [`Code::NotConfigured`].
    not_configured => NotConfigured,
    /// See [`Code::Unsupported`].
    unsupported => Unsupported,
    /// See [`Code::Upstream`].
    upstream => Upstream,
    /// See [`Code::Internal`].
    internal => Internal,
}

impl Fault {
    /// A fault of any code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, data: None }
    }

    /// Says what would be right.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds machine-readable particulars.
    #[must_use]
    pub fn data(mut self, data: Value) -> Self {
        self.data = Some(Box::new(data));
        self
    }

    /// Puts what was being done in front of the message.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl std::error::Error for Fault {}

/// Our messages are lower case; other people's libraries' are not.
pub fn lower(message: &str) -> String {
    let mut chars = message.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect::<String>().trim_end_matches('.').to_owned()
}
