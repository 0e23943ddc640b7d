//! The boards' drivers, proved to this test by the boards' `drivers` programs: network, randomness,
//! clock, watchdog, and word of how a firmware ended.

use crate::PATIENCE;
use crate::board::{Board, CORTEX_M3_SF2, Kind, Machine, RISCV_VIRT};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

/// Bytes that go there and back: many times what any buffer holds.
const ECHO: usize = 96 * 1024;
/// Attempts to see the clock's rate between the delays of a loaded machine.
const LOOKS: usize = 12;

#[test]
fn the_drivers_of_a_riscv_board_do_their_work() {
    drivers_work(&RISCV_VIRT);
}

#[test]
fn the_drivers_of_a_cortex_m3_board_do_their_work() {
    drivers_work(&CORTEX_M3_SF2);
}

fn drivers_work(kind: &'static Kind) {
    let Some(board) = Board::new(kind, "drivers") else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    board.write_spare(&[&b"DRIVERS:"[..], &port.to_le_bytes()].concat());
    let connections = accept(listener);
    let machine = board.start();
    let mut device = Device::meet(&machine, &connections, "last none");
    device.echoes(ECHO);
    device.tells_time();
    let mut random = vec![device.ask::<32>(b'r'), device.ask(b'r')];
    println!("{}: stack {} bytes", kind.name, device.number(b's'));

    device.say(b'p');
    let mut device = Device::meet(&machine, &connections, "last Panic");
    random.push(device.ask(b'r'));
    device.say(b'x');
    let mut device = Device::meet(&machine, &connections, "last Fault");
    random.push(device.ask(b'r'));
    device.say(b'f');
    device.say(b'h');
    let mut device = Device::meet(&machine, &connections, "last Watchdog not fed in time");
    random.push(device.ask(b'r'));
    device.say(b'a');
    Device::meet(&machine, &connections, "last Asked by the host");
    machine.cut();

    let machine = board.start();
    let mut device = Device::meet(&machine, &connections, "last none");
    random.push(device.ask(b'r'));
    random.sort_unstable();
    let all = random.len();
    random.dedup();
    assert_eq!(random.len(), all, "the same bytes came twice");
}

fn accept(listener: TcpListener) -> Receiver<TcpStream> {
    let (sender, connections) = channel();
    // It ends with the test.
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    connections
}

/// A program that runs and is connected.
struct Device(TcpStream);

impl Device {
    fn meet(machine: &Machine, connections: &Receiver<TcpStream>, start: &str) -> Self {
        let said = machine.lines.recv_timeout(PATIENCE).unwrap();
        assert!(said.starts_with(start), "`{said}` instead of `{start}`");
        let said = machine.lines.recv_timeout(PATIENCE).unwrap();
        assert_eq!(
            said,
            "address Some(Cidr { address: 10.0.2.15, prefix_len: 24 })"
        );
        let stream = connections.recv_timeout(PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn say(&mut self, letter: u8) {
        self.0.write_all(&[letter]).unwrap();
    }

    fn ask<const N: usize>(&mut self, letter: u8) -> [u8; N] {
        self.say(letter);
        let mut answer = [0; N];
        self.0.read_exact(&mut answer).unwrap();
        answer
    }

    fn number(&mut self, letter: u8) -> u64 {
        u64::from_le_bytes(self.ask(letter))
    }

    fn echoes(&mut self, len: usize) {
        let sent: Vec<u8> = (0..len as u32)
            .map(|at| (at.wrapping_mul(at) >> 7) as u8)
            .collect();
        let mut writer = self.0.try_clone().unwrap();
        let message = [&b"e"[..], &(len as u32).to_le_bytes(), &sent].concat();
        let writing = thread::spawn(move || writer.write_all(&message).unwrap());
        let mut back = vec![0; len];
        self.0.read_exact(&mut back).unwrap();
        writing.join().unwrap();
        assert!(back == sent, "something else came back");
    }

    /// The clock never runs faster than ours, and not much slower where nothing delays us.
    fn tells_time(&mut self) {
        let mut nearest = f64::INFINITY;
        for _ in 0..LOOKS {
            let start = Instant::now();
            let before = self.number(b't');
            assert!(self.number(b'w') >= 300_000, "an alarm came early");
            let passed = (self.number(b't') - before) as f64;
            let ours = start.elapsed().as_micros() as f64;
            assert!(passed <= ours * 1.001, "{passed} us passed in {ours}");
            nearest = nearest.min(ours / passed);
            if nearest < 1.1 {
                break;
            }
        }
        assert!(nearest < 1.3, "the clock runs {nearest} times too slowly");
    }
}
