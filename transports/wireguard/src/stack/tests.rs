//! Two stacks, and a wire that can be cut.

use super::*;

const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PORT: u16 = 1883;

struct Wire {
    device: Stack,
    hub: Stack,
    ports: Ports,
    now_s: u64,
    cut: bool,
}

impl Wire {
    fn new() -> Self {
        let buffers = Buffers {
            receive: 4096,
            send: 4096,
        };
        Self {
            device: Stack::new(DEVICE, 1, Ticks::from_nanos(0)),
            hub: Stack::new(HUB, 2, Ticks::from_nanos(0)),
            ports: Ports::from([(PORT, buffers)]),
            now_s: 0,
            cut: false,
        }
    }

    /// Second by second, so that every timer goes off.
    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now_s += 1;
            let now = Ticks::from_nanos(self.now_s * 1_000_000_000);
            for _ in 0..4 {
                self.device.poll(now);
                self.hub.poll(now);
                while let Some(packet) = self.device.emit() {
                    if !self.cut {
                        self.hub.receive(now, packet, &self.ports);
                    }
                }
                while let Some(packet) = self.hub.emit() {
                    if !self.cut {
                        self.device.receive(now, packet, &Ports::new());
                    }
                }
            }
        }
    }

    /// A connection, by its two ends.
    fn connect(&mut self) -> (SocketHandle, SocketHandle) {
        let buffers = self.ports[&PORT];
        let near = self.device.connect(HUB, PORT, buffers).unwrap();
        self.wait(2);
        let (far, port) = self.hub.accept().unwrap();
        assert_eq!(port, PORT);
        (near, far)
    }
}

#[test]
fn a_connection_on_which_nobody_speaks_for_an_hour_is_still_one() {
    let mut wire = Wire::new();
    let (near, far) = wire.connect();
    wire.hub.socket(far).send_slice(b"hello").unwrap();
    wire.wait(3600);
    let mut heard = [0; 8];
    assert_eq!(wire.device.socket(near).recv_slice(&mut heard), Ok(5));
    wire.device.socket(near).send_slice(b"still here").unwrap();
    wire.wait(3600);
    assert_eq!(wire.hub.socket(far).recv_slice(&mut heard), Ok(8));
}

#[test]
fn what_stays_unacknowledged_for_two_minutes_ends_the_connection() {
    let mut wire = Wire::new();
    let (near, far) = wire.connect();
    wire.wait(600);
    wire.cut = true;
    wire.hub.socket(far).send_slice(b"hello").unwrap();
    wire.wait(110);
    assert_eq!(wire.hub.socket(far).state(), tcp::State::Established);
    wire.wait(20);
    assert_eq!(wire.hub.socket(far).state(), tcp::State::Closed);
    // The other end had nothing to say, and so nothing to miss.
    assert_eq!(wire.device.socket(near).state(), tcp::State::Established);
    // An end that is closed while nobody answers is over as well.
    wire.device.release(near);
    wire.wait(100);
    assert!(!wire.device.is_idle());
    wire.wait(100);
    assert!(wire.device.is_idle());
}

#[test]
fn an_end_that_is_closed_after_a_silence_is_an_end_and_no_reset() {
    let mut wire = Wire::new();
    let (near, far) = wire.connect();
    wire.wait(3600);
    wire.hub.release(far);
    wire.wait(1);
    assert_eq!(wire.device.socket(near).state(), tcp::State::CloseWait);
    wire.device.release(near);
    wire.wait(20);
    assert!(wire.hub.is_idle() && wire.device.is_idle());
}
