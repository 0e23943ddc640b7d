//! What the firmware logs, on its way to the fleet: batched, bounded, the oldest given up first.
//!
//! Frames of defmt stay as they are; only the ELF of the image that made them explains them, and that is on the publisher's machine.
//! So each batch of them begins with which image that is ([`origin`](crate::origin)).

use core::cell::RefCell;
use core::fmt::{self, Write};

use embassy_futures::select::select;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Timer, with_timeout};
use lightship_https::post::{Dial, Kind, POST_HEAD_BYTES, Post};

use super::tunnel::{GATEWAY_NAME, Way, Ways};
use crate::limits::{FRAMES_BYTES, LINES_BYTES, LOG_BATCH, LOG_PAUSE, LOG_RETRY, LOG_RETRY_FIRST};
use crate::origin::{ORIGIN_LEN, Origin};

/// What waits to be sent; a `static` that the logger and the agent share.
pub struct Log {
    waiting: Mutex<CriticalSectionRawMutex, RefCell<Waiting>>,
    some: Signal<CriticalSectionRawMutex, ()>,
}

struct Waiting {
    frames: Ring<FRAMES_BYTES, 0>,
    lines: Ring<LINES_BYTES, b'\n'>,
    origin: Origin,
}

impl Log {
    /// Put it in a `static`.
    pub const fn new() -> Self {
        Self {
            waiting: Mutex::new(RefCell::new(Waiting {
                frames: Ring::new(),
                lines: Ring::new(),
                origin: Origin::NONE,
            })),
            some: Signal::new(),
        }
    }

    /// Takes a piece of an encoded stream of defmt, from the global logger. Does not wait; may be called from an interrupt.
    pub fn frames(&self, bytes: &[u8]) {
        self.waiting
            .lock(|waiting| waiting.borrow_mut().frames.put(bytes));
        if bytes.ends_with(&[0]) {
            self.some.signal(());
        }
    }

    /// Says which image logs.
    pub(super) fn comes_from(&self, origin: Origin) {
        self.waiting
            .lock(|waiting| waiting.borrow_mut().origin = origin);
    }

    /// Takes a line of text.
    pub fn line(&self, text: fmt::Arguments<'_>) {
        // A ring takes whatever is written.
        self.write(|line| _ = line.write_fmt(text));
    }

    /// Takes a line of text in pieces: a firmware that has no lines but these needs no [`fmt`].
    pub(super) fn write(&self, text: impl FnOnce(&mut Line<'_>)) {
        self.waiting.lock(|waiting| {
            let lines = &mut waiting.borrow_mut().lines;
            lines.put(br#"{"service":"agent","line":""#);
            text(&mut Line(lines));
            lines.put(b"\"}\n");
        });
        self.some.signal(());
    }

    /// Copies the oldest of what waits to the start of `batch`, whole frames behind their origin or lines, and says what it is.
    fn oldest(&self, batch: &mut [u8]) -> Option<(Kind, usize)> {
        self.waiting.lock(|waiting| {
            let waiting = waiting.borrow();
            match waiting.lines.oldest(batch) {
                0 => {
                    let (origin, frames) = batch.split_at_mut(ORIGIN_LEN);
                    origin.copy_from_slice(&waiting.origin.to_bytes());
                    match waiting.frames.oldest(frames) {
                        0 => None,
                        len => Some((Kind::Defmt, ORIGIN_LEN + len)),
                    }
                }
                len => Some((Kind::Lines, len)),
            }
        })
    }

    /// Forgets what was sent, unless it gave way to newer ones meanwhile.
    fn sent(&self, kind: Kind, batch: &[u8]) {
        self.waiting.lock(|waiting| {
            let waiting = &mut *waiting.borrow_mut();
            match kind {
                Kind::Lines => waiting.lines.forget(batch),
                Kind::Defmt => waiting.frames.forget(&batch[ORIGIN_LEN..]),
            }
        });
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// Sends what waits, for ever; each batch may take so long.
pub(super) async fn ship(log: &Log, way: &Way<'_, '_>, ways: &Ways, timeout: Duration) -> ! {
    let mut batch = [0; LOG_BATCH];
    let mut retry = LOG_RETRY_FIRST;
    loop {
        log.some.wait().await;
        // What comes within the pause goes together.
        Timer::after(LOG_PAUSE).await;
        while let Some((kind, len)) = log.oldest(&mut batch) {
            let sending = send(way, ways, kind, &batch[..len]);
            match with_timeout(timeout, sending).await {
                Ok(Some(())) => {
                    log.sent(kind, &batch[..len]);
                    retry = LOG_RETRY_FIRST;
                }
                Ok(None) | Err(_) => {
                    // Until the tunnel is another one, or for a while.
                    select(Timer::after(retry), ways.changed()).await;
                    retry = LOG_RETRY.min(retry * 2);
                }
            }
        }
    }
}

/// Sends a batch to the fleet, which keeps it, or nothing is known of it.
async fn send(way: &Way<'_, '_>, ways: &Ways, kind: Kind, batch: &[u8]) -> Option<()> {
    let credentials = ways.credentials()?;
    let mut stream = way.dial().await.ok()?;
    let post = Post::logs(GATEWAY_NAME, kind, &credentials);
    let mut answer = [0; POST_HEAD_BYTES];
    let answer = post.send(&mut stream, batch, &mut answer).await.ok()?;
    answer.is_good().then_some(())
}

/// The newest bytes, in pieces that end with a delimiter.
struct Ring<const N: usize, const END: u8> {
    bytes: [u8; N],
    start: usize,
    len: usize,
}

impl<const N: usize, const END: u8> Ring<N, END> {
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            start: 0,
            len: 0,
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.len == N {
                self.give_way();
            }
            self.bytes[(self.start + self.len) % N] = *byte;
            self.len += 1;
        }
    }

    /// Drops the oldest piece.
    fn give_way(&mut self) {
        while self.len > 0 {
            let dropped = self.bytes[self.start];
            self.drop_first(1);
            if dropped == END {
                return;
            }
        }
    }

    fn drop_first(&mut self, count: usize) {
        self.start = (self.start + count) % N;
        self.len -= count;
    }

    /// Copies the oldest pieces that fit, whole.
    fn oldest(&self, into: &mut [u8]) -> usize {
        let mut whole = 0;
        for at in 0..self.len.min(into.len()) {
            into[at] = self.bytes[(self.start + at) % N];
            if into[at] == END {
                whole = at + 1;
            }
        }
        // A piece that fits no batch goes in parts.
        match (whole, self.len > into.len()) {
            (0, true) => into.len(),
            (whole, _) => whole,
        }
    }

    fn forget(&mut self, sent: &[u8]) {
        let is_there = sent.len() <= self.len
            && (0..sent.len()).all(|at| self.bytes[(self.start + at) % N] == sent[at]);
        if is_there {
            self.drop_first(sent.len());
        }
    }
}

/// A line that is written, as it stands between the quotes of JSON (RFC 8259, section 7).
pub(super) struct Line<'r>(&'r mut Ring<LINES_BYTES, b'\n'>);

impl Line<'_> {
    pub(super) fn put(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                b'"' => self.0.put(b"\\\""),
                b'\\' => self.0.put(b"\\\\"),
                0..0x20 => self.0.put(b" "),
                _ => self.0.put(&[byte]),
            }
        }
    }

    /// A number, in decimal.
    pub(super) fn number(&mut self, number: u32) {
        if number > 9 {
            self.number(number / 10);
        }
        self.0.put(&[b'0' + (number % 10) as u8]);
    }
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oldest(log: &Log) -> Option<(Kind, std::string::String)> {
        let mut batch = [0; LOG_BATCH];
        let (kind, len) = log.oldest(&mut batch)?;
        let text = std::string::String::from_utf8(batch[..len].to_vec()).unwrap();
        log.sent(kind, &batch[..len]);
        Some((kind, text))
    }

    #[test]
    fn lines_are_json_whatever_they_say() {
        let log = Log::new();
        log.line(format_args!("a \"quoted\" \\ line\nand {}", 7));
        let (kind, text) = oldest(&log).unwrap();
        assert_eq!(kind, Kind::Lines);
        assert_eq!(
            text,
            "{\"service\":\"agent\",\"line\":\"a \\\"quoted\\\" \\\\ line and 7\"}\n"
        );
        log.write(|line| {
            line.put("in \"pieces\" ");
            for number in [0, 9, 10, u32::MAX] {
                line.number(number);
            }
        });
        let (_, text) = oldest(&log).unwrap();
        let piece = "in \\\"pieces\\\" 09104294967295\"";
        assert!(text.contains(piece), "{text}");
        assert_eq!(oldest(&log), None);
    }

    #[test]
    fn two_lines_are_one_batch() {
        let log = Log::new();
        log.write(|line| line.put("started: reset=fault why=confirmed"));
        log.write(|line| line.put("the last life ended with a fault: panicked at 'it'"));
        let (kind, text) = oldest(&log).unwrap();
        assert_eq!(kind, Kind::Lines);
        let begin = r#"{"service":"agent","line":"started: reset=fault why=confirmed"}"#;
        assert_eq!(text.lines().next(), Some(begin));
        assert!(text.ends_with("fault: panicked at 'it'\"}\n"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn the_oldest_frames_give_way_and_whole_ones_are_left() {
        let log = Log::new();
        for byte in 1..=255 {
            log.frames(&[byte; 15]);
            log.frames(&[0]);
        }
        let mut batch = [0; LOG_BATCH];
        let image = Origin::new(&[7; 32], 0x100);
        log.comes_from(image);
        let (kind, len) = log.oldest(&mut batch).unwrap();
        assert_eq!(kind, Kind::Defmt);
        let (origin, frames) = Origin::split(&batch[..len]).unwrap();
        assert_eq!(origin, image, "it says which image logged");
        assert!(frames.len().is_multiple_of(16), "whole frames: {len}");
        assert_eq!(frames[0], frames[14], "it starts with a whole frame");
        assert_eq!(frames[15], 0);
        let mut frames = 0;
        while let Some((kind, len)) = log.oldest(&mut batch) {
            log.sent(kind, &batch[..len]);
            frames += (len - ORIGIN_LEN) / 16;
        }
        assert_eq!(frames, FRAMES_BYTES / 16, "as many as fit are kept");
    }

    #[test]
    fn what_gave_way_while_it_was_sent_takes_nothing_else_with_it() {
        let log = Log::new();
        let mut batch = [0; LOG_BATCH];
        log.frames(&[1, 0]);
        let (kind, len) = log.oldest(&mut batch).unwrap();
        for _ in 0..FRAMES_BYTES {
            log.frames(&[2, 0]);
        }
        log.sent(kind, &batch[..len]);
        let (_, full) = log.oldest(&mut batch).unwrap();
        assert!(full > LOG_BATCH - 2);
        assert_eq!(batch[ORIGIN_LEN..][..2], [2, 0]);
    }
}
