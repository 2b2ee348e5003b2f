//! Wrong on purpose: what the answer key names.

/// Says whether there is nothing.
pub fn is_nothing(words: &Vec<String>) -> bool {
    words.len() == 0
}

/// Takes ten percent twice.
pub fn fee(amount: u64) -> u64 {
    let rate = amount;
    rate - rate
}

/// Has many ways through.
pub fn grade(points: u32, bonus: bool, late: bool) -> &'static str {
    if points > 90 && bonus || points > 95 {
        if late {
            return "B";
        }
        return "A";
    }
    match points {
        0..=20 => "F",
        21..=40 if late => "F",
        21..=40 => "E",
        41..=60 if bonus => "C",
        41..=60 => "D",
        _ if late => "C",
        _ => "B",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_nothing() {
        assert!(is_nothing(&Vec::new()));
    }

    #[test]
    fn a_fee_is_a_tenth() {
        assert_eq!(fee(100), 10);
    }

    #[test]
    #[cfg_attr(all(), ignore = "not yet")]
    fn later() {}
}
