//! What the fleet stands on, by its own figures: PostgreSQL and Redis through their exporters, RabbitMQ and etcd by themselves.

use super::Kind::{Lines, Number};
use super::{Dashboard, Panel};

pub(super) const INFRASTRUCTURE: Dashboard = Dashboard {
    uid: "flotilla-infrastructure",
    title: "Infrastructure",
    about: "PostgreSQL and Redis (with the profile `exporters`), RabbitMQ, etcd, Prometheus.",
    variables: &[],
    rows: &[
        (
            "Targets",
            &[
                Panel("Targets up", Lines, "short", 12, &[("sum by (job) (up)", "{{job}}")]),
                Panel("Time of a scrape", Lines, "s", 12, &[("max by (job) (scrape_duration_seconds)", "{{job}}")]),
            ],
        ),
        (
            "PostgreSQL",
            &[
                Panel("Up", Number, "bool_on_off", 4, &[("max(pg_up)", "")]),
                Panel(
                    "Connections in use",
                    Number,
                    "percentunit",
                    4,
                    &[("sum(pg_stat_activity_count) / max(pg_settings_max_connections)", "")],
                ),
                Panel(
                    "Found in memory",
                    Number,
                    "percentunit",
                    4,
                    &[(
                        "sum(rate(pg_stat_database_blks_hit[$__range])) / (sum(rate(pg_stat_database_blks_hit[$__range])) + sum(rate(pg_stat_database_blks_read[$__range])))",
                        "",
                    )],
                ),
                Panel("Deadlocks", Number, "short", 4, &[("sum(increase(pg_stat_database_deadlocks[$__range]))", "")]),
                Panel("Size", Number, "bytes", 4, &[("sum(pg_database_size_bytes)", "")]),
                Panel("Locks", Number, "short", 4, &[("sum(pg_locks_count)", "")]),
                Panel(
                    "Transactions",
                    Lines,
                    "ops",
                    12,
                    &[
                        (
                            "sum by (datname) (rate(pg_stat_database_xact_commit[$__rate_interval]))",
                            "{{datname}} committed",
                        ),
                        (
                            "sum by (datname) (rate(pg_stat_database_xact_rollback[$__rate_interval]))",
                            "{{datname}} rolled back",
                        ),
                    ],
                ),
                Panel(
                    "Rows written",
                    Lines,
                    "ops",
                    12,
                    &[
                        ("sum(rate(pg_stat_database_tup_inserted[$__rate_interval]))", "inserted"),
                        ("sum(rate(pg_stat_database_tup_updated[$__rate_interval]))", "updated"),
                        ("sum(rate(pg_stat_database_tup_deleted[$__rate_interval]))", "deleted"),
                    ],
                ),
            ],
        ),
        (
            "Redis",
            &[
                Panel("Up", Number, "bool_on_off", 4, &[("max(redis_up)", "")]),
                Panel("Clients", Number, "short", 4, &[("sum(redis_connected_clients)", "")]),
                Panel("Memory", Number, "bytes", 4, &[("sum(redis_memory_used_bytes)", "")]),
                Panel("Keys", Number, "short", 4, &[("sum(redis_db_keys)", "")]),
                Panel("Evicted", Number, "short", 4, &[("sum(increase(redis_evicted_keys_total[$__range]))", "")]),
                Panel(
                    "Refused connections",
                    Number,
                    "short",
                    4,
                    &[("sum(increase(redis_rejected_connections_total[$__range]))", "")],
                ),
                Panel(
                    "Commands",
                    Lines,
                    "ops",
                    12,
                    &[("sum(rate(redis_commands_processed_total[$__rate_interval]))", "commands")],
                ),
                Panel(
                    "Keys asked for",
                    Lines,
                    "ops",
                    12,
                    &[
                        ("sum(rate(redis_keyspace_hits_total[$__rate_interval]))", "there"),
                        ("sum(rate(redis_keyspace_misses_total[$__rate_interval]))", "not there"),
                    ],
                ),
            ],
        ),
        (
            "RabbitMQ",
            &[
                Panel(
                    "Messages",
                    Lines,
                    "short",
                    8,
                    &[
                        ("sum(rabbitmq_queue_messages_ready)", "ready"),
                        ("sum(rabbitmq_queue_messages_unacked)", "not confirmed"),
                        ("max(flotilla_events_waiting)", "wait in the fleet"),
                    ],
                ),
                Panel(
                    "Rates",
                    Lines,
                    "ops",
                    8,
                    &[
                        ("sum(rate(rabbitmq_global_messages_received_total[$__rate_interval]))", "received"),
                        ("sum(rate(rabbitmq_global_messages_confirmed_total[$__rate_interval]))", "confirmed"),
                        ("sum(rate(rabbitmq_global_messages_acknowledged_total[$__rate_interval]))", "acknowledged"),
                    ],
                ),
                Panel(
                    "Memory and disk",
                    Lines,
                    "bytes",
                    8,
                    &[
                        ("sum(rabbitmq_process_resident_memory_bytes)", "memory"),
                        ("min(rabbitmq_disk_space_available_bytes)", "free disk"),
                    ],
                ),
                Panel("Connections", Number, "short", 6, &[("sum(rabbitmq_connections)", "")]),
                Panel("Channels", Number, "short", 6, &[("sum(rabbitmq_channels)", "")]),
                Panel("Out of memory", Number, "bool_yes_no", 6, &[("max(rabbitmq_alarms_memory_used_watermark)", "")]),
                Panel(
                    "Out of disk",
                    Number,
                    "bool_yes_no",
                    6,
                    &[("max(rabbitmq_alarms_free_disk_space_watermark)", "")],
                ),
            ],
        ),
        (
            "etcd",
            &[
                Panel("Has a leader", Number, "bool_yes_no", 6, &[("max(etcd_server_has_leader)", "")]),
                Panel("Changes of leader", Number, "short", 6, &[("max(etcd_server_leader_changes_seen_total)", "")]),
                Panel("Size", Number, "bytes", 6, &[("max(etcd_mvcc_db_total_size_in_bytes)", "")]),
                Panel("Proposals waiting", Number, "short", 6, &[("max(etcd_server_proposals_pending)", "")]),
                Panel(
                    "Time to write, 99 of 100",
                    Lines,
                    "s",
                    12,
                    &[
                        (
                            "histogram_quantile(0.99, sum by (le) (rate(etcd_disk_wal_fsync_duration_seconds_bucket[$__rate_interval])))",
                            "log",
                        ),
                        (
                            "histogram_quantile(0.99, sum by (le) (rate(etcd_disk_backend_commit_duration_seconds_bucket[$__rate_interval])))",
                            "database",
                        ),
                    ],
                ),
                Panel(
                    "Changes",
                    Lines,
                    "ops",
                    12,
                    &[
                        ("sum(rate(etcd_server_proposals_committed_total[$__rate_interval]))", "committed"),
                        ("sum(rate(etcd_server_proposals_failed_total[$__rate_interval]))", "failed"),
                    ],
                ),
            ],
        ),
        (
            "Prometheus",
            &[
                Panel("Series", Lines, "short", 12, &[("sum(prometheus_tsdb_head_series)", "series")]),
                Panel("Memory", Lines, "bytes", 12, &[("sum by (job) (process_resident_memory_bytes)", "{{job}}")]),
            ],
        ),
    ],
};
