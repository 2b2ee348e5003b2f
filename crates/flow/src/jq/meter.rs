//! What one query may use: steps, looks, and memory that lives at once.
//!
//! jq programs can recur without end, double a value in each step, or ask for a string a billion times. The interpreter itself knows no
//! limits. So every definition and every turn of a loop in a program begins with a [`step`], every stage of a pipe with a [`look`], and
//! every value says what it holds. When something is used up, the reason is kept here, and the next step or look ends the program in a
//! way that `try` does not catch.

use std::cell::{Cell, RefCell};

use kernel::Fault;

use crate::bounded::check;

/// Most calls of definitions and turns of loops. Each may leave a link in a chain that is dropped link within link, so the stack has to
/// bear as many.
const STEPS_MAX: u64 = 500_000;
/// Most stages of pipes and generated numbers.
const LOOKS_MAX: u64 = 10_000_000;
/// Most bytes of values that live at once.
const LIVE_MAX: usize = 128 << 20;

struct Meter {
    steps: Cell<u64>,
    looks: Cell<u64>,
    live: Cell<usize>,
    refusal: RefCell<Option<Fault>>,
}

thread_local! {
    static METER: Meter = const {
        Meter { steps: Cell::new(0), looks: Cell::new(0), live: Cell::new(0), refusal: RefCell::new(None) }
    };
}

/// Begins with a program: what an earlier one on this thread used up is not its.
pub(super) fn begin() {
    METER.with(|meter| {
        meter.steps.set(0);
        meter.looks.set(0);
        meter.refusal.replace(None);
    });
}

/// Ends the program at the next step or look. The first reason counts.
pub(super) fn refuse(fault: Fault) {
    METER.with(|meter| {
        meter.refusal.borrow_mut().get_or_insert(fault);
    });
}

/// Why the program has to end, if it has to.
pub(super) fn refusal() -> Option<Fault> {
    METER.with(|meter| meter.refusal.borrow().clone())
}

/// Whether the program has to end.
pub(super) fn refused() -> bool {
    METER.with(|meter| meter.refusal.borrow().is_some())
}

/// Counts a call or a turn. False when the program has to end.
pub(super) fn step() -> bool {
    count(|meter| &meter.steps, STEPS_MAX, "calls and turns of loops")
}

/// Counts a stage of a pipe or a generated value. False when the program has to end.
pub(super) fn look() -> bool {
    count(|meter| &meter.looks, LOOKS_MAX, "values on the way")
}

fn count(counter: impl Fn(&Meter) -> &Cell<u64>, max: u64, what: &str) -> bool {
    METER.with(|meter| {
        let counter = counter(meter);
        counter.set(counter.get() + 1);
        if counter.get() > max {
            refuse(Fault::too_large(format!("the program makes more than {max} {what}")).hint("give it less to do"));
        }
    });
    if let Err(fault) = check() {
        refuse(fault);
    }
    !refused()
}

/// Takes memory. The program has to end when there is none left.
pub(super) fn hold(bytes: usize) {
    METER.with(|meter| {
        meter.live.set(meter.live.get() + bytes);
        if meter.live.get() > LIVE_MAX {
            refuse(
                Fault::too_large(format!("the program holds more than {LIVE_MAX} bytes at once"))
                    .hint("give it less to do"),
            );
        }
    });
}

/// Gives memory back.
pub(super) fn release(bytes: usize) {
    // A value that outlives its thread's meter has nothing to give back to.
    METER.try_with(|meter| meter.live.set(meter.live.get() - bytes)).ok();
}
