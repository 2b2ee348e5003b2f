//! The transactions that make the sandbox's market, and the addresses that come of them: a pure function of the artefacts, so that what was
//! built is known by one hash.

use std::collections::HashMap;

use alloy_primitives::{Keccak256, U256};
use kernel::chain::{Abi, Address, Data, Deployment, Hash, created};
use kernel::{Fault, Result};
use serde_json::Value;

use super::tools::Tools;
use crate::Encodings;

/// One transaction, to be sent after those before it.
#[derive(Debug)]
pub(super) struct Transaction {
    /// What it does, for a fault.
    pub(super) what: String,
    pub(super) from: Address,
    /// `None` creates a contract.
    pub(super) to: Option<Address>,
    pub(super) input: Data,
    pub(super) value: U256,
    /// Its number among those of its sender.
    pub(super) nonce: u64,
}

/// What will be sent, and what it deploys.
pub(super) struct Plan<'a> {
    tools: &'a Tools,
    from: Address,
    nonces: HashMap<Address, u64>,
    /// Libraries that were deployed, by name.
    libraries: HashMap<String, Address>,
    pub(super) transactions: Vec<Transaction>,
    pub(super) deployments: Vec<Deployment>,
}

impl<'a> Plan<'a> {
    /// Nothing yet; `from` is to send what is added, on a chain that has no transaction.
    pub(super) fn new(tools: &'a Tools, from: Address) -> Self {
        let (nonces, libraries) = (HashMap::new(), HashMap::new());
        Self { tools, from, nonces, libraries, transactions: Vec::new(), deployments: Vec::new() }
    }

    /// Who sends what is added.
    pub(super) fn from(&self) -> Address {
        self.from
    }

    /// Has another account send what `add` adds.
    pub(super) fn as_account(&mut self, account: Address, add: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let before = std::mem::replace(&mut self.from, account);
        let added = add(self);
        self.from = before;
        added
    }

    /// Adds a contract to what is told to have been deployed.
    pub(super) fn list(&mut self, name: impl Into<String>, address: Address, what: impl Into<String>) {
        self.deployments.push(Deployment { name: name.into(), address, what: what.into() });
    }

    /// Deploys an artefact with these constructor arguments, and lists it.
    pub(super) fn deploy(&mut self, name: &str, what: &str, artefact: &str, args: &[(&str, Value)]) -> Result<Address> {
        let address = self.place(artefact, args)?;
        self.list(name, address, what);
        Ok(address)
    }

    /// Deploys an artefact that only other contracts call, with the libraries it links to.
    pub(super) fn place(&mut self, artefact: &str, args: &[(&str, Value)]) -> Result<Address> {
        let code = self.linked(artefact)?;
        self.create(artefact, code, args)
    }

    /// Deploys this creation code.
    pub(super) fn create(&mut self, what: &str, mut code: Vec<u8>, args: &[(&str, Value)]) -> Result<Address> {
        let (types, values): (Vec<String>, Vec<Value>) =
            args.iter().map(|(ty, value)| ((*ty).to_owned(), value.clone())).unzip();
        code.extend_from_slice(&Encodings.encode(&types, &values)?);
        let nonce = self.add(format!("deploy {what}"), None, code.into(), U256::ZERO);
        Ok(created(self.from, nonce))
    }

    /// Calls a contract.
    pub(super) fn call(&mut self, to: Address, function: &str, args: &[Value]) -> Result<()> {
        self.pay(to, function, args, U256::ZERO)
    }

    /// Sends an account so many whole coins.
    pub(super) fn send(&mut self, to: Address, ether: u64) {
        let value = U256::from(ether) * U256::from(10).pow(U256::from(18));
        self.add(format!("send {ether} coins"), Some(to), Data::default(), value);
    }

    /// Calls a contract, sending it `value` wei.
    pub(super) fn pay(&mut self, to: Address, function: &str, args: &[Value], value: U256) -> Result<()> {
        let input = Encodings.encode_call(function, args).map_err(|fault| fault.context(function.to_owned()))?;
        self.add(function.to_owned(), Some(to), input, value);
        Ok(())
    }

    /// An artefact's creation code, as it is when it links to nothing.
    pub(super) fn code(&self, artefact: &str) -> Result<Vec<u8>> {
        self.tools.code(artefact)?.linked(|library| Err(Fault::internal(format!("{artefact} links to {library}"))))
    }

    /// One hash of everything that will be sent.
    pub(super) fn key(&self) -> Hash {
        let mut hash = Keccak256::new();
        for sent in &self.transactions {
            hash.update(sent.from.0);
            hash.update(sent.to.unwrap_or_default().0);
            hash.update(sent.value.to_be_bytes::<32>());
            hash.update((sent.input.len() as u64).to_be_bytes());
            hash.update(&*sent.input);
        }
        Hash(hash.finalize())
    }

    fn linked(&mut self, artefact: &str) -> Result<Vec<u8>> {
        let code = self.tools.code(artefact)?;
        for (file, library) in code.libraries() {
            if !self.libraries.contains_key(&library) {
                let at = self.place(&artefact_of(artefact, &file, &library), &[])?;
                self.libraries.insert(library, at);
            }
        }
        code.linked(|library| {
            self.libraries.get(library).copied().ok_or_else(|| Fault::internal(format!("{library} was not deployed")))
        })
    }

    fn add(&mut self, what: String, to: Option<Address>, input: Data, value: U256) -> u64 {
        let next = self.nonces.entry(self.from).or_default();
        let nonce = *next;
        *next += 1;
        self.transactions.push(Transaction { what, from: self.from, to, input, value, nonce });
        nonce
    }
}

/// Where a library's artefact is: in the same package and the same tree of artefacts as the one that links to it.
fn artefact_of(linker: &str, file: &str, library: &str) -> String {
    let tree = linker.split("contracts/").next().unwrap_or_default();
    format!("{tree}{file}/{library}.json")
}
