//! Two runs in turn, each in a process of its own; ratios are taken pair by pair, since the machine is noisy.

use std::process::Command;

use crate::Args;

/// The engine, and `limit`.
pub fn compare(args: &Args) {
    let own = own_args("compare");
    let limit = [vec!["limit".to_string()], own.clone()].concat();
    pairs(args, &own, ("limit", &limit));
}

/// The engine with checkpoints, as `--checkpoint-ms` says, and without.
pub fn ratio(args: &Args) {
    let own = own_args("ratio");
    let without = without_option(&own, "--checkpoint-ms");
    pairs(args, &own, ("without checkpoints", &without));
}

fn own_args(mode: &str) -> Vec<String> {
    std::env::args().skip(1).filter(|arg| arg != mode).collect()
}

fn without_option(args: &[String], option: &str) -> Vec<String> {
    let mut left = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == option {
            args.next();
        } else if arg.strip_prefix(option).is_none_or(|rest| !rest.starts_with('=')) {
            left.push(arg.clone());
        }
    }
    left
}

/// Runs the pairs and prints their ratios.
fn pairs(args: &Args, own: &[String], (name, other): (&str, &[String])) {
    let mut ratios = Vec::new();
    for pair in 1..=args.pairs {
        let other = child(other);
        let engine = child(own);
        if args.seconds.is_none() {
            assert_eq!((&other.checksum, &other.rows), (&engine.checksum, &engine.rows), "the answers differ");
        }
        let ratio = engine.rate / other.rate;
        println!(
            "pair {pair}: engine {:.2} M/s, {name} {:.2} M/s, ratio {ratio:.3}\n  {}",
            engine.rate / 1e6,
            other.rate / 1e6,
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
