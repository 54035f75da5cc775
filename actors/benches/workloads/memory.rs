//! Peak resident memory, by kind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Peaks in MiB; 0 where the system does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peak {
    pub rss_anon: u64,
    pub rss_file: u64,
}

/// Looks every 10 ms.
pub struct MemoryWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Peak>,
}

impl MemoryWatch {
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut peak = Peak::default();
            while !stopped.load(Ordering::Relaxed) {
                let now = now();
                peak = Peak { rss_anon: peak.rss_anon.max(now.rss_anon), rss_file: peak.rss_file.max(now.rss_file) };
                std::thread::sleep(Duration::from_millis(10));
            }
            peak
        });
        Self { stop, thread }
    }

    pub fn stop(self) -> Peak {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn now() -> Peak {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
    };
    Peak { rss_anon: mib("RssAnon:"), rss_file: mib("RssFile:") }
}
