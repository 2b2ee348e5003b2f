//! The published schemas of what the files are for.

use crate::harness::tools;

/// Runs a check of `clients/schemas.py` over the repository; what it finds wrong is its output.
fn check(what: &str) {
    let Some(mut command) = tools::schemas() else { return };
    command.arg(tools::script("clients/schemas.py")).arg(what).arg(tools::root());
    let ran = tools::run(&mut command, &[]);
    assert_eq!((ran.code, ran.out.trim()), (Some(0), "ok"), "{}", ran.err);
}

#[test]
fn dashboards_are_grafanas() {
    check("grafana");
}

#[test]
fn the_compose_file_is_composes_and_keeps_its_promises() {
    check("compose");
}

#[test]
fn the_base_is_kubernetes() {
    check("kubernetes");
}
