// A device's life in small, to be weighed: it connects, sends, receives, and changes its keys.
// Everything a device needs of the tunnel is linked, and no more; the tunnel is a static, so its size is part of the weighed RAM.

use core::hint::black_box;
use core::mem::MaybeUninit;

use lightship_wireguard::link::{Input, KeepAlive, KeySet, Link, Output};
use lightship_wireguard::{
    EntropyError, EntropySource, PresharedKey, PublicKey, SecretKey, Ticks, TimeFloor,
};

/// Where a board has its random number generator.
struct Chance;

impl EntropySource for Chance {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(black_box(7));
        Ok(())
    }
}

fn keys(seed: u8) -> KeySet {
    let hub = PublicKey(black_box([9; 32]));
    KeySet {
        secret: SecretKey(black_box([seed; 32])),
        hub,
        preshared: PresharedKey(black_box([3; 32])),
    }
}

pub(crate) fn live(place: &mut MaybeUninit<Link>) -> bool {
    let (mut floor, store_s) = TimeFloor::boot(Ticks::ZERO, black_box(1_750_000_000));
    floor.stored(black_box(store_s));
    let Ok(link) = Link::new(floor.now(Ticks::ZERO), keys(1), None, KeepAlive::Learned) else {
        return false;
    };
    let link = place.write(link);
    let mut buffer = [0; 1472];
    loop {
        let now = floor.now(black_box(link.wake()));
        while let Some(length) = link.poll(now, &mut buffer, &mut Chance) {
            black_box(&buffer[..length]);
        }
        let datagram = black_box([4; 148]);
        match link.receive(now, &datagram, &mut buffer, &mut Chance) {
            Input::Packet(packet) => drop(black_box(packet.len())),
            Input::Reply(wire) => drop(black_box(wire.len())),
            Input::Established | Input::Alive | Input::Ignored => {}
        }
        match link.send(now, &black_box([0x45; 40]), &mut buffer, &mut Chance) {
            Output::Datagram(wire) | Output::Wait(Some(wire)) => drop(black_box(wire.len())),
            Output::Wait(None) => {}
        }
        black_box(link.note());
        if black_box(false) {
            return link.offer(now, keys(2)).is_ok();
        }
    }
}
