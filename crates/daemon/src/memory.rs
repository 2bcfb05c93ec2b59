//! What a daemon with keys in its memory does first: no other process of its user reads its memory, and
//! no core file holds it.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Keeps the memory of this process from debuggers and core files. A kernel that refuses is logged: the
/// daemon runs as safely as without.
pub fn keep_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let core = setrlimit(Resource::Core, none);
    let dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let Err(error) = core.and(dumpable) {
        tracing::warn!(%error, "keys in memory are not kept from core files and debuggers");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_core_file_and_no_debugger_gets_at_the_memory() {
        keep_private();
        let behavior = rustix::process::dumpable_behavior().expect("known");
        assert_eq!(behavior, DumpableBehavior::NotDumpable);
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}
