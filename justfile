# What CI does, step by step.

# Lists the steps
default:
    @just --list

# The main example; options after it: just run --rate 20000
run *options:
    cargo run --release --example flight_delays -- {{ options }}

# Every test
test:
    cargo test --workspace --locked

# Simulated jobs under faults, so many seeds of each: just simulate 10000 joins
simulate seeds *filter:
    COFFERDAM_SEEDS={{ seeds }} cargo test --release --locked -p cofferdam-testkit --test simulation -- {{ filter }}

# Fifty kills of a real process: just kill 42 takes the seed again
kill seed="":
    {{ if seed == "" { "" } else { "COFFERDAM_SEED=" + seed } }} cargo test --workspace --locked --test 'kill_*' -- --nocapture

# Formats the code
format:
    cargo fmt --all

# Formatting, lints and documentation, warnings as errors
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Licences, advisories, bans (needs cargo-deny)
deny:
    cargo deny check

# Every fault at every fail point, written down in docs/crash-matrix.md; a bounded part: just crash-matrix --quick
crash-matrix *options:
    cargo run --release --locked -p cofferdam-testkit --bin crash-matrix -- {{ options }}

# The benchmarks: just bench W1 --records 1000000
bench *options:
    cargo bench -p cofferdam --bench workloads -- {{ options }}

# Everything that a change must pass
ci: lint test
