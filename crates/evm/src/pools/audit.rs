//! Every few blocks some pools are read again: what the book says must be what the chain says.

use kernel::Result;
use market::feed::QUARANTINED_EVENT;
use market::pool::{AnyPool, Pool};

use super::Follower;
use super::read::{self, Known};

/// What is read again: pools of the book, then those out of use.
struct Sample {
    block: u64,
    hash: kernel::chain::Hash,
    known: Vec<Known>,
}

impl Follower {
    /// Audits when enough blocks have passed since the last time.
    pub(super) async fn audit_if_due(&self) -> Result<()> {
        let due =
            self.state.read().as_ref().is_some_and(|followed| {
                followed.at.block >= followed.last_audit + self.config.audit_every_blocks.max(1)
            });
        if due { self.audit().await } else { Ok(()) }
    }

    /// Reads a sample again, each time the next pools in turn. What differs leaves; what had left comes back as it was read.
    pub(crate) async fn audit(&self) -> Result<()> {
        let Some(sample) = self.sample() else { return Ok(()) };
        let read = read::pools(&self.node, sample.hash, &sample.known).await?;
        let (mut quarantined, mut back) = (Vec::new(), Vec::new());
        let at = {
            let mut state = self.state.write();
            // Had the book moved on meanwhile, what was read would be of another block.
            let Some(followed) = state.as_mut().filter(|followed| followed.hash() == sample.hash) else {
                return Ok(());
            };
            followed.last_audit = sample.block;
            for pool in read {
                let address = pool.address();
                match followed.book.find(address).and_then(|id| followed.book.get(id)) {
                    Some(held) if *held == pool => {}
                    Some(held) => {
                        let why = difference(held, &pool);
                        quarantined.extend(followed.take_out(sample.block, address, &why)?);
                    }
                    None => {
                        followed.book.join(sample.block, pool)?;
                        followed.quarantined.retain(|(why, _)| why.pool != address);
                        back.push(address);
                    }
                }
            }
            followed.book.take_changed();
            followed.at
        };
        for quarantined in &quarantined {
            tracing::warn!(pool = %quarantined.pool, why = quarantined.why, "a pool is taken out of use");
            self.tell(QUARANTINED_EVENT, quarantined).await?;
        }
        back.extend(quarantined.iter().map(|quarantined| quarantined.pool));
        if back.is_empty() { Ok(()) } else { self.tell_applied(at, back, 0).await }
    }

    fn sample(&self) -> Option<Sample> {
        let mut state = self.state.write();
        let followed = state.as_mut()?;
        let (all, most) = (followed.book.len(), self.config.audit_pools.min(followed.book.len()));
        let from_here = followed.book.iter().skip(followed.audited % all.max(1)).chain(followed.book.iter());
        let mut known: Vec<_> = from_here.take(most).map(|(_, pool)| Known::of(pool)).collect();
        followed.audited = (followed.audited + most) % all.max(1);
        known.extend(followed.quarantined.iter().map(|(_, pool)| Known::of(pool)));
        Some(Sample { block: followed.at.block, hash: followed.at.hash, known })
    }
}

fn difference(held: &AnyPool, read: &AnyPool) -> String {
    match (held, read) {
        (AnyPool::ConstantProduct(held), AnyPool::ConstantProduct(read)) => {
            format!("reserves {:?} here, {:?} on the chain", held.reserves(), read.reserves())
        }
        (AnyPool::ConcentratedLiquidity(held), AnyPool::ConcentratedLiquidity(read)) => format!(
            "price {}, liquidity {}, {} ticks here; {}, {}, {} on the chain",
            held.sqrt_price(),
            held.liquidity(),
            held.ticks().len(),
            read.sqrt_price(),
            read.liquidity(),
            read.ticks().len()
        ),
        _ => "another kind of pool".to_owned(),
    }
}
