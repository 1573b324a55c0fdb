//! Choosing one of 2, 10 and 100 endpoints: each is asked for its breaker, and for what its policy compares.

use std::hint::black_box;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policy::Tick;
use policy::breaker::Breaker;
use policy::inflight::Inflight;
use policy::latency::PeakEwma;
use policy::pick;

/// What a policy reads of an endpoint.
struct Endpoint {
    breaker: Breaker,
    latency: PeakEwma,
    inflight: Inflight,
}

fn endpoints(count: usize, now: Tick) -> Vec<Endpoint> {
    let endpoint = |index: usize| {
        let endpoint = Endpoint {
            breaker: Breaker::new(),
            latency: PeakEwma::new(Duration::from_millis(30)),
            inflight: Inflight::new(),
        };
        endpoint.latency.success(Duration::from_millis(1 + index as u64 % 7), now);
        for _ in 0..index % 3 {
            assert!(endpoint.inflight.acquire(u32::MAX));
        }
        endpoint
    };
    (0..count).map(endpoint).collect()
}

fn picks(criterion: &mut Criterion) {
    let now = Tick::ZERO + Duration::from_secs(1000);
    let mut group = criterion.benchmark_group("pick");
    for count in [2, 10, 100] {
        let all = endpoints(count, now);
        let weights: Vec<u32> = (0..count as u32).map(|index| 1 + index % 5).collect();
        let cursor = AtomicUsize::new(0);
        let mut rng = fastrand::Rng::with_seed(7);
        let eligible = |index: usize| all[index].breaker.would_admit(black_box(now));
        let id = |name: &str| BenchmarkId::new(name, count);
        group.bench_function(id("p2c"), |bencher| {
            let cost = |index: usize| all[index].latency.cost(all[index].inflight.get(), now);
            bencher.iter(|| pick::p2c(count, &mut rng, eligible, cost));
        });
        group.bench_function(id("least"), |bencher| {
            let busy = |index: usize| u64::from(all[index].inflight.get());
            bencher.iter(|| pick::least(count, &mut rng, eligible, busy));
        });
        group.bench_function(id("round_robin"), |bencher| {
            bencher.iter(|| pick::round_robin(count, &cursor, eligible));
        });
        group.bench_function(id("weighted"), |bencher| {
            bencher.iter(|| pick::weighted(&weights, &mut rng, eligible));
        });
    }
    group.finish();
}

criterion_group!(benches, picks);
criterion_main!(benches);
