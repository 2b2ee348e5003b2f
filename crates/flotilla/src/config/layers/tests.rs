use expect_test::{Expect, expect};

use super::*;

/// Loads a file's text and variables, and shows a key or the fault.
fn check(file: &str, variables: &[(&str, &str)], key: &str, expected: Expect) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flotilla.toml");
    std::fs::write(&path, file).unwrap();
    let mut layers = Layers {
        value: serde_json::to_value(Config::default()).unwrap(),
        origins: BTreeMap::new(),
        secrets: BTreeMap::new(),
    };
    let outcome = layers.file(Some(&path)).and_then(|()| {
        for (name, value) in variables {
            layers.variable(name, value, Origin::Environment((*name).to_owned()))?;
        }
        let config = layers.read::<Config>()?;
        config.check()
    });
    let shown = match outcome {
        Ok(()) => {
            let value = key.split('.').fold(&layers.value, |here, part| &here[part]);
            format!("{value} from {}", layers.origins.get(key).cloned().unwrap_or(Origin::Default))
        }
        Err(fault) => fault.to_string(),
    };
    expected.assert_eq(&shown.replace(&path.display().to_string(), "flotilla.toml"));
}

#[test]
fn later_layers_win() {
    check("", &[], "http.bind", expect![[r#""127.0.0.1" from default"#]]);
    check("[http]\nbind = \"::1\"", &[], "http.bind", expect![[r#""::1" from flotilla.toml"#]]);
    check(
        "[http]\nbind = \"::1\"",
        &[("FLOTILLA_HTTP__BIND", "127.0.0.2")],
        "http.bind",
        expect![[r#""127.0.0.2" from environment variable FLOTILLA_HTTP__BIND"#]],
    );
}

#[test]
fn the_originals_variables_are_honoured() {
    check(
        "",
        &[("FLOTILLA_DATA_DIR", "/data")],
        "fleet.data_dir",
        expect![[r#""/data" from environment variable FLOTILLA_DATA_DIR"#]],
    );
}

#[test]
fn the_currency_is_one_key() {
    check("[market]\ncurrency = \"EUR\"", &[], "market.currency", expect![[r#""EUR" from flotilla.toml"#]]);
    check(
        "[servers.production]\ncurrency = \"EUR\"",
        &[],
        "",
        expect![
            "invalid_argument: servers.production.currency: the key is market.currency now (from flotilla.toml) (set market.currency, once for the whole fleet, and take servers.production.currency out)"
        ],
    );
    check(
        "",
        &[("FLOTILLA_SERVERS__RISK_MANAGEMENT__CURRENCY", "EUR")],
        "",
        expect![
            "invalid_argument: servers.risk-management.currency: the key is market.currency now (from environment variable FLOTILLA_SERVERS__RISK_MANAGEMENT__CURRENCY) (set market.currency, once for the whole fleet, and take servers.risk-management.currency out)"
        ],
    );
    check(
        "[market]\ncurrency = \"dollars\"",
        &[],
        "",
        expect!["invalid_argument: market.currency is `dollars` (a symbol like USD, EUR or ETH)"],
    );
}

#[test]
fn says_what_was_meant() {
    check(
        "[http]\nbnd = \"::1\"",
        &[],
        "",
        expect![
            "invalid_argument: http.bnd: unknown field `bnd`, expected one of `bind`, `ports`, `hosts`, `origins`, `advertise`, `tls_cert`, `tls_key` (from flotilla.toml) (did you mean `bind`?)"
        ],
    );
    check(
        "[supervision]\ngive_up_after = \"many\"",
        &[],
        "",
        expect![[
            r#"invalid_argument: supervision.give_up_after: invalid type: string "many", expected u32 (from flotilla.toml)"#
        ]],
    );
    check(
        "[http]\nbind = \"0.0.0.0\"\n[auth]\nanonymous_role = \"viewer\"",
        &[],
        "",
        expect![[
            r#"invalid_argument: auth.anonymous_role is set while http.bind is 0.0.0.0 (callers without a key are only let in on loopback: set http.bind = "127.0.0.1", or give them keys)"#
        ]],
    );
}
