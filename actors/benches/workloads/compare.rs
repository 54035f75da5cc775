//! The engine and the limit in turn, each in a process of its own; ratios are taken pair by pair, since the machine is noisy.

use std::process::Command;

use crate::Args;

/// Runs the pairs and prints their ratios.
pub fn run(args: &Args) {
    let own: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "compare").collect();
    let mut ratios = Vec::new();
    for pair in 1..=args.pairs.max(5) {
        let limit = child(&[vec!["limit".to_string()], own.clone()].concat());
        let engine = child(&own);
        assert_eq!((&limit.checksum, &limit.rows), (&engine.checksum, &engine.rows), "the answers differ");
        let ratio = engine.rate / limit.rate;
        println!(
            "pair {pair}: engine {:.2} M/s, limit {:.2} M/s, ratio {ratio:.3}\n  {}",
            engine.rate / 1e6,
            limit.rate / 1e6,
            engine.line
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    let last = ratios.len() - 1;
    println!(
        "workload={} pairs={} ratio_p50={:.3} ratio_min={:.3} ratio_max={:.3}",
        args.what.last().map_or("", String::as_str),
        ratios.len(),
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[last]
    );
}

struct Run {
    line: String,
    rate: f64,
    checksum: String,
    rows: String,
}

fn child(args: &[String]) -> Run {
    let output = Command::new(std::env::current_exe().unwrap()).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().last().unwrap_or_default().to_string();
    let value = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name)).unwrap_or_default().to_string();
    Run { rate: value("rate=").parse().unwrap(), checksum: value("checksum="), rows: value("rows="), line }
}
