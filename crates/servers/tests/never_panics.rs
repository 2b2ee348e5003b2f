//! The fuzz targets of log intake, figures and queries, for a moment on every run: on arbitrary bytes, and on bytes that look like what
//! the parsers read.

#[path = "../../../fuzz/figures.rs"]
mod figures;

use proptest::prelude::*;

fn any_of(pieces: &[&str]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
    let piece = prop_oneof![8 => prop::sample::select(pieces), 1 => prop::collection::vec(any::<u8>(), 0..4)];
    let likely = prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat());
    prop_oneof![5 => likely, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    any_of(&[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\n",
        "\"",
        "\\",
        "null",
        "1794729600000000000",
        "\"1794729600000000000\"",
        "\"streams\":[",
        "\"stream\":{",
        "\"values\":[[",
        "\"resourceLogs\":[",
        "\"scopeLogs\":[",
        "\"logRecords\":[",
        "\"attributes\":[",
        "\"key\":",
        "\"value\":",
        "\"stringValue\":",
        "\"body\":",
        "\"traceId\":",
        "\"level\":",
        "\"time\":",
        "\"2026-11-15T08:00:00Z\"",
        "\"0af7651916cd43dd8448eb211c80319c\"",
        "\"msg\"",
        "ERROR",
        "é",
        "\u{0}",
        "\x0a",
        "\x12",
    ])
}

fn scrapes() -> impl Strategy<Value = Vec<u8>> {
    any_of(&[
        "a",
        "up",
        "{",
        "}",
        "=",
        "\"",
        "\\",
        ",",
        " ",
        "\n",
        "le=\"+Inf\"",
        "job=\"x\"",
        "1",
        "NaN",
        "+Inf",
        "# TYPE a counter\n",
        "# HELP a",
        "# EOF",
        "é",
        "\t",
    ])
}

fn queries() -> impl Strategy<Value = Vec<u8>> {
    any_of(&[
        "up",
        "calls",
        "{",
        "}",
        "(",
        ")",
        "[5m]",
        "[3m:1m]",
        "a=\"x\"",
        "a=~\".*\"",
        ",",
        " + ",
        " / ",
        " == bool ",
        " and ",
        " or ",
        " unless ",
        " on (a) ",
        " group_left () ",
        " offset 1m",
        " @ 60",
        "sum by (a) ",
        "topk(1, ",
        "rate(",
        "increase(",
        "quantile(0.5, ",
        "histogram_quantile(",
        "label_replace(",
        "absent(",
        "clamp(",
        "1",
        "-",
        "1e400",
        "Inf",
        "é",
        "\"",
        "`",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn intake(bytes in bodies()) {
        figures::intake(&bytes);
    }

    #[test]
    fn exposition(bytes in scrapes()) {
        figures::exposition(&bytes);
    }

    #[test]
    fn promql(bytes in queries()) {
        figures::promql(&bytes);
    }
}
