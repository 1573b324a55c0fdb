//! One GET through the whole proxy but its sockets, for each configuration that `gate` counts; `none` is what client and
//! upstream cost without it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use testkit::Inside;

/// Requests of one measurement, so that entering the runtime does not show.
const BATCH: usize = 100;

fn stack(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stack");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut none = Inside::of_bench("plain");
    none.bypass();
    group.bench_function("none", |bencher| bencher.iter(|| none.get(BATCH)));
    for name in ["plain", "default", "full"] {
        let mut inside = Inside::of_bench(name);
        group.bench_function(name, |bencher| bencher.iter(|| inside.get(BATCH)));
    }
    group.finish();
}

criterion_group!(benches, stack);
criterion_main!(benches);
