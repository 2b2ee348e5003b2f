//! Trading: what it came to, what it risks, how quick it is, and the chain it stands on.

use super::Kind::{Lines, Number, Table};
use super::{Dashboard, Panel};

pub(super) const TRADING: Dashboard = Dashboard {
    uid: "flotilla-trading",
    title: "Trading",
    about: "Profit, exposure, trades and their speed, and the chain. Values are in the reference currency.",
    variables: &[],
    rows: &[
        (
            "Books",
            &[
                Panel(
                    "Realised profit",
                    Number,
                    "short",
                    6,
                    &[("max by (mode) (flotilla_profit_reference)", "{{mode}}")],
                ),
                Panel(
                    "Below its peak",
                    Number,
                    "short",
                    6,
                    &[("max by (mode) (flotilla_drawdown_reference)", "{{mode}}")],
                ),
                Panel(
                    "Held open",
                    Number,
                    "short",
                    6,
                    &[("max by (mode) (flotilla_open_notional_reference)", "{{mode}}")],
                ),
                Panel("Kill switch", Number, "bool_on_off", 6, &[("max(flotilla_kill_switch)", "")]),
                Panel("Profit", Lines, "short", 12, &[("max by (mode) (flotilla_profit_reference)", "{{mode}}")]),
                Panel(
                    "Risk",
                    Lines,
                    "short",
                    12,
                    &[
                        ("max by (mode) (flotilla_open_notional_reference)", "{{mode}} open"),
                        ("max by (mode) (flotilla_drawdown_reference)", "{{mode}} below the peak"),
                    ],
                ),
            ],
        ),
        (
            "Trades",
            &[
                Panel(
                    "Trades by outcome",
                    Lines,
                    "ops",
                    8,
                    &[(
                        "sum by (strategy, mode, outcome) (rate(flotilla_trades_total[$__rate_interval]))",
                        "{{strategy}} {{mode}} {{outcome}}",
                    )],
                ),
                Panel(
                    "Transactions by state",
                    Lines,
                    "ops",
                    8,
                    &[("sum by (state) (rate(flotilla_intents_total[$__rate_interval]))", "{{state}}")],
                ),
                Panel(
                    "Trades in all",
                    Table,
                    "short",
                    8,
                    &[(
                        "sum by (strategy, mode, outcome) (flotilla_trades_total)",
                        "{{strategy}} {{mode}} {{outcome}}",
                    )],
                ),
                Panel(
                    "From a block to the decision",
                    Lines,
                    "s",
                    8,
                    &[
                        (
                            "histogram_quantile(0.5, sum by (le) (rate(flotilla_trade_decided_seconds_bucket[$__rate_interval])))",
                            "half",
                        ),
                        (
                            "histogram_quantile(0.95, sum by (le) (rate(flotilla_trade_decided_seconds_bucket[$__rate_interval])))",
                            "95 of 100",
                        ),
                    ],
                ),
                Panel(
                    "From a block to the pool of transactions",
                    Lines,
                    "s",
                    8,
                    &[
                        (
                            "histogram_quantile(0.5, sum by (le) (rate(flotilla_trade_submitted_seconds_bucket[$__rate_interval])))",
                            "half",
                        ),
                        (
                            "histogram_quantile(0.95, sum by (le) (rate(flotilla_trade_submitted_seconds_bucket[$__rate_interval])))",
                            "95 of 100",
                        ),
                    ],
                ),
                Panel(
                    "What should not be",
                    Lines,
                    "short",
                    8,
                    &[
                        (
                            "sum(increase(flotilla_trade_differences_total[$__rate_interval]))",
                            "otherwise than predicted",
                        ),
                        (
                            "sum(increase(flotilla_trades_taken_back_total[$__rate_interval]))",
                            "taken back by a reorganisation",
                        ),
                    ],
                ),
            ],
        ),
        (
            "Chain",
            &[
                Panel("Newest block", Lines, "none", 6, &[("max(flotilla_chain_head_block)", "block")]),
                Panel(
                    "Reorganisations",
                    Lines,
                    "short",
                    6,
                    &[("max(increase(flotilla_chain_reorgs_total[$__rate_interval]))", "seen")],
                ),
                Panel(
                    "Requests to nodes",
                    Lines,
                    "reqps",
                    6,
                    &[(
                        "sum by (endpoint, outcome) (rate(flotilla_rpc_requests_total[$__rate_interval]))",
                        "{{endpoint}} {{outcome}}",
                    )],
                ),
                Panel(
                    "Time of nodes, 95 of 100",
                    Lines,
                    "s",
                    6,
                    &[(
                        "histogram_quantile(0.95, sum by (server, le) (rate(flotilla_rpc_seconds_bucket[$__rate_interval])))",
                        "{{server}}",
                    )],
                ),
            ],
        ),
    ],
};
