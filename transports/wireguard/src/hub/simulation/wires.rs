//! What happens to datagrams on their way: NATs, and the weather.

use super::*;

impl World {
    /// Puts a datagram on the wire.
    pub(super) fn carry(&mut self, datagram: Datagram) {
        if let Some(left) = &mut self.lose {
            *left = left.wrapping_sub(1);
            if *left == u64::MAX {
                self.lose = None;
                return;
            }
        }
        let weather = self.weather;
        if self.random(100) < u64::from(weather.lost_percent) {
            return;
        }
        let copies = 1 + u64::from(self.random(100) < u64::from(weather.twice_percent));
        for _ in 0..copies {
            let late = self.random(weather.late_ns + 1);
            let at = self.now.add_nanos(LATENCY_NS + late);
            self.sequence += 1;
            let copy = Datagram {
                bytes: datagram.bytes.clone(),
                ..datagram
            };
            self.wires.insert((at, self.sequence), copy);
        }
    }

    pub(super) fn send_to_hub(&mut self, device: usize, bytes: Vec<u8>) {
        let now = self.now;
        let fresh = self.next_port;
        let device = &mut self.devices[device];
        if device.off {
            return;
        }
        device.datagrams += 1;
        device.bytes += bytes.len() as u64 + 28;
        let port = match &mut device.nat {
            None => 51820,
            Some(nat) => {
                if nat
                    .used
                    .is_none_or(|used| now.since(used) >= nat.forgets_ns)
                {
                    nat.port = fresh;
                    self.next_port += 1;
                }
                nat.used = Some(now);
                nat.port
            }
        };
        let outside = (device.host, port).into();
        let door = device.door;
        if let Some(overheard) = &mut self.overheard {
            overheard.push((door, outside, bytes.clone()));
        }
        self.carry(Datagram {
            to_hub: true,
            door,
            outside,
            bytes,
        });
    }

    pub(super) fn arrive(&mut self, datagram: Datagram) {
        if datagram.to_hub {
            self.at_hub(datagram.door, datagram.outside, &datagram.bytes);
            return;
        }
        let now = self.now;
        let found = self.devices.iter().position(|device| {
            let open = match &device.nat {
                None => datagram.outside.port() == 51820,
                Some(nat) => {
                    nat.port == datagram.outside.port()
                        && nat
                            .used
                            .is_some_and(|used| now.since(used) < nat.forgets_ns)
                }
            };
            open && !device.off && datagram.outside.ip() == device.host
        });
        if let Some(device) = found {
            self.at_device(device, &datagram.bytes);
        }
    }

    pub(super) fn at_hub(&mut self, door: Door, from: SocketAddr, bytes: &[u8]) {
        if self.mute && crate::ping::Ping::decode(bytes).is_some() {
            return;
        }
        let now = self.clock();
        let mut sent = Sent::default();
        if let Some(id) = self.hub.receive(now, door, from, bytes, &mut sent) {
            self.hub.settle(now, id, &mut sent);
        }
        self.deliver(sent);
    }

    pub(super) fn deliver(&mut self, sent: Sent) {
        self.arrivals.append(&mut self.hub.arrivals);
        for (door, outside, bytes) in sent.0 {
            if let Some(device) = self
                .devices
                .iter_mut()
                .find(|device| outside.ip() == device.host)
            {
                device.datagrams += 1;
                device.bytes += bytes.len() as u64 + 28;
            }
            self.carry(Datagram {
                to_hub: false,
                door,
                outside,
                bytes,
            });
        }
    }
}
