//! temp
use millstream_bench::hand;
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() -> anyhow::Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let w: millstream_bench_stream::Workload = a[1].parse()?;
    let o = hand::run(w, a.get(2).map_or(w.records(), |n| n.parse().unwrap())).unwrap();
    println!("{:7.1} {}", o.rate(), o.line());
    Ok(())
}
