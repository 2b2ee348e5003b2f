//! Every port made of memory, for tests. Nothing here can be chosen by configuration, and each part calls itself `fake`.
//!
//! [`World`] holds one of each and hands them out as [`Ports`](crate::Ports).

mod abi;
mod audit;
mod buckets;
mod bus;
mod fanout;
mod fleet;
mod logs;
mod prices;
mod publisher;
mod queue;
mod store;
mod world;

pub use abi::NoAbi;
pub use audit::MemoryAudit;
pub use buckets::MemoryBuckets;
pub use bus::MemoryBus;
pub use fanout::MemoryFanout;
pub use fleet::FakeFleet;
pub use logs::MemoryLogs;
pub use prices::FakePrices;
pub use publisher::MemoryPublisher;
pub use queue::MemoryQueue;
pub use store::MemoryStore;
pub use world::World;
