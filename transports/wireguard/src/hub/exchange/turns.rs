//! Timers, keep-alives, and what the stacks have to send.

use std::net::SocketAddr;

use super::super::peer::Kind;
use super::super::{Door, Outlet};
use super::{Arrival, Exchange};
use crate::engine::{Now, Ticks};
use crate::limits;
use crate::ping::Ping;
use crate::stack::StreamId;

impl Exchange {
    /// A mapping is held open. Whoever comes from an unknown place has a new one, and must show itself.
    pub(in crate::hub) fn ping(
        &mut self,
        now: Ticks,
        door: Door,
        from: SocketAddr,
        ping: Ping,
        outlet: &mut dyn Outlet,
    ) {
        self.counters.pings += 1;
        let Some(id) = self.by_endpoint.get(&(door, from)).copied() else {
            outlet.send(door, from, &Ping::Unknown.encode());
            return;
        };
        let (Ping::Probe { after_s, nonce }, Some(peer)) = (ping, self.peers.get_mut(&id)) else {
            return;
        };
        if after_s <= limits::LONGEST_PROBE_S {
            peer.echo = Some((now.add_nanos(u64::from(after_s) * 1_000_000_000), nonce));
            self.set_timer(now, id);
        }
    }

    /// Notes when a peer has something due by itself.
    pub(in crate::hub) fn set_timer(&mut self, now: Ticks, id: u64) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let due = peer.due(now);
        let before = std::mem::replace(&mut peer.wake, due);
        if before == due {
            return;
        }
        if let Some(at) = before {
            self.timers.remove(&(at, id));
        }
        if let Some(at) = due {
            self.timers.insert((at, id));
        }
    }

    /// Moves what a peer's stack has to send, hands out its arrivals and sets its timer.
    pub(in crate::hub) fn settle(&mut self, now: Now, id: u64, outlet: &mut dyn Outlet) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let mut started = Vec::new();
        for packet in peer.take_waiting() {
            started.extend(peer.send(now, packet, outlet, &mut *self.chance));
        }
        if let Some(mut stack) = peer.stack.take() {
            stack.poll(now.ticks);
            while let Some(packet) = stack.emit() {
                started.extend(peer.send(now, packet, outlet, &mut *self.chance));
            }
            while let Some((socket, port)) = stack.accept() {
                let stream = StreamId {
                    peer: id,
                    life: peer.life,
                    socket,
                };
                self.arrivals.push(Arrival {
                    stream,
                    port,
                    peer: id,
                });
            }
            // What is idle is dropped: the memory of a device that only waits is its engine.
            peer.stack = (!stack.is_idle()).then_some(stack);
        }
        self.set_timer(now.ticks, id);
        self.note_sessions(id, started);
    }

    /// How many sessions, places and timers are kept.
    #[cfg(test)]
    pub(in crate::hub) fn sizes(&self) -> (usize, usize, usize) {
        (
            self.by_session.len(),
            self.by_endpoint.len(),
            self.timers.len(),
        )
    }

    /// When [`Self::expire`] has something to do.
    pub(in crate::hub) fn wake(&self) -> Option<Ticks> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Does what is due; at most [`limits::DATAGRAMS_PER_TURN`] peers at a time.
    pub(in crate::hub) fn expire(&mut self, now: Now, outlet: &mut dyn Outlet) {
        let due: Vec<u64> = self
            .timers
            .iter()
            .take_while(|(at, _)| *at <= now.ticks)
            .take(limits::DATAGRAMS_PER_TURN)
            .map(|(_, id)| *id)
            .collect();
        for id in due {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            if matches!(peer.kind, Kind::Guest { until, .. } if until <= now.ticks) {
                self.drop_peer(id);
                continue;
            }
            peer.echo(now.ticks, outlet);
            let started = peer.poll_engines(now, outlet, &mut *self.chance);
            self.note_sessions(id, started);
            self.settle(now, id, outlet);
        }
    }
}
