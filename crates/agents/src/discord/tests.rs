//! The agent's configuration. What it does is tested from outside, on a whole fleet and a server that speaks as Discord does.

use kernel::health::Status;

use super::*;

#[track_caller]
fn refused(config: Config, want: &str) {
    assert_eq!(Discord::new(config).map(|_| ()).unwrap_err().message, want);
}

#[test]
fn the_token_never_goes_over_a_network_in_the_open() {
    let at = |api: &str| Config { api: api.into(), ..Config::default() };
    refused(at("http://discord.com/api/v10"), "agents.discord.api: not https");
    refused(at("https://x/?a=b"), "agents.discord.api: an address with a query");
    assert!(Discord::new(at("http://[::1]:9/api")).is_ok() && Discord::new(at("https://proxy.example/api")).is_ok());
    assert!(Discord::new(at("https://user@discord.com/")).is_err() && Discord::new(at("ftp://x")).is_err());
}

#[test]
fn what_is_no_id_is_refused_and_a_placeholder_is_nothing() {
    let guild = |text: &str| Config { guild: text.into(), ..Config::default() };
    refused(guild("ops"), "agents.discord.guild is `ops`, which is no id of Discord's");
    assert!(Discord::new(guild("channel_id")).is_ok());
    refused(Config { confirm_seconds: 4, ..Config::default() }, "agents.discord.confirm_seconds is 4");
}

#[test]
fn without_a_token_it_is_off_and_well() {
    for token in [None, Some(""), Some("your_bot_token_here")] {
        let secrets = Secrets { discord_token: token.map(Secret::new) };
        let agent = Discord::new(Config::default()).unwrap().given(&secrets).unwrap();
        let check = agent.checks().remove(0);
        assert_eq!((check.status, check.detail.as_str()), (Status::Healthy, "off: there is no DISCORD_BOT_TOKEN"));
    }
}
