//! A board of the fleet: its machine, and everything that it said.

use crate::board::{Board, Kind, Machine};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest time for one step of a story: a loaded machine runs QEMU slowly.
const PATIENCE: Duration = Duration::from_secs(150);
/// An emulated board takes a whole core: one at a time, or each is too slow for the others' patience.
static TURN: Mutex<()> = Mutex::new(());
/// Bytes that are asked for at once.
pub(crate) const CHUNK: u64 = 2048;

pub(crate) struct Device {
    board: Board,
    machine: Option<Machine>,
    said: Vec<String>,
    _turn: MutexGuard<'static, ()>,
}

/// Looks until it is so.
pub(crate) async fn until(
    what: &str,
    device: &mut Device,
    mut look: impl AsyncFnMut(&Device) -> bool,
) {
    let start = Instant::now();
    loop {
        device.listen();
        if look(device).await {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{what} does not come about; the board said:\n{}",
            device.said.join("\n")
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Device {
    /// A board as it comes from the factory, unless what it needs is missing.
    pub(crate) fn new(kind: &'static Kind) -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let board = Board::new(kind, "firmware")?;
        Some(Self {
            board,
            machine: None,
            said: Vec::new(),
            _turn: turn,
        })
    }

    pub(crate) fn configure(&self, block: &[u8]) {
        self.board.configure(block);
    }

    pub(crate) fn image(&self, major: u16, patch: u32) -> Vec<u8> {
        self.board.image_of(major, patch)
    }

    /// From the next start on.
    pub(crate) fn only_http(&mut self, only: bool) {
        self.cut();
        let start = if only { b"HTTPONLY" } else { &[0xFF; 8] };
        self.board.write_spare(start);
    }

    pub(crate) fn start(&mut self) {
        self.machine = Some(self.board.start());
    }

    fn cut(&mut self) {
        if let Some(machine) = self.machine.take() {
            let mut rest = machine.cut();
            // The last line may be torn.
            rest.pop();
            self.said.extend(rest);
        }
    }

    /// The power goes and comes back; returns how many lines were said before.
    pub(crate) fn restart(&mut self) -> usize {
        self.cut();
        self.start();
        self.said.len()
    }

    fn listen(&mut self) {
        if let Some(machine) = &self.machine {
            self.said.extend(machine.lines.try_iter());
        }
    }

    /// Whether something was said.
    pub(crate) fn has(&self, what: &str) -> bool {
        self.said.iter().any(|line| line.contains(what))
    }

    fn boots(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.said.iter().filter_map(|line| {
            let words = line.strip_prefix("boot version=")?;
            words.split_once(' ')
        })
    }

    /// The version that was started last.
    pub(crate) fn runs(&self) -> &str {
        self.boots()
            .next_back()
            .map_or("none", |(version, _)| version)
    }

    /// Every start was one of this version or of the one before it, and they follow each other.
    pub(crate) fn tells_the_truth(&self, major: u16) {
        let (mut newest, mut tried) = (1, 1);
        for (version, why) in self.boots() {
            let started: u16 = version.split('.').next().unwrap().parse().unwrap();
            if why.starts_with("why=Trial") && started == tried + 1 {
                // What was tried before was kept, or nothing newer would have been staged.
                (newest, tried) = (tried, started);
            }
            let old_or_new = started == newest || started == newest + 1;
            assert!(old_or_new, "version {version} after {newest}");
            if why.starts_with("why=Trial") {
                assert_eq!(started, newest + 1, "a trial of what was kept: {why}");
            } else {
                assert!(why.starts_with("why=Confirmed"), "{why}");
                newest = started;
            }
        }
        assert!(
            newest == major || newest + 1 == major,
            "{newest} of {major}"
        );
    }

    fn fetches(&self) -> impl Iterator<Item = u64> {
        let counts = |line: &String| line.strip_prefix("fetched ")?.parse().ok();
        self.said.iter().filter_map(counts)
    }

    /// How many bytes of an image were in flash when this was last said.
    pub(crate) fn fetched(&self) -> u64 {
        self.fetches().last().unwrap_or(0)
    }

    /// The same, when it was first said after so many lines.
    pub(crate) fn first_fetched(&self, lines: usize) -> u64 {
        let after = self.said[lines..].iter();
        let mut counts = after.filter_map(|line| line.strip_prefix("fetched ")?.parse().ok());
        counts.next().unwrap_or(0)
    }

    /// How many lines were said.
    pub(crate) fn told(&self) -> usize {
        self.said.len()
    }

    /// Whether, after so many lines, one life fetched up to this many bytes.
    pub(crate) fn fetched_in_one_life(&self, lines: usize, goal: u64) -> bool {
        let is_goal = |line: &&String| line.strip_prefix("fetched ") == Some(&goal.to_string());
        let before = self.said[lines..].iter().take_while(|line| !is_goal(line));
        let is_reached = self.said[lines..].iter().any(|line| is_goal(&line));
        is_reached
            && !before
                .into_iter()
                .any(|line| line.starts_with("boot version="))
    }

    /// The most bytes of stack that the board said of any of its lives.
    pub(crate) fn stack(&self) -> Option<u64> {
        let said = self
            .said
            .iter()
            .filter_map(|line| line.strip_prefix("stack "));
        said.filter_map(|bytes| bytes.parse().ok()).max()
    }
}
