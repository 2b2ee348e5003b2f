//! The address that a contract will have, from its creator and nonce, so that deployments need not wait for each other.

use alloy_primitives::keccak256;

use super::Address;

/// The address of the contract that `creator` creates with its transaction number `nonce`.
pub fn created(creator: Address, nonce: u64) -> Address {
    // RLP of [creator, nonce]: a list of a 20-byte string and a number without leading zeros.
    let bytes = nonce.to_be_bytes();
    let number = &bytes[(nonce.leading_zeros() / 8) as usize..];
    let mut items = vec![0x80 + 20];
    items.extend(creator.as_slice());
    match number {
        [small @ 1..0x80] => items.push(*small),
        _ => {
            items.push(0x80 + number.len() as u8);
            items.extend(number);
        }
    }
    let mut list = vec![0xc0 + items.len() as u8];
    list.append(&mut items);
    Address(alloy_primitives::Address::from_slice(&keccak256(list)[12..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_a_chain_gave_them() {
        for (creator, nonce, want) in [
            ("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", 0, "0x5FbDB2315678afecb367f032d93F642f64180aa3"),
            ("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", 1, "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"),
            ("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0", 0, "0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"),
            ("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0", 3, "0xfffd933a0bc612844eaf0c6fe3e5b8e9b6c1d19c"),
        ] {
            assert_eq!(created(creator.parse().unwrap(), nonce), want.parse().unwrap());
        }
    }
}
