//! Leasing an idle connection and giving it back, with 1 and with 100 connections in the pool.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use exchange::clock;
use proxy::snapshot::End;
use testkit::Inside;
use upstream::Pool;
use upstream::pool::Want;

const WANT: Want = Want { h2: false, grpc: false, upgrade: false, absolute: false, within: Duration::from_secs(3) };

/// The pool of the only endpoint, with `count` connections idle.
fn filled(inside: &Inside, count: usize) -> Arc<Pool> {
    let offline = inside.offline();
    let End::Targets { targets, .. } = &offline.site().snapshot().routes[0].end else {
        unreachable!("the plain route has a target")
    };
    let pool = offline.worker().upstream().named(&targets[0].endpoints[0]).pool;
    offline.runtime().block_on(async {
        let mut leases = Vec::new();
        for _ in 0..count {
            leases.push(pool.lease(WANT, clock::now()).await.expect("an upstream in memory"));
        }
        // Each connection's task runs once, and says that it is ready.
        tokio::task::yield_now().await;
        leases.into_iter().for_each(|lease| lease.give_back(clock::now()));
    });
    assert_eq!(pool.parked(), count);
    pool
}

fn lease(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool");
    for count in [1, 100] {
        let inside = Inside::of_bench("plain");
        let pool = filled(&inside, count);
        let now = clock::now();
        group.bench_function(BenchmarkId::new("lease and give back", count), |bencher| {
            bencher.iter(|| pool.idle_one(WANT, now).expect("an idle connection").give_back(now));
        });
        assert_eq!(pool.parked(), count);
    }
    group.finish();
}

criterion_group!(benches, lease);
criterion_main!(benches);
