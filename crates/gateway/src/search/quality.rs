//! Whether people find what they look for: words as they type them, over every tool that the fleet has.

use std::fmt::Write;

use crate::testing::Bench;

/// What is typed, and the tool that must come first: one of several where either is what was meant.
const ASKED: &[(&str, &str)] = &[
    // The chain, in its own words and in others'.
    ("balance of an account", "blockchain-integration__get_balance"),
    ("how much ETH does this address have", "blockchain-integration__get_balance"),
    ("wallet balance", "execution__wallet or blockchain-integration__get_balance"),
    ("erc20 token balance", "blockchain-integration__get_balance"),
    ("get_balance", "blockchain-integration__get_balance"),
    ("getBalance", "blockchain-integration__get_balance"),
    ("latest block", "blockchain-integration__get_block"),
    ("block by number", "blockchain-integration__get_block"),
    ("look up transaction by hash", "blockchain-integration__get_transaction"),
    ("tx receipt", "blockchain-integration__get_receipt"),
    ("why did my transaction fail", "blockchain-integration__get_receipt"),
    ("is the transaction still pending", "blockchain-integration__get_transaction"),
    ("event logs of a contract", "blockchain-integration__get_logs"),
    ("find Transfer events", "blockchain-integration__get_logs"),
    ("read a contract function", "blockchain-integration__call_contract"),
    ("eth_call", "blockchain-integration__call_contract"),
    ("call smart contract view function", "blockchain-integration__call_contract"),
    ("estimate gas", "blockchain-integration__estimate_gas"),
    ("how much gas will it cost", "blockchain-integration__estimate_gas"),
    ("decode calldata", "blockchain-integration__decode_call or utilities__abi_decode"),
    ("decode event log", "blockchain-integration__decode_log"),
    ("encode a function call", "blockchain-integration__encode_call"),
    ("simulate transaction", "blockchain-integration__simulate_transaction"),
    ("dry run a transaction with state overrides", "blockchain-integration__simulate_transaction"),
    ("trace internal calls", "blockchain-integration__trace_transaction"),
    ("token decimals and symbol", "blockchain-integration__token_info"),
    ("erc20 metadata", "blockchain-integration__token_info"),
    ("flash loan providers", "blockchain-integration__flash_loan_providers"),
    ("who lends USDC", "blockchain-integration__flash_loan_providers"),
    ("flash loan fee for an amount", "blockchain-integration__flash_loan_quote"),
    ("proxy implementation address", "blockchain-integration__resolve_contract"),
    ("is this address a contract", "blockchain-integration__resolve_contract"),
    ("which chain are we connected to", "blockchain-integration__chain_status"),
    ("rpc endpoint health", "blockchain-integration__chain_status"),
    ("gas price now", "data-providers__gas_price"),
    // Helpers.
    ("keccak", "utilities__keccak256"),
    ("sha256", "utilities__hash"),
    ("md5 checksum of text", "utilities__hash"),
    ("convert wei to ether", "utilities__convert_units"),
    ("gwei", "utilities__convert_units"),
    ("function selector", "utilities__selector"),
    ("event topic from signature", "utilities__selector or blockchain-integration__decode_log"),
    ("abi encode values", "utilities__abi_encode"),
    ("abi decode", "utilities__abi_decode"),
    ("checksum address", "utilities__checksum_address"),
    ("EIP-55", "utilities__checksum_address"),
    ("base64 encode", "utilities__encode"),
    ("decode base58", "utilities__decode"),
    ("url encoding", "utilities__encode"),
    ("current time", "utilities__timestamp"),
    ("unix timestamp to date", "utilities__timestamp"),
    ("compare two texts", "utilities__diff"),
    ("csv to json", "utilities__csv_to_json"),
    ("export json as csv", "utilities__json_to_csv or logging__export"),
    ("regular expression replace", "utilities__regex"),
    ("regexp", "utilities__regex"),
    ("random uuid", "utilities__uuid"),
    ("generate a guid", "utilities__uuid"),
    ("do some math", "utilities__calculate"),
    ("evaluate an arithmetic expression", "utilities__calculate"),
    ("big number arithmetic", "utilities__calculate"),
    ("validate against json schema", "utilities__validate_json_schema"),
    ("jq query", "utilities__query_json"),
    // Logs.
    ("search logs", "logging__search"),
    ("find errors in the logs of a service", "logging__search"),
    ("follow the log", "logging__tail"),
    ("tail logs", "logging__tail"),
    ("latest log lines", "logging__tail or logging__search"),
    ("templates of similar log messages", "logging__patterns"),
    ("group similar log lines", "logging__patterns"),
    ("error summary", "logging__error_summary"),
    ("what went wrong in the last hour", "logging__error_summary"),
    ("download logs as csv", "logging__export"),
    ("keep logs for 30 days", "logging__set_retention"),
    ("log retention", "logging__set_retention"),
    ("sources of log lines", "logging__sources"),
    ("count log lines per service", "logging__stats"),
    ("lines around a log line", "logging__context"),
    // The fleet.
    ("is everything ok", "master-coordinator__system_status"),
    ("overall system status", "master-coordinator__system_status"),
    ("list servers", "master-coordinator__list_services"),
    ("which services are running", "master-coordinator__list_services"),
    ("status of one service", "master-coordinator__service_status"),
    ("why is a service unhealthy", "master-coordinator__service_status"),
    ("restart a server", "master-coordinator__restart_service"),
    ("reboot monitoring", "master-coordinator__restart_service or recovery__restart"),
    ("run more replicas", "master-coordinator__scale_service"),
    ("scale up", "master-coordinator__scale_service"),
    ("send a command to all services", "master-coordinator__route_command"),
    ("broadcast command", "master-coordinator__route_command"),
    ("recent fleet events", "master-coordinator__list_events"),
    ("what happened", "master-coordinator__list_events"),
    ("list agents", "master-coordinator__list_agents"),
    ("search for a tool", "master-coordinator__find_tools"),
    ("which tool should I use", "master-coordinator__find_tools"),
    ("input schema of a tool", "master-coordinator__describe_tool"),
    ("add third party mcp server", "master-coordinator__add_upstream"),
    ("remove upstream", "master-coordinator__remove_upstream"),
    ("approve changed tool description", "master-coordinator__approve_tool_change"),
    ("list upstream servers", "master-coordinator__list_upstreams"),
    // Slips, other forms, shouting.
    ("simulte transaction", "blockchain-integration__simulate_transaction"),
    ("KECCAK256 HASH", "utilities__keccak256"),
    ("retentoin", "logging__set_retention"),
    ("restarting", "master-coordinator__restart_service or recovery__restart"),
    ("uuids", "utilities__uuid"),
    ("conv units", "utilities__convert_units"),
    // Trading.
    ("find arbitrage", "market-analysis__scan_opportunities"),
    ("arbitrage opportunities", "market-analysis__scan_opportunities"),
    ("backtest a strategy", "market-analysis__backtest"),
    ("best swap route", "dex-services__best_route"),
    ("quote a swap", "dex-services__quote"),
    ("price impact of a trade", "dex-services__price_impact"),
    ("reserves of a pool", "dex-services__pool_state"),
    ("price of ETH", "data-providers__price or data-providers__prices"),
    ("chainlink price feed", "data-providers__oracle_price"),
    ("ohlcv candles", "data-providers__candles"),
    ("start a trading strategy", "production__start_strategy"),
    ("stop all trading", "production__kill_switch"),
    ("resume trading", "production__resume"),
    ("profit and loss", "production__pnl"),
    ("how much did we earn", "production__pnl"),
    ("open positions", "production__positions"),
    ("switch to live mode", "production__set_mode"),
    ("raise a risk limit", "risk-management__set_limits"),
    ("check a trade against the risk rules", "risk-management__check_trade"),
    ("maximum drawdown", "risk-management__drawdown"),
    ("submit a transaction", "execution__submit"),
    ("speed up a stuck transaction", "execution__speed_up"),
    ("cancel a pending submission", "execution__cancel"),
    // Tasks.
    ("enqueue a task", "task-management__submit_task"),
    ("queue depth", "task-management__queues"),
    ("dead letters", "task-management__dead_letters"),
    ("retry a failed task", "task-management__retry_task"),
    ("cancel a task", "task-management__cancel_task"),
    ("run a task every night", "task-management__schedule"),
    ("cron job", "task-management__schedule or scripts__schedule_script"),
    ("pause a schedule", "task-management__pause_schedule"),
    ("list workers", "task-management__workers"),
    // Workflows.
    ("start a workflow", "orchestration__start"),
    ("define a workflow", "orchestration__define_workflow"),
    ("check a workflow for mistakes", "orchestration__validate_workflow"),
    ("approve a workflow step", "orchestration__approve"),
    ("workflow runs", "orchestration__list_runs"),
    ("draw a workflow", "orchestration__diagram"),
    ("history of a workflow run", "orchestration__history"),
    // Recovery.
    ("list incidents", "recovery__incidents"),
    ("timeline of an incident", "recovery__incident"),
    ("escalate an incident", "recovery__escalate_incident"),
    ("take a backup", "recovery__backup"),
    ("restore from backup", "recovery__restore"),
    ("is my backup intact", "recovery__verify_backup"),
    ("roll back configuration", "recovery__rollback_config"),
    ("snapshot of the settings", "recovery__create_snapshot or recovery__list_snapshots"),
    ("open circuit breakers", "recovery__circuit_breakers"),
    ("run a playbook", "recovery__run_playbook"),
    ("chaos test", "recovery__drill"),
    // Scripts.
    ("run a python script", "scripts__run_script or scripts__run_inline"),
    ("execute code", "scripts__run_inline"),
    ("output of a script", "scripts__run_output"),
    ("save a script", "scripts__save_script"),
    // Coordination.
    ("publish a message", "coordination__publish"),
    ("emit an event to a topic", "coordination__publish"),
    ("read messages from a topic", "coordination__read_topic"),
    ("list topics", "coordination__list_topics"),
    ("request reply", "coordination__request or coordination__reply"),
    ("acquire a lock", "coordination__acquire_lock"),
    ("mutex", "coordination__acquire_lock"),
    ("release lock", "coordination__release_lock"),
    ("extend a lock", "coordination__renew_lock"),
    ("leader election", "coordination__campaign or coordination__leader"),
    ("who is the leader", "coordination__leader"),
    ("step down as leader", "coordination__resign"),
    ("barrier", "coordination__barrier"),
    ("store a value under a key", "coordination__kv_put"),
    ("read a key", "coordination__kv_get"),
    ("list keys", "coordination__kv_list"),
    ("watch a key for changes", "coordination__kv_watch"),
    // Monitoring.
    ("promql query", "monitoring__query_metrics or monitoring__query_range"),
    ("metrics over a time range", "monitoring__query_range"),
    ("firing alerts", "monitoring__list_alerts"),
    ("silence an alert", "monitoring__silence"),
    ("mute alerts", "monitoring__silence"),
    ("acknowledge alert", "monitoring__acknowledge_alert"),
    ("create alert rule", "monitoring__set_rule"),
    ("delete alert rule", "monitoring__delete_rule"),
    ("error budget", "monitoring__slo"),
    ("probe an endpoint", "monitoring__probe"),
    ("send a test alert", "monitoring__test_alert"),
    ("where are alerts sent", "monitoring__list_sinks"),
    ("alert webhooks", "monitoring__list_sinks"),
    ("notify people of alerts", "monitoring__deliver_alerts"),
    ("scrape targets", "monitoring__targets"),
    // Legacy.
    ("deprecated usage", "legacy__deprecations"),
    ("renamed tools", "legacy__list_aliases or legacy__add_alias"),
    ("add alias", "legacy__add_alias"),
    ("supported protocol versions", "legacy__protocol_versions"),
    ("translate v1 command", "legacy__translate"),
];

/// Of a hundred queries, this many must find their tool in the first place; all must find it among the first three.
const FIRST_OF_HUNDRED: usize = 95;

#[tokio::test]
async fn what_is_asked_for_comes_first() {
    let bench = Bench::real();
    let table = bench.gateway.table();
    let (mut first, mut all, mut wrong, mut lost) = (0, 0, String::new(), 0);
    for (asked, want) in ASKED {
        let want: Vec<&str> = want.split(" or ").collect();
        // What is not built yet cannot be found.
        if want.iter().all(|name| table.get(name).is_none()) {
            continue;
        }
        let hits = table.index().search(asked, |_| true);
        let found: Vec<&str> = hits.iter().take(3).map(|hit| table.entries[hit.place].name.as_str()).collect();
        all += 1;
        match found.iter().position(|name| want.contains(name)) {
            Some(0) => first += 1,
            place => {
                lost += usize::from(place.is_none());
                writeln!(wrong, "{asked}: wanted {want:?}, found {found:?}").unwrap();
            }
        }
    }
    assert!(lost == 0 && first * 100 >= all * FIRST_OF_HUNDRED, "{first} of {all} first, {lost} lost\n{wrong}");
}
