//! When something must have happened on a connection; nothing here reads a clock.

use embassy_time::{Duration, Instant};

/// Further away than anything that is waited for.
pub(super) const NEVER: Instant = Instant::MAX;
/// How long before the end of a keep-alive the ping leaves, in seconds, or half of it where that is less.
const PING_LEAD_S: u16 = 5;

/// What has not happened in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nothing was said for a while, so a ping is to be sent.
    Ping,
    /// The fleet has not answered a question; it may answer the next.
    Piece,
    /// The broker has not answered, so it is gone.
    Answer,
}

/// The deadlines of one connection.
pub(super) struct Deadlines {
    timeout: Duration,
    /// When the broker must have acknowledged something.
    answer: Instant,
    /// When the fleet must have answered a question.
    piece: Instant,
    ping: Instant,
    ping_every: Duration,
    /// When a ping must be answered.
    pong: Instant,
}

impl Deadlines {
    /// Of a broker that is being greeted.
    pub(super) fn new(timeout: Duration, now: Instant) -> Self {
        Self {
            timeout,
            answer: now + timeout,
            piece: NEVER,
            ping: NEVER,
            ping_every: Duration::MAX,
            pong: NEVER,
        }
    }

    /// From here on there are pings, unless the keep-alive is zero (section 3.1.2.10).
    pub(super) fn keep_alive(&mut self, seconds: u16) {
        self.ping_every = match seconds {
            0 => Duration::MAX,
            1.. => Duration::from_secs((seconds - PING_LEAD_S.min(seconds / 2)).into()),
        };
    }

    /// The next of them. What cannot come, while nothing is read, is not waited for.
    pub(super) fn next(&self, is_reading: bool) -> Instant {
        let ping = match self.pong {
            NEVER => self.ping,
            _ => NEVER,
        };
        match is_reading {
            true => self.answer.min(self.piece).min(self.pong).min(ping),
            false => ping,
        }
    }

    /// The [next](Self::next) of them has passed.
    pub(super) fn overdue(&mut self, now: Instant) -> Overdue {
        if self.pong == NEVER && self.ping <= now {
            self.pong = now + self.timeout;
            return Overdue::Ping;
        }
        if self.piece <= now {
            self.piece = NEVER;
            return Overdue::Piece;
        }
        Overdue::Answer
    }

    /// Something was sent, which is a sign of life.
    pub(super) fn sent(&mut self, now: Instant) {
        self.ping = now.checked_add(self.ping_every).unwrap_or(NEVER);
    }

    /// The broker has something more to acknowledge.
    pub(super) fn owed(&mut self, now: Instant) {
        self.answer = self.answer.min(now + self.timeout);
    }

    /// It has acknowledged something, and has as long again for the rest, if there is any.
    pub(super) fn acknowledged(&mut self, is_more_owed: bool, now: Instant) {
        self.answer = match is_more_owed {
            true => now + self.timeout,
            false => NEVER,
        };
    }

    pub(super) fn pong(&mut self) {
        self.pong = NEVER;
    }

    pub(super) fn asked(&mut self, now: Instant) {
        self.piece = now + self.timeout;
    }

    /// The question has its answer, or gets none.
    pub(super) fn answered(&mut self) {
        self.piece = NEVER;
    }

    /// Nothing was read for a while, so nothing can have been answered.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        for due in [&mut self.answer, &mut self.piece, &mut self.pong] {
            *due = (*due).max(now + self.timeout);
        }
    }
}
