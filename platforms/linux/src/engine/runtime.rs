//! Runs containers in this program: namespaces, cgroups, mounts, capabilities, a system call filter,
//! networks. No other runtime, no C library, no daemon beside ours.

mod bundle;
mod capabilities;
mod cgroup;
mod child;
mod devices;
mod exec;
mod log;
mod network;
mod rootfs;
mod seccomp;
mod shim;
mod state;
mod supervisor;
mod sys;
mod user;
mod walk;

pub use exec::Request as ExecRequest;
pub use log::{Line, Position, Stream, Watch as LogWatch, read as read_log};
pub(crate) use log::{Writer as LogWriter, read_at_most as read_log_at_most};
pub use network::bring_up_loopback;
pub use shim::main as shim_main;
pub use state::State;
pub use supervisor::{Exit, Phase, Verdict};

pub(crate) use bundle::{Bundle, File};
pub(crate) use capabilities::Capabilities;
pub(crate) use cgroup::Cgroup;
pub(crate) use child::is_limit;
pub(crate) use devices::{DeviceRule, MAX_RULES};
pub(crate) use network::{Plan, fence, ledger, link, nftables};
pub(crate) use shim::{STOP, terminal};
pub(crate) use state::{give_life, is_alive};
pub(crate) use sys::watch;
