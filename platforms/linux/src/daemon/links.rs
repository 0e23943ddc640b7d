//! The ways to the fleet, in order of preference: MQTT and HTTPS in the tunnel, then HTTPS directly.
//!
//! A way that cannot work now (no tunnel, nothing behind its door) says so at once, and the next one is tried.

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::Duration;
use lightship_core::limits::MESSAGE_BYTES;
use lightship_https::host;
use lightship_link::Fallback;
use lightship_link::chunk::{Exchange, Slot};
use lightship_link::mailbox::{Mailbox, Packet};
use lightship_mqtt::host as mqtt;

use super::config::Transport;
use super::doors::{Doors, Service};

/// Ways at most: both transports in the tunnel, and the one outside.
const WAYS: usize = 3;

type Raw = CriticalSectionRawMutex;

/// The agent's side: one link over all ways.
pub(super) type Links<'a> = Fallback<'a, Raw, WAYS>;

/// Memory for what is on its way.
pub(super) struct Memory {
    packets: [Packet<MESSAGE_BYTES>; WAYS],
    slot: Slot,
}

impl Memory {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            packets: Default::default(),
            slot: Slot::new(),
        })
    }
}

/// What lies between the agent and the runners, over some memory.
pub(super) struct Between<'a> {
    boxes: [Mailbox<'a, Raw>; WAYS],
    exchange: Exchange<'a, Raw>,
}

impl<'a> Between<'a> {
    pub(super) fn new(memory: &'a mut Memory) -> Self {
        Self {
            boxes: memory.packets.each_mut().map(Mailbox::new),
            exchange: Exchange::new(&mut memory.slot),
        }
    }
}

/// What the fleet is reached by.
pub(super) struct Fleet {
    /// HTTP in the tunnel.
    pub(super) inside: host::Config,
    /// HTTPS outside.
    pub(super) direct: host::Config,
    /// What is preferred in the tunnel, in this order; empty without a tunnel.
    pub(super) transports: Vec<Transport>,
    /// How long another than the preferred way is used before that is tried again.
    pub(super) again: Duration,
}

/// What fetches and sends beside the messages: in the tunnel, and directly.
pub(super) struct Carriers {
    pub(super) inside: (host::Reader, host::Logs),
    pub(super) direct: (host::Reader, host::Logs),
}

/// Everything that has to be polled beside the agent.
pub(super) struct Ends<'a> {
    mqtt: mqtt::Runner<'a, Raw>,
    inside: host::Runner<'a, Raw>,
    direct: host::Runner<'a, Raw>,
}

/// Joins agent and runners.
pub(super) fn join<'a>(
    between: &'a mut Between<'a>,
    fleet: Fleet,
    doors: &Doors,
) -> (Links<'a>, Ends<'a>, Carriers) {
    let mut order = fleet.transports;
    order.truncate(WAYS - 1);
    let [one, two, three] = &mut between.boxes;
    let mut handles = [None, None, None];
    let mut ports = [one, two, three].map(|mailbox| Some(mailbox.split()));
    let place = |transport: Transport| order.iter().position(|one| *one == transport);
    let direct = order.len();
    let used = direct + 1;
    // What is not wanted comes last, and is never asked for anything.
    let mut rest = used;
    let mut take = |at: Option<usize>| {
        let at = at.unwrap_or_else(|| {
            rest += 1;
            rest - 1
        });
        let (handle, port) = ports[at].take().expect("each way has a place of its own");
        handles[at] = Some(handle);
        port
    };
    let mqtt_port = take(place(Transport::Mqtt));
    let inside_port = take(place(Transport::Https));
    let direct_port = take(Some(direct));
    let (_, asked) = between.exchange.split();
    let mut broker = mqtt::Config::on_socket(&doors.path(Service::Mqtt));
    // The fleet keeps the target retained and says all commands again to a device that connects.
    broker.clean_start = true;
    let inside = fleet.inside.through(&doors.path(Service::Http));
    let (inside, inside_reader, inside_logs) = host::parts(inside, inside_port);
    let (direct, direct_reader, direct_logs) = host::parts(fleet.direct, direct_port);
    let handles = handles.map(|handle| handle.expect("every way has its handle"));
    let ends = Ends {
        mqtt: mqtt::Runner::new(broker, mqtt_port, asked),
        inside,
        direct,
    };
    let carriers = Carriers {
        inside: (inside_reader, inside_logs),
        direct: (direct_reader, direct_logs),
    };
    (
        Fallback::new(handles, fleet.again).using(used),
        ends,
        carriers,
    )
}

impl Ends<'_> {
    /// Carries messages for ever.
    pub(super) async fn run(&mut self) -> ! {
        tokio::select! {
            never = self.mqtt.run() => never,
            never = self.inside.run() => never,
            never = self.direct.run() => never,
        }
    }
}
