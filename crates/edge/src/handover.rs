//! How listening sockets outlive the process, so that no attempt to connect is refused:
//!
//! ```text
//! start     sockets come in as LISTEN_FDS: from a socket unit, the service manager's store, or
//!           the process before
//! running   every socket is also given to the service manager's store (FDSTORE=1)
//! SIGTERM   accept stops; what arrives waits in the sockets' queues for the next process
//! SIGUSR2   the next process is started with the sockets; until it is ready, and this one drains,
//!           neither changes what is in the store
//! ```

mod inherited;
mod store;
mod upgrade;

pub use inherited::Inherited;
pub use store::Store;
pub use upgrade::{Predecessor, Successor, UpgradeError, Upgrader};
