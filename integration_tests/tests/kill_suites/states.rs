//! `kill -9` of jobs with state of every type, on every durable backend and at changing parallelism, and of a loop that has more than memory is to hold.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cofferdam::prelude::*;

/// Tells this test program that it is a job in this directory; then which job, and on how many subtasks.
const PLACE: &str = "COFFERDAM_STATES_PLACE";
const JOB: &str = "COFFERDAM_STATES_JOB";
const PARALLELISM: &str = "COFFERDAM_STATES_PARALLELISM";

const RECORDS: u64 = 12_000;
const KEYS: u64 = 20;
/// Records in a second, until the last start: few, so that all kills come before the end on a slow disk as well.
const RATE: f64 = 300.0;
/// Next to nothing of the state's.
const SMALL_HEAP: u64 = 500;

/// What a line says, the key or number that it is about, and the rest.
type Row = (String, u64, Vec<u64>);

#[derive(Clone)]
struct Mean;

impl Aggregate for Mean {
    type In = u64;
    type Accumulator = (u64, u64);
    type Out = u64;

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&self, (count, sum): &mut (u64, u64), value: u64) {
        (*count, *sum) = (*count + 1, *sum + value);
    }

    fn get(&self, (count, sum): &(u64, u64)) -> u64 {
        sum / count
    }
}

fn row(what: &str, about: u64, rest: impl IntoIterator<Item = u64>) -> Row {
    (what.to_string(), about, rest.into_iter().collect())
}

/// Six states of each key; and list, union and broadcast state that hold every number back until an end is told.
fn states(place: &Path, rate: f64) -> Topology {
    let topology = Topology::new("states");
    let keyed = (
        state::value::<u64>("count"),
        state::list::<u64>("list"),
        state::map::<u64, u64>("map"),
        state::reducing("most", |most: &mut u64, n: u64| *most = n.max(*most)),
        state::aggregating("mean", Mean),
        state::map::<u64, u64>("alive").ttl(Ttl::after(Duration::from_secs(3600)).refreshed_on_read()),
    );
    // In one subtask: the order of a list is that of its records.
    let numbers = topology.source("numbers", Generator::bounded(RECORDS, |n| n).rate(rate)).parallelism(1).share();
    numbers
        .stream()
        .key_by(|n| n % KEYS)
        .process_with("keyed", keyed, |key, n, (count, list, map, most, mean, alive), out| {
            count.update(|| 0, |count| *count += 1);
            list.push(n);
            map.update(n % 7, || 0, |sum| *sum += n);
            most.add(n % 1_000);
            mean.add(n);
            alive.insert(n, n);
            if list.len() > 5 {
                let first = list.pop_front().unwrap();
                alive.remove(&first);
            }
            let mut rest = vec![count.get().copied().unwrap(), most.get().copied().unwrap(), mean.get().unwrap()];
            rest.extend(list.iter());
            rest.extend(map.values());
            rest.extend(alive.keys());
            out.emit(row("keyed", *key, rest));
            if n % 31 == 0 {
                count.clear();
                list.clear();
                map.clear();
                most.clear();
                mean.clear();
                alive.clear();
            }
        })
        .sink("keyed rows", FileSink::json_lines(place.join("keyed")));
    let union = state::union::<u64>("union").on_restore(|all, subtask, parallelism| {
        all.into_iter().filter(|n| n % u64::from(parallelism) == u64::from(subtask.0)).collect()
    });
    let held = (state::list::<u64>("list"), union, state::broadcast::<u64, u64>("told"));
    // The last of them is told when most numbers have come.
    let told = topology.source("told", Generator::bounded(RECORDS, |n| (true, n)).rate(rate)).parallelism(1);
    numbers
        .stream()
        .map(|n| (false, n))
        .rebalance()
        .union(told.filter(|(_, n)| n % 500 == 499).broadcast())
        .process_operator("held", held, |(is_told, n), (list, union, told), out| {
            if is_told {
                told.insert(n, n);
            } else {
                list.push(n);
                union.push(n);
            }
            if told.len() as u64 == RECORDS / 500 {
                list.drain(..).for_each(|n| out.emit(row("list", n, [])));
                union.drain(..).for_each(|n| out.emit(row("union", n, [])));
            }
        })
        .sink("held rows", FileSink::json_lines(place.join("held")));
    topology
}

/// What a plain loop keeps of a key.
#[derive(Default)]
struct Known {
    count: u64,
    list: VecDeque<u64>,
    map: BTreeMap<u64, u64>,
    most: u64,
    sum: u64,
}

fn rows_of_states() -> Vec<Row> {
    let mut keys: HashMap<u64, Known> = HashMap::new();
    let mut rows = Vec::new();
    for n in 0..RECORDS {
        let known = keys.entry(n % KEYS).or_default();
        known.count += 1;
        known.list.push_back(n);
        *known.map.entry(n % 7).or_default() += n;
        known.most = known.most.max(n % 1_000);
        known.sum += n;
        if known.list.len() > 5 {
            known.list.pop_front();
        }
        let mut rest = vec![known.count, known.most, known.sum / known.count];
        rest.extend(&known.list);
        rest.extend(known.map.values());
        rest.extend(&known.list);
        rows.push(row("keyed", n % KEYS, rest));
        if n % 31 == 0 {
            keys.remove(&(n % KEYS));
        }
        rows.extend([row("list", n, []), row("union", n, [])]);
    }
    rows
}

const TREES: u64 = 40;
const CHILDREN: u64 = 2_000;

/// Each number has many children, which go round once more: a subtask that makes them takes nothing meanwhile, and most of them have to wait.
fn spilling(place: &Path, rate: f64) -> Topology {
    let topology = Topology::new("spilling");
    let trees = topology.source("trees", Generator::bounded(TREES, |n| (n, CHILDREN)).rate(rate / 80.0));
    let leaves = trees.iterate("grow", |looped| {
        let nodes = looped.rebalance().flat_map(|(tree, child): (u64, u64)| {
            let children = if child == CHILDREN { 0..CHILDREN } else { child..child + 1 };
            let is_leaf = child != CHILDREN;
            children.map(move |child| (is_leaf, (tree, child)))
        });
        let nodes = nodes.share();
        let of = |leaves| move |node: (bool, (u64, u64))| (node.0 == leaves).then_some(node.1);
        (nodes.stream().flat_map(of(false)), nodes.stream().flat_map(of(true)))
    });
    let rows = leaves.map(|(tree, child)| row("leaf", tree, [child]));
    rows.sink("leaves", FileSink::json_lines(place.join("leaves")));
    topology
}

fn rows_of_spilling() -> Vec<Row> {
    (0..TREES).flat_map(|tree| (0..CHILDREN).map(move |child| row("leaf", tree, [child]))).collect()
}

/// The job of this name in `place`.
fn start(place: &Path, name: &str, parallelism: u32, rate: f64) -> JobHandle {
    let state = place.join("state");
    let checkpoints = CheckpointConfig::every(Duration::from_millis(15));
    let builder = Engine::builder().parallelism(parallelism).max_parallelism(32).restart(RestartStrategy::None);
    let builder = match name {
        "small heap" => builder.backend(Lmdb::at(state).heap_limit(SMALL_HEAP)),
        "files" => builder.backend(FileSystem::at(state)),
        _ => builder.backend(Lmdb::at(state)),
    };
    match name {
        // Barriers overtake: what circulates is copied out of the files.
        "spilling" => {
            let builder = builder.batch_size(4).checkpoints(checkpoints.unaligned(Duration::ZERO));
            builder.start_blocking(spilling(place, rate)).unwrap()
        }
        _ => builder.checkpoints(checkpoints).start_blocking(states(place, rate)).unwrap(),
    }
}

/// What the process does that is to be killed: says in files what it has come to.
#[test]
fn child() {
    let Some(place) = env::var_os(PLACE).map(PathBuf::from) else { return };
    let parallelism = env::var(PARALLELISM).unwrap().parse().unwrap();
    let name = env::var(JOB).unwrap();
    let job = start(&place, &name, parallelism, RATE);
    loop {
        let status = job.status();
        let spilled = status.subtasks.iter().filter_map(|subtask| subtask.circulating).any(|now| now.on_disk > 0);
        if status.checkpoints_completed > 2 && (name != "spilling" || spilled) {
            fs::write(place.join("ready"), []).unwrap();
        }
        assert!(!matches!(status.phase, JobPhase::Ended), "too late to be killed");
        thread::yield_now();
    }
}

fn start_child(place: &Path, name: &str, parallelism: u32) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "states::child", "--nocapture", "--test-threads=1"]);
    command.env(PLACE, place).env(JOB, name).env(PARALLELISM, parallelism.to_string());
    let said = fs::File::create(place.join("said")).unwrap();
    command.stdout(Stdio::null()).stderr(said).spawn().unwrap()
}

fn rows_in(place: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for directory in ["keyed", "held", "leaves"] {
        let Ok(entries) = fs::read_dir(place.join(directory)) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with("part-") {
                let text = fs::read_to_string(&path).unwrap();
                rows.extend(text.lines().map(|line| serde_json::from_str::<Row>(line).unwrap()));
            }
        }
    }
    rows.sort_unstable();
    rows
}

/// Kills the job again and again, each time at another parallelism and a moment drawn by chance, and lets it come to its end.
fn survives(name: &str, parallelisms: &[u32], mut expected: Vec<Row>) {
    let place = tempfile::tempdir().unwrap();
    let (ready, mut chance) = (place.path().join("ready"), fastrand::Rng::new());
    let mut published = 0;
    for (kill, parallelism) in parallelisms.iter().enumerate() {
        let mut child = start_child(place.path(), name, *parallelism);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready.exists() {
            assert!(Instant::now() < deadline, "{name}, kill {kill}: the job does not get on");
            let said = || fs::read_to_string(place.path().join("said")).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "{name}, kill {kill}: the job has ended: {}", said());
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(chance.u64(0..60)));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "{name}, kill {kill}");
        fs::remove_file(&ready).unwrap();
        let now = rows_in(place.path()).len();
        assert!(now >= published, "{name}, kill {kill}: {published} rows were published, and {now} are there");
        published = now;
    }
    assert!(published < expected.len(), "{name}: all was published before the last start");
    let job = start(place.path(), name, 2, 1e6);
    assert!(matches!(job.status().started_from, Some(StartedFrom::Checkpoint(checkpoint)) if checkpoint.0 > 2));
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished, "{name}");
    expected.sort_unstable();
    let rows = rows_in(place.path());
    let differs = rows.iter().zip(&expected).find(|(row, expected)| row != expected);
    assert!(
        rows == expected,
        "{name}: {} rows, {} expected; the first that differs, and what was expected: {differs:?}",
        rows.len(),
        expected.len()
    );
}

#[test]
fn state_of_every_type_is_that_of_a_plain_loop_after_kills_on_lmdb() {
    survives("lmdb", &[2, 4, 1, 3, 2, 4], rows_of_states());
}

#[test]
fn state_of_every_type_is_that_of_a_plain_loop_after_kills_on_lmdb_with_a_small_heap() {
    survives("small heap", &[3, 1, 4, 2, 3, 1], rows_of_states());
}

#[test]
fn state_of_every_type_is_that_of_a_plain_loop_after_kills_on_files() {
    survives("files", &[1, 4, 3, 2, 1, 4], rows_of_states());
}

/// In one number of subtasks: what is in flight between equal numbers binds the job to it.
#[test]
fn what_a_loop_had_spilled_is_neither_lost_nor_goes_round_twice_after_kills() {
    survives("spilling", &[2, 2, 2], rows_of_spilling());
}
