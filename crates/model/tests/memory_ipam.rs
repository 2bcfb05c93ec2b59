//! The in-memory allocator keeps every promise.

use sextant_model::ipam::{conformance, memory::MemoryIpam};

#[tokio::test]
async fn the_allocator_in_memory_keeps_every_promise() {
    conformance::every_promise(|| async { MemoryIpam::default() }).await;
}
