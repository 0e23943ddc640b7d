//! What the ends do with a tunnel: send, receive, and reach each other.

use super::*;

impl World {
    /// The device sends bytes to the hub's port 80; returns how many seconds it took until all had arrived, or `None` after `within` seconds.
    pub(super) fn upload(&mut self, device: usize, length: usize, within: u64) -> Option<u64> {
        let started = self.now;
        let bytes: Vec<u8> = (0..length).map(|n| (n * 31 + n / 251) as u8).collect();
        let socket = self.devices[device]
            .stack
            .connect(HUB, 80, Buffers::default())
            .unwrap();
        let (mut put, mut got) = (0, Vec::new());
        self.arrivals.clear();
        let mut stream = None;
        let whole = self.run_until(within, |world| {
            let end = world.devices[device].stack.socket(socket);
            if end.can_send() && put < bytes.len() {
                put += end.send_slice(&bytes[put..]).unwrap();
            }
            stream = stream.or_else(|| world.arrivals.pop().map(|arrival| arrival.stream));
            if let Some(stream) = stream {
                got.extend(world.read(stream));
            }
            got.len() >= bytes.len()
        });
        assert!(bytes.starts_with(&got), "what arrives is what was sent");
        self.devices[device].stack.release(socket);
        stream.inspect(|stream| self.close(*stream));
        whole.then(|| self.now.since(started) / SECOND)
    }

    pub(super) fn read(&mut self, stream: StreamId) -> Vec<u8> {
        let now = self.clock();
        let mut bytes = vec![0; 65536];
        let Some(stack) = self.hub.stack_of(stream) else {
            return Vec::new();
        };
        let read = stack
            .socket(stream.socket)
            .recv_slice(&mut bytes)
            .unwrap_or(0);
        bytes.truncate(read);
        let mut sent = Sent::default();
        self.hub.settle(now, stream.peer, &mut sent);
        self.deliver(sent);
        bytes
    }

    pub(super) fn close(&mut self, stream: StreamId) {
        let now = self.clock();
        if let Some(stack) = self.hub.stack_of(stream) {
            stack.release(stream.socket);
        }
        let mut sent = Sent::default();
        self.hub.settle(now, stream.peer, &mut sent);
        self.deliver(sent);
    }

    /// The hub dials the device's port 22; returns how many seconds until the device had the connection.
    pub(super) fn reach(&mut self, device: usize, within: u64) -> Option<u64> {
        let started = self.now;
        let address = self.devices[device].address;
        let now = self.clock();
        let id = self.hub.id(address).unwrap();
        let (life, stack) = self.hub.stack(now, id).unwrap();
        let socket = stack.connect(address, 22, Buffers::default()).unwrap();
        let stream = StreamId {
            peer: id,
            life,
            socket,
        };
        let mut sent = Sent::default();
        self.hub.settle(now, id, &mut sent);
        self.deliver(sent);
        let mut accepted: Option<SocketHandle> = None;
        let reached = self.run_until(within, |world| {
            accepted = accepted.or_else(|| {
                world.devices[device]
                    .stack
                    .accept()
                    .map(|(socket, _)| socket)
            });
            accepted.is_some()
        });
        accepted.inspect(|socket| self.devices[device].stack.release(*socket));
        self.close(stream);
        self.run(2);
        reached.then(|| self.now.since(started) / SECOND)
    }
}
