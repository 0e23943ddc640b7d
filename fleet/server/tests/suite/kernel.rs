//! The stories of the tunnel once more, in a virtual machine where the server's hub is the kernel's WireGuard.

#[path = "../../../../transports/wireguard/tests/interop/machine.rs"]
mod machine;

use std::net::{Ipv4Addr, UdpSocket};

use lightship_fleet::{Tunnel, TunnelBackend};

/// What the machine needs of this program.
mod support {
    pub(super) fn skip(why: &str) {
        eprintln!("SKIPPED: {why}");
    }

    pub(super) fn is_there(tool: &str) -> bool {
        let folders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];
        let mut folders = folders.iter().map(std::path::Path::new);
        folders.any(|folder| folder.join(tool).exists())
    }
}

/// Whether this is the machine. A server does not start again there: in one process the interface of the one before still has its port.
pub(crate) fn is_inside() -> bool {
    machine::is_inside()
}

/// In the machine the hub is the kernel's: on every address, with a port for each key.
pub(crate) fn instead(config: &mut Tunnel) {
    if is_inside() {
        // An interface goes a little later than the server that it was of.
        let [first, second] = [free_port(), free_port()];
        config.backend = TunnelBackend::Kernel;
        config.listen = Some((Ipv4Addr::UNSPECIFIED, first).into());
        config.endpoint = Some(format!("127.0.0.1:{first}"));
        config.second_port = Some(second);
    }
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

/// All of them but the one of the pre-shared key, which an interface is certain of after two minutes only: `hub::system::roster` has that in simulated time.
#[test]
fn a_server_on_the_kernels_wireguard() {
    machine::run_all(
        "tunnel:: --test-threads=1 --skip pre_shared --skip from_outside --skip on_postgres",
        1024,
    );
}
