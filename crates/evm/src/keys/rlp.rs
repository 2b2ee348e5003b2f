//! Recursive length prefix, the encoding of transactions (Ethereum's yellow paper, appendix B): writing only.

use alloy_primitives::U256;

/// A list being written.
#[derive(Default)]
pub(super) struct List(Vec<u8>);

impl List {
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        match bytes {
            [byte] if *byte < 0x80 => {}
            _ => prefix(&mut self.0, 0x80, bytes.len()),
        }
        self.0.extend_from_slice(bytes);
        self
    }

    /// A number has no leading zeros, so that zero is no bytes at all.
    pub(super) fn number(self, number: U256) -> Self {
        let bytes = number.to_be_bytes::<32>();
        self.bytes(&bytes[number.leading_zeros() / 8..])
    }

    pub(super) fn list(mut self, list: &Self) -> Self {
        prefix(&mut self.0, 0xc0, list.0.len());
        self.0.extend_from_slice(&list.0);
        self
    }

    /// The list's encoding after `first`.
    pub(super) fn after(&self, first: u8) -> Vec<u8> {
        let mut all = vec![first];
        prefix(&mut all, 0xc0, self.0.len());
        all.extend_from_slice(&self.0);
        all
    }
}

fn prefix(out: &mut Vec<u8>, base: u8, length: usize) {
    if length < 56 {
        out.push(base + length as u8);
        return;
    }
    let bytes = length.to_be_bytes();
    let bytes = &bytes[(length.leading_zeros() / 8) as usize..];
    out.push(base + 55 + bytes.len() as u8);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    use super::*;

    #[test]
    fn the_yellow_papers_cases() {
        let encoded = |list: List| hex::encode(list.after(2));
        assert_eq!(encoded(List::default()), "02c0");
        assert_eq!(encoded(List::default().number(U256::ZERO).number(U256::from(0x7f))), "02c2807f");
        assert_eq!(encoded(List::default().number(U256::from(0x80)).number(U256::from(1024))), "02c58180820400");
        assert_eq!(encoded(List::default().bytes(b"dog").list(&List::default().bytes(b""))), "02c683646f67c180");
        let long = encoded(List::default().bytes(&[0xaa; 56]));
        assert!(long.starts_with("02f83ab838aaaa") && long.len() == 2 * 61, "{long}");
        let longer = encoded(List::default().bytes(&[0xbb; 1024]));
        assert!(longer.starts_with("02f90403b90400bbbb"), "{}", &longer[..20]);
    }
}
