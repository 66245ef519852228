//! A worker's turn with 10,000 relay contexts allocates nothing.

use tandem_bench::engine::relay::Relay;
use tandem_hw::count_alloc::{CountingAllocator, allocations_on_this_thread};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn relaying_with_ten_thousand_contexts_allocates_nothing() {
    let mut relay = Relay::new(10_000).unwrap();
    let before = allocations_on_this_thread();
    assert!(before > 0, "the allocator counts");
    // Several rounds of all terminations: timers, publication and own RTCP run too.
    relay.run(20_000 * 12);
    assert_eq!(allocations_on_this_thread() - before, 0);
    relay.check().unwrap();
}
