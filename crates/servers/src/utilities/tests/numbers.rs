//! Units, arithmetic, time, UUIDs.

use expect_test::expect;
use num_bigint::BigInt;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::{admin, viewer};

async fn units(amount: &str, from: Value, to: Value, expected: Expect) {
    check("convert_units", json!({ "amount": amount, "from": from, "to": to }), expected).await;
}

#[tokio::test]
async fn units_convert_exactly() {
    units(
        "1.5",
        json!("ether"),
        json!("gwei"),
        expect![[r#"{"amount":"1500000000","smallest":"1500000000000000000","smallest_hex":"0x14d1120d7b160000"}"#]],
    )
    .await;
    units(
        "1",
        json!("wei"),
        json!("ether"),
        expect![[r#"{"amount":"0.000000000000000001","smallest":"1","smallest_hex":"0x1"}"#]],
    )
    .await;
    units("123456789012345678901234567890.123456789", json!("Gwei"), json!("ether"), expect![[r#"{"amount":"123456789012345678901.234567890123456789","smallest":"123456789012345678901234567890123456789","smallest_hex":"0x5ce0e9a56015fec5aadfa328ae398115"}"#]]).await;
    units(
        "2500000",
        json!(0),
        json!(6),
        expect![[r#"{"amount":"2.5","smallest":"2500000","smallest_hex":"0x2625a0"}"#]],
    )
    .await;
    units(
        "1e3",
        json!("gwei"),
        json!("wei"),
        expect![[r#"{"amount":"1000000000000","smallest":"1000000000000","smallest_hex":"0xe8d4a51000"}"#]],
    )
    .await;
    units("0.000", json!("ether"), json!("wei"), expect![[r#"{"amount":"0","smallest":"0","smallest_hex":"0x0"}"#]])
        .await;
    units("1", json!(77), json!(0), expect![[r#"{"amount":"100000000000000000000000000000000000000000000000000000000000000000000000000000","smallest":"100000000000000000000000000000000000000000000000000000000000000000000000000000","smallest_hex":"0xdd15fe86affad91249ef0eb713f39ebeaa987b6e6fd2a0000000000000000000"}"#]]).await;
}

#[tokio::test]
async fn units_refuse_what_is_no_amount() {
    units("1.5", json!("wei"), json!("ether"), expect!["invalid_argument: amount 1.5 has more decimals (1) than its unit (0) (there is nothing smaller than the smallest unit: round it first)"]).await;
    units("0.0000000001", json!("gwei"), json!("wei"), expect!["invalid_argument: amount 0.0000000001 has more decimals (10) than its unit (9) (there is nothing smaller than the smallest unit: round it first)"]).await;
    units(
        "-1",
        json!("ether"),
        json!("wei"),
        expect!["invalid_argument: amount -1 is negative (an amount of zero or more)"],
    )
    .await;
    units(
        "",
        json!("ether"),
        json!("wei"),
        expect!["invalid_argument: amount: not a decimal number: `` (digits like 12 or -0.5 or 1e18)"],
    )
    .await;
    units(
        "1,5",
        json!("ether"),
        json!("wei"),
        expect!["invalid_argument: amount: not a decimal number: `1,5` (digits like 12 or -0.5 or 1e18)"],
    )
    .await;
    units(
        "0x10",
        json!("ether"),
        json!("wei"),
        expect!["invalid_argument: amount: not a decimal number: `0x10` (digits like 12 or -0.5 or 1e18)"],
    )
    .await;
    units(
        "lots",
        json!("ether"),
        json!("wei"),
        expect!["invalid_argument: amount: not a decimal number: `lots` (digits like 12 or -0.5 or 1e18)"],
    )
    .await;
    units("1", json!("eth"), json!("wei"), expect![[r#"invalid_argument: arguments.from: invalid value: string "eth", expected one of wei, kwei, mwei, gwei, szabo, finney, ether, or a number of decimals from 0 to 77 (the tool's inputSchema says what it takes)"#]]).await;
    units("1", json!(78), json!("wei"), expect!["invalid_argument: arguments.from: invalid value: integer `78`, expected one of wei, kwei, mwei, gwei, szabo, finney, ether, or a number of decimals from 0 to 77 (the tool's inputSchema says what it takes)"]).await;
    units("1", json!(1.5), json!("wei"), expect!["invalid_argument: arguments.from: invalid type: floating point `1.5`, expected one of wei, kwei, mwei, gwei, szabo, finney, ether, or a number of decimals from 0 to 77 (the tool's inputSchema says what it takes)"]).await;
    units(&"9".repeat(201), json!("ether"), json!("wei"), expect!["too_large: amount has 201 bytes (at most 200)"])
        .await;
    units(
        "1e60",
        json!("ether"),
        json!("wei"),
        expect!["invalid_argument: amount `1e60` does not fit 256 bits (no token has so much: look at the unit)"],
    )
    .await;
    check("convert_units", json!({ "amount": 1, "from": "wei", "to": "wei" }), expect!["invalid_argument: arguments.amount: invalid type: integer `1`, expected a string (the tool's inputSchema says what it takes)"]).await;
    check(
        "convert_units",
        json!({ "amount": "1", "to": "wei" }),
        expect!["invalid_argument: arguments: missing field `from` (the tool's inputSchema says what it takes)"],
    )
    .await;
    check("convert_units", json!({ "amount": "1", "from": "wei", "to": "wei", "too": 1 }), expect!["invalid_argument: arguments.too: unknown field `too`, expected one of `amount`, `from`, `to` (the tool's inputSchema says what it takes)"]).await;
}

async fn calc(expression: &str, expected: Expect) {
    check("calculate", json!({ "expression": expression }), expected).await;
}

#[tokio::test]
async fn arithmetic_is_exact() {
    calc("0.1 + 0.2", expect![[r#"{"result":"0.3","kind":"decimal","exact":true}"#]]).await;
    calc("1/3 + 1/6", expect![[r#"{"result":"0.5","kind":"decimal","exact":true}"#]]).await;
    calc(
        "2/3",
        expect![[r#"{"result":"2/3","kind":"fraction","exact":true,"approximation":"0.66666666666666666667"}"#]],
    )
    .await;
    calc("2 ** 256 - 1", expect![[r#"{"result":"115792089237316195423570985008687907853269984665640564039457584007913129639935","kind":"integer","exact":true}"#]]).await;
    calc("0xff * 1_000", expect![[r#"{"result":"255000","kind":"integer","exact":true}"#]]).await;
    calc("-2 ** 2", expect![[r#"{"result":"-4","kind":"integer","exact":true}"#]]).await;
    calc("2 ** 3 ** 2", expect![[r#"{"result":"512","kind":"integer","exact":true}"#]]).await;
    calc("2 ** -2", expect![[r#"{"result":"0.25","kind":"decimal","exact":true}"#]]).await;
    calc("(-1) ** 3", expect![[r#"{"result":"-1","kind":"integer","exact":true}"#]]).await;
    calc("0 ** 0", expect![[r#"{"result":"1","kind":"integer","exact":true}"#]]).await;
    calc("-7 / 2", expect![[r#"{"result":"-3.5","kind":"decimal","exact":true}"#]]).await;
    calc("-7 // 2", expect![[r#"{"result":"-4","kind":"integer","exact":true}"#]]).await;
    calc("-7 % 3", expect![[r#"{"result":"-1","kind":"integer","exact":true}"#]]).await;
    calc("7.5 % 2", expect![[r#"{"result":"1.5","kind":"decimal","exact":true}"#]]).await;
    calc("1e18 * 3000.25", expect![[r#"{"result":"3000250000000000000000","kind":"integer","exact":true}"#]]).await;
    calc("1e-18", expect![[r#"{"result":"0.000000000000000001","kind":"decimal","exact":true}"#]]).await;
    calc("  ( 1 + 2 ) * 3 ", expect![[r#"{"result":"9","kind":"integer","exact":true}"#]]).await;
    calc("1 - -1", expect![[r#"{"result":"2","kind":"integer","exact":true}"#]]).await;
    calc("10 / 4 == 2.5", expect![[r#"{"result":"true","kind":"boolean","exact":true}"#]]).await;
    calc("1/3 < 0.3333", expect![[r#"{"result":"false","kind":"boolean","exact":true}"#]]).await;
    calc("1 != 1", expect![[r#"{"result":"false","kind":"boolean","exact":true}"#]]).await;
}

#[tokio::test]
async fn functions_say_when_they_cut_off() {
    calc("sqrt(16)", expect![[r#"{"result":"4","kind":"integer","exact":true}"#]]).await;
    calc("sqrt(2)", expect![[r#"{"result":"1","kind":"integer","exact":false}"#]]).await;
    calc("sqrt(2, 18)", expect![[r#"{"result":"1.414213562373095048","kind":"decimal","exact":false}"#]]).await;
    calc("sqrt(1/4)", expect![[r#"{"result":"0.5","kind":"decimal","exact":true}"#]]).await;
    calc("root(-27, 3)", expect![[r#"{"result":"-3","kind":"integer","exact":true}"#]]).await;
    calc("root(10, 3, 5)", expect![[r#"{"result":"2.15443","kind":"decimal","exact":false}"#]]).await;
    calc("min(3, 1/2, 2) + max(1, 4)", expect![[r#"{"result":"4.5","kind":"decimal","exact":true}"#]]).await;
    calc("abs(-5) * sign(-2)", expect![[r#"{"result":"-5","kind":"integer","exact":true}"#]]).await;
    calc("gcd(12, 18, 27)", expect![[r#"{"result":"3","kind":"integer","exact":true}"#]]).await;
    calc("lcm(4, 6)", expect![[r#"{"result":"12","kind":"integer","exact":true}"#]]).await;
    calc("floor(-1.5) + ceil(1.2) + trunc(-1.9)", expect![[r#"{"result":"-1","kind":"integer","exact":true}"#]]).await;
    calc("round(2.675, 2)", expect![[r#"{"result":"2.68","kind":"decimal","exact":true}"#]]).await;
    calc(
        "mean(1, 2, 4)",
        expect![[r#"{"result":"7/3","kind":"fraction","exact":true,"approximation":"2.33333333333333333333"}"#]],
    )
    .await;
    calc("sum(0.1, 0.2, 0.3)", expect![[r#"{"result":"0.6","kind":"decimal","exact":true}"#]]).await;
    calc("factorial(20)", expect![[r#"{"result":"2432902008176640000","kind":"integer","exact":true}"#]]).await;
    calc("powmod(3, 2 ** 100, 1000000007)", expect![[r#"{"result":"870513414","kind":"integer","exact":true}"#]]).await;
    let variables = json!({ "expression": "price * (1 + fee)", "variables": { "price": "1999.99", "fee": "0.003" } });
    check("calculate", variables, expect![[r#"{"result":"2005.98997","kind":"decimal","exact":true}"#]]).await;
    check(
        "calculate",
        json!({ "expression": "1/7", "places": 3 }),
        expect![[r#"{"result":"1/7","kind":"fraction","exact":true,"approximation":"0.143"}"#]],
    )
    .await;
}

#[tokio::test]
async fn arithmetic_refuses_with_a_place_and_a_reason() {
    calc("", expect!["invalid_argument: expression at 0: the end where a number, a name or `(` should be (like (1.5 + 2) * 3 ** 2, or sqrt(2, 18) > 1.4)"]).await;
    calc("1 +", expect!["invalid_argument: expression at 3: the end where a number, a name or `(` should be (like (1.5 + 2) * 3 ** 2, or sqrt(2, 18) > 1.4)"]).await;
    calc("(1", expect!["invalid_argument: expression at 2: the end where `)` should be (like (1.5 + 2) * 3 ** 2, or sqrt(2, 18) > 1.4)"]).await;
    calc("1 2", expect!["invalid_argument: expression at 2: `2` where an operator, or the end should be (like (1.5 + 2) * 3 ** 2, or sqrt(2, 18) > 1.4)"]).await;
    calc("2 ^ 3", expect!["invalid_argument: expression at 2: `^` (a power is **)"]).await;
    calc("1 / 0", expect!["invalid_argument: division by zero (the right side of /, // and % must not be 0)"]).await;
    calc("1 % 0", expect!["invalid_argument: division by zero (the right side of /, // and % must not be 0)"]).await;
    calc("0 ** -1", expect!["invalid_argument: 0 to a negative power (that is a division by zero)"]).await;
    calc(
        "2 ** 0.5",
        expect!["invalid_argument: the exponent is not a whole number (for roots use sqrt(x) or root(x, n))"],
    )
    .await;
    calc("sqrt(-1)", expect!["invalid_argument: sqrt of a negative number (a number of zero or more)"]).await;
    calc("sqrt()", expect!["invalid_argument: expression at 5: `)` where a number, a name or `(` should be (like (1.5 + 2) * 3 ** 2, or sqrt(2, 18) > 1.4)"]).await;
    calc(
        "gcd(1.5, 2)",
        expect!["invalid_argument: gcd of a number that is not whole (floor, ceil, trunc or round it first)"],
    )
    .await;
    calc("sqr(4)", expect!["invalid_argument: unknown function `sqr` (did you mean sqrt? there are abs, ceil, factorial, floor, gcd, lcm, max, mean, min, powmod, root, round, sign, sqrt, sum, trunc)"]).await;
    calc("x + 1", expect!["invalid_argument: unknown variable `x` (give it in variables)"]).await;
    calc("sqrt + 1", expect!["invalid_argument: unknown variable `sqrt` (a function is called with parentheses)"])
        .await;
    calc("1 < 2 < 3", expect!["invalid_argument: expression at 6: `<` where an operator, or the end should be (like (1.5 + 2) * 3 ** 2, or sqrt(2, 18) > 1.4)"]).await;
    calc(
        "max(1 < 2, 3)",
        expect!["invalid_argument: a comparison inside an expression (compare at the outermost level only)"],
    )
    .await;
    calc(
        "1__0",
        expect!["invalid_argument: expression at 0: not a number: `1__0` (like 12, 0.5, 1e18, 1_000 or 0xff)"],
    )
    .await;
    calc(
        "0xzz",
        expect!["invalid_argument: expression at 0: not a number: `0xzz` (like 12, 0.5, 1e18, 1_000 or 0xff)"],
    )
    .await;
    calc(
        "1.2.3",
        expect!["invalid_argument: expression at 0: not a decimal number: `1.2.3` (digits like 12 or -0.5 or 1e18)"],
    )
    .await;
    calc("é", expect!["invalid_argument: expression at 0: `é` where a number, a name or `(` should be (like (1.5 + 2) * 3 ** 2, or sqrt(2, 18) > 1.4)"]).await;
}

#[tokio::test]
async fn arithmetic_is_bounded() {
    calc(
        "2 ** 1000000",
        expect![
            "too_large: a number on the way has more than about 30,000 digits (stay below; powmod keeps powers small)"
        ],
    )
    .await;
    calc(
        "9 ** 9 ** 9",
        expect![
            "too_large: a number on the way has more than about 30,000 digits (stay below; powmod keeps powers small)"
        ],
    )
    .await;
    calc("factorial(5001)", expect!["invalid_argument: factorial of a negative or too great a number (0 to 5000)"])
        .await;
    calc(
        "root(2, 1000, 1000)",
        expect![
            "too_large: a number on the way has more than about 30,000 digits (stay below; powmod keeps powers small)"
        ],
    )
    .await;
    calc("powmod(2, 2 ** 10000, 3)", expect!["too_large: powmod: a number of more than 8192 bits (smaller ones)"])
        .await;
    calc(
        &format!("{}1{}", "(".repeat(2_000), ")".repeat(2_000)),
        expect!["too_large: nested too deep (nest less, or recur less)"],
    )
    .await;
    calc(&"-".repeat(4_096), expect!["too_large: nested too deep (nest less, or recur less)"]).await;
    calc(&"1+".repeat(3_000), expect!["too_large: expression has 6000 bytes (at most 4096)"]).await;
    check(
        "calculate",
        json!({ "expression": "1", "places": 1001 }),
        expect!["invalid_argument: places is 1001 (at most 1000)"],
    )
    .await;
    check(
        "calculate",
        json!({ "expression": "x", "variables": { "x": "1/2" } }),
        expect!["invalid_argument: variables.x: not a decimal number: `1/2` (digits like 12 or -0.5 or 1e18)"],
    )
    .await;
}

async fn time(arguments: Value, expected: Expect) {
    check("timestamp", arguments, expected).await;
}

#[tokio::test]
async fn instants_come_in_every_form() {
    time(json!({}), expect![[r#"{"utc":"2026-11-15T08:00:00Z","local":"2026-11-15T08:00:00+00:00","unix_seconds":1794729600,"unix_milliseconds":1794729600000,"unix_nanoseconds":"1794729600000000000","zone":"UTC","offset_seconds":0,"weekday":"sunday","day_of_year":319,"week":"2026-W46","seconds_from_now":0.0}"#]]).await;
    time(json!({ "at": "1700000000" }), expect![[r#"{"utc":"2023-11-14T22:13:20Z","local":"2023-11-14T22:13:20+00:00","unix_seconds":1700000000,"unix_milliseconds":1700000000000,"unix_nanoseconds":"1700000000000000000","zone":"UTC","offset_seconds":0,"weekday":"tuesday","day_of_year":318,"week":"2023-W46","seconds_from_now":-94729600.0}"#]]).await;
    time(json!({ "at": "1700000000123", "zone": "+05:30" }), expect![[r#"{"utc":"2023-11-14T22:13:20.123Z","local":"2023-11-15T03:43:20.123+05:30","unix_seconds":1700000000,"unix_milliseconds":1700000000123,"unix_nanoseconds":"1700000000123000000","zone":"+05:30","offset_seconds":19800,"weekday":"wednesday","day_of_year":319,"week":"2023-W46","seconds_from_now":-94729599.877}"#]]).await;
    time(json!({ "at": "-1", "unit": "milliseconds" }), expect![[r#"{"utc":"1969-12-31T23:59:59.999Z","local":"1969-12-31T23:59:59.999+00:00","unix_seconds":-1,"unix_milliseconds":-1,"unix_nanoseconds":"-1000000","zone":"UTC","offset_seconds":0,"weekday":"wednesday","day_of_year":365,"week":"1970-W01","seconds_from_now":-1794729600.001}"#]]).await;
    time(json!({ "at": "2026-03-29T01:30:00+01:00", "add": "1h", "zone": "Europe/Zurich" }), expect![[r#"{"utc":"2026-03-29T01:30:00Z","local":"2026-03-29T03:30:00+02:00","unix_seconds":1774747800,"unix_milliseconds":1774747800000,"unix_nanoseconds":"1774747800000000000","zone":"Europe/Zurich","offset_seconds":7200,"weekday":"sunday","day_of_year":88,"week":"2026-W13","seconds_from_now":-19981800.0}"#]]).await;
    time(json!({ "at": "2024-01-31", "add": "P1M", "zone": "America/New_York" }), expect![[r#"{"utc":"2024-02-29T05:00:00Z","local":"2024-02-29T00:00:00-05:00","unix_seconds":1709182800,"unix_milliseconds":1709182800000,"unix_nanoseconds":"1709182800000000000","zone":"America/New_York","offset_seconds":-18000,"weekday":"thursday","day_of_year":60,"week":"2024-W09","seconds_from_now":-85546800.0}"#]]).await;
    time(json!({ "at": "2026-11-15T08:00:00.5Z", "add": "-2 weeks" }), expect![[r#"{"utc":"2026-11-01T08:00:00.5Z","local":"2026-11-01T08:00:00.5+00:00","unix_seconds":1793520000,"unix_milliseconds":1793520000500,"unix_nanoseconds":"1793520000500000000","zone":"UTC","offset_seconds":0,"weekday":"sunday","day_of_year":305,"week":"2026-W44","seconds_from_now":-1209599.5}"#]]).await;
    time(json!({ "until": "2026-12-25" }), expect![[r#"{"utc":"2026-11-15T08:00:00Z","local":"2026-11-15T08:00:00+00:00","unix_seconds":1794729600,"unix_milliseconds":1794729600000,"unix_nanoseconds":"1794729600000000000","zone":"UTC","offset_seconds":0,"weekday":"sunday","day_of_year":319,"week":"2026-W46","seconds_from_now":0.0,"until":{"milliseconds":3427200000,"text":"39d 16h"}}"#]]).await;
    time(json!({ "at": "2026-11-15T10:00:00Z", "until": "2026-11-13T08:59:58.5Z" }), expect![[r#"{"utc":"2026-11-15T10:00:00Z","local":"2026-11-15T10:00:00+00:00","unix_seconds":1794736800,"unix_milliseconds":1794736800000,"unix_nanoseconds":"1794736800000000000","zone":"UTC","offset_seconds":0,"weekday":"sunday","day_of_year":319,"week":"2026-W46","seconds_from_now":7200.0,"until":{"milliseconds":-176401500,"text":"2d 1h 1s 500ms ago"}}"#]]).await;
}

#[tokio::test]
async fn instants_refuse_what_is_none() {
    time(json!({ "at": "tomorrow" }), expect!["invalid_argument: at is not an instant: `tomorrow` (now, RFC 3339 like 2026-11-15T08:00:00Z, a date, or a Unix time in digits)"]).await;
    time(json!({ "at": "2026-02-30" }), expect!["invalid_argument: at is not an instant: `2026-02-30` (now, RFC 3339 like 2026-11-15T08:00:00Z, a date, or a Unix time in digits)"]).await;
    time(json!({ "at": "99999999999999999999999999999999999999999" }), expect!["invalid_argument: at is out of range: `99999999999999999999999999999999999999999` (years from -9999 to 9999; say the unit)"]).await;
    time(json!({ "add": "a while" }), expect![[r#"invalid_argument: add: failed to parse input in the "friendly" duration format: expected duration to start with a unit value (a decimal integer) after an optional sign, but no integer was found (like 90 minutes, 1d 12h, -2 weeks or PT36H)"#]]).await;
    time(json!({ "add": "99999 years" }), expect![[r#"invalid_argument: add: failed to parse input in the "friendly" duration format: failed to set value for year unit on span: parameter 'years' is not in the required range of -19998..=19998 (like 90 minutes, 1d 12h, -2 weeks or PT36H)"#]]).await;
    time(json!({ "add": "19000 years" }), expect!["invalid_argument: add: failed to add span to datetime from zoned datetime: failed to add span to date: parameter 'year' is not in the required range of -9999..=9999 (years from -9999 to 9999)"]).await;
    time(
        json!({ "zone": "Mars/Olympus" }),
        expect![
            "invalid_argument: unknown zone `Mars/Olympus` (UTC, an offset like +02:00, or a name like Europe/Zurich)"
        ],
    )
    .await;
    time(
        json!({ "zone": "+25:00" }),
        expect!["invalid_argument: unknown zone `+25:00` (UTC, an offset like +02:00, or a name like Europe/Zurich)"],
    )
    .await;
    time(json!({ "at": 1700000000 }), expect!["invalid_argument: arguments.at: invalid type: integer `1700000000`, expected a string (the tool's inputSchema says what it takes)"]).await;
}

#[tokio::test]
async fn uuids_are_random_or_sorted() {
    let bench = bench();
    for (version, digit) in [(UuidVersion::V4, "4"), (UuidVersion::V7, "7")] {
        let request = UuidRequest { count: 1_000, version };
        let made = bench.call(&viewer("ann"), UUID, request).await.unwrap().uuids;
        let distinct: std::collections::HashSet<&String> = made.iter().collect();
        assert_eq!(distinct.len(), 1_000);
        assert!(made.iter().all(|uuid| uuid.len() == 36 && &uuid[14..15] == digit && "89ab".contains(&uuid[19..20])));
    }
    let at = |made: UuidResponse| made.uuids[0][..13].to_owned();
    let request = || UuidRequest { count: 1, version: UuidVersion::V7 };
    let first = at(bench.call(&admin(), UUID, request()).await.unwrap());
    bench.world.clock.advance_ms(1);
    assert!(first < at(bench.call(&admin(), UUID, request()).await.unwrap()));
    bench.check("uuid", json!({ "count": 0 }), expect!["invalid_argument: count is 0 (1 to 1,000)"]).await;
    bench.check("uid", json!({}), expect!["unknown tool: uid; did you mean `uuid`? (-32602)"]).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn units_go_there_and_back(amount in any::<u128>(), from in 0u32..=30, to in 0u32..=77) {
        let bench = bench();
        let convert = |amount: String, from: u32, to: u32| {
            let unit = |decimals: u32| serde_json::from_value(json!(decimals)).unwrap();
            let request = ConvertUnitsRequest { amount, from: unit(from), to: unit(to) };
            run(bench.call(&admin(), CONVERT_UNITS, request)).unwrap()
        };
        let there = convert(amount.to_string(), from, to);
        prop_assert_eq!(&there.smallest, &(BigInt::from(amount) * BigInt::from(10).pow(from)).to_string());
        prop_assert_eq!(convert(there.amount, to, from).amount, amount.to_string());
    }

    #[test]
    fn arithmetic_agrees_with_big_integers(a in any::<i128>(), b in any::<i128>(), c in 0u32..40) {
        let bench = bench();
        let value = |expression: String| {
            let request = CalculateRequest { expression, ..CalculateRequest::default() };
            run(bench.call(&admin(), CALCULATE, request)).unwrap().result
        };
        let (x, y) = (BigInt::from(a), BigInt::from(b));
        prop_assert_eq!(value(format!("({a}) * ({b}) + {c}")), (&x * &y + c).to_string());
        prop_assert_eq!(value(format!("({a}) - ({b})")), (&x - &y).to_string());
        prop_assert_eq!(value(format!("({a}) ** {c}")), x.pow(c).to_string());
        prop_assert_eq!(value(format!("({a}) > ({b})")), (x > y).to_string());
        if b != 0 {
            prop_assert_eq!(value(format!("trunc(({a}) / ({b}))")), (&x / &y).to_string());
            prop_assert_eq!(value(format!("({a}) % ({b})")), (&x % &y).to_string());
            prop_assert_eq!(value(format!("({a}) / ({b}) * ({b})")), x.to_string());
        }
    }

    #[test]
    fn any_text_is_a_value_or_a_refusal(expression in "[-+*/%()<>=!.,0-9a-zé ]{0,40}") {
        run(bench().shown(&admin(), "calculate", json!({ "expression": expression })));
    }
}
