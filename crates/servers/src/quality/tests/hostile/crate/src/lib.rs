//! What its build got.

#[test]
fn nothing_was_got() {
    assert_eq!(env!("GOT"), "");
}
