//! Saved records: any bytes read as a record or are refused by name, and an agent starts with whatever it finds.
//!
//! The input is the four records, each behind two bytes of length.

use lightship_core::limits::RECORD_BYTES;
use lightship_core::record::{
    Clock, Identity, Record, RecordRef, Saveable, Saved, State, StateRef, decode,
};
use lightship_core::time::Instant;
use lightship_core::trust::TrustState;
use lightship_core::{Agent, Event, Step};

use super::fleet::config;

/// Calls of `poll` after which an agent that does not wait never will.
const STEPS: usize = 2_000;

/// Reads each record, and starts an agent with them.
pub fn run(bytes: &[u8]) {
    let mut rest = bytes;
    let [identity, trust, state, clock] = [(); 4].map(|()| piece(&mut rest));
    reads_back::<Identity>(identity, |value| encode(&RecordRef::Identity(value)));
    reads_back::<TrustState>(trust, |value| encode(&RecordRef::Trust(value)));
    reads_back::<State<2>>(state, |value| {
        encode(&RecordRef::State(StateRef::new(value)))
    });
    reads_back::<Clock>(clock, |value| encode(&RecordRef::Clock(value)));
    let saved = Saved {
        identity: identity.filter(|bytes| !bytes.is_empty()),
        trust: trust.filter(|bytes| !bytes.is_empty()),
        state: state.filter(|bytes| !bytes.is_empty()),
        clock: clock.filter(|bytes| !bytes.is_empty()),
    };
    start(saved);
}

fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk::<2>()?;
    let len = usize::from(u16::from_le_bytes(*len)).min(after.len());
    let (piece, after) = after.split_at(len);
    *rest = after;
    Some(piece)
}

fn encode(record: &RecordRef<'_>) -> Vec<u8> {
    let mut out = vec![0; RECORD_BYTES];
    let len = record.encode(&mut out).expect("what was read fits");
    out.truncate(len);
    out
}

/// What reads as a record is written and read again as the same.
fn reads_back<T: Saveable + PartialEq + std::fmt::Debug>(
    bytes: Option<&[u8]>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    if let Some(Ok(value)) = bytes.map(decode::<T>) {
        assert_eq!(decode::<T>(&encode(&value)), Ok(value));
    }
}

/// An agent comes to rest whatever it was started with, and saves what reads back.
fn start(saved: Saved<'_>) {
    let mut agent = Agent::<2>::new(config(), saved, [1; 32], Instant::BOOT);
    for _ in 0..STEPS {
        let stored: Option<(Record, Vec<u8>)> = match agent.poll() {
            Step::Wait { .. } => return,
            Step::Note(_) => None,
            Step::Act(lightship_core::Action::StoreRecord(record)) => {
                Some((record.kind(), encode(&record)))
            }
            Step::Act(_) => None,
        };
        if let Some((record, _)) = stored {
            agent.handle(Instant::BOOT, Event::RecordStored(record, Ok(())));
        }
    }
    panic!("the agent does not come to rest");
}
