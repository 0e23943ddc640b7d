//! A network namespace of the hub's own: what is inside reaches the sockets that the hub opens there, and nothing else of this machine.
//!
//! It belongs to one thread and has no name, so it is gone with the process, however that ends.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::carrier::Carrier;

type Order = Box<dyn FnOnce(&mut Place) + Send>;

/// The thread inside. Dropping it takes everything away that is there.
pub(super) struct Namespace {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread has: the interfaces, and the way out and back in. The interfaces can be told from inside alone.
pub(super) struct Place {
    pub(super) carriers: Vec<Carrier>,
    pub(super) gate: Gate,
}

/// Where the thread is at home, and where it came from.
pub(super) struct Gate {
    inside: File,
    outside: File,
}

impl Namespace {
    /// # Errors
    /// When this process may not make one, or `/proc` is not there.
    pub(super) fn open() -> io::Result<Self> {
        let (orders, work) = mpsc::channel::<Order>();
        let (tell, told) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("lightship-hub".to_owned())
            .spawn(move || {
                let gate = match enter() {
                    Ok(gate) => gate,
                    // Nobody waits any more only if the process is ending.
                    Err(error) => return drop(tell.send(Err(error))),
                };
                let _ = tell.send(Ok(()));
                let mut place = Place {
                    carriers: Vec::new(),
                    gate,
                };
                work.into_iter().for_each(|order| order(&mut place));
            })?;
        told.recv().map_err(|_| gone())??;
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Runs `work` inside, and waits for it.
    pub(super) fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Place) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (tell, told) = mpsc::sync_channel(1);
        let order: Order = Box::new(move |place| drop(tell.send(work(place))));
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        orders.send(order).map_err(|_| gone())?;
        told.recv().map_err(|_| gone())?
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.orders.take();
        if let Some(thread) = self.thread.take() {
            // It ends in some milliseconds; if it panicked, it has ended.
            let _ = thread.join();
        }
    }
}

impl Gate {
    /// Names the namespace to the kernel.
    pub(super) fn inside(&self) -> RawFd {
        self.inside.as_raw_fd()
    }

    /// Runs `work` where the thread came from, and comes back.
    pub(super) fn outside<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        go(&self.outside)?;
        let done = work();
        // Whatever came after would be done to the network of the machine.
        go(&self.inside).expect("a thread may go back to a namespace that it made");
        done
    }
}

fn go(to: &File) -> io::Result<()> {
    Ok(move_into_link_name_space(
        to.as_fd(),
        Some(LinkNameSpaceType::Network),
    )?)
}

fn enter() -> io::Result<Gate> {
    let outside = File::open("/proc/thread-self/ns/net")?;
    #[expect(
        deprecated,
        reason = "unsafe only for unsharing the table of files, which stays shared"
    )]
    rustix::thread::unshare(UnshareFlags::NEWNET)?;
    let inside = File::open("/proc/thread-self/ns/net")?;
    Ok(Gate { inside, outside })
}

fn gone() -> io::Error {
    io::Error::other("the thread of the hub's network namespace has ended")
}
