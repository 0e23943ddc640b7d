//! Health tests: a command in the container, a connection, or an HTTP request from its network.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child as Process, Command, ExitCode, Stdio};
use std::time::Duration;

use lightship_spec::container::{Health, HealthTest};

use super::own_program;
use super::spawn::Running;
use crate::engine::runtime::bundle::Bundle;
use crate::engine::runtime::cgroup::Cgroup;
use crate::engine::runtime::exec;

/// An HTTP status line is no longer.
const MAX_STATUS_BYTES: u64 = 256;

/// Starts a test; its exit status is its outcome.
pub(super) fn start(
    bundle: &Bundle,
    running: &Running,
    cgroup: &Cgroup,
) -> Result<Process, String> {
    let Some(Health {
        test, timeout_ms, ..
    }) = &bundle.health
    else {
        return Err("there is none".to_owned());
    };
    let arguments = match test {
        HealthTest::None => return Err("there is none".to_owned()),
        HealthTest::Exec(arguments) => return inside(bundle, running, cgroup, arguments.clone()),
        HealthTest::Shell(line) => {
            let arguments = ["/bin/sh", "-c", line].map(str::to_owned);
            return inside(bundle, running, cgroup, arguments.to_vec());
        }
        HealthTest::Http { port, path } => vec![
            "http".to_owned(),
            port.to_string(),
            timeout_ms.to_string(),
            path.clone(),
        ],
        HealthTest::Tcp { port } => {
            vec!["tcp".to_owned(), port.to_string(), timeout_ms.to_string()]
        }
    };
    // A process of its own, because waiting for a connection must not keep the shim from its other work.
    let mut command = Command::new(own_program());
    command.args(["shim", "probe"]).args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().map_err(|error| error.to_string())
}

fn inside(
    bundle: &Bundle,
    running: &Running,
    cgroup: &Cgroup,
    arguments: Vec<String>,
) -> Result<Process, String> {
    let request = exec::Request {
        arguments,
        ..exec::Request::default()
    };
    exec::start(
        bundle,
        running.child.id() as i32,
        cgroup,
        &request,
        [Stdio::null(), Stdio::null(), Stdio::null()],
    )
}

/// Runs `shim probe tcp PORT TIMEOUT` or `shim probe http PORT TIMEOUT PATH`.
pub(super) fn main(arguments: &[String]) -> ExitCode {
    let passed = match arguments {
        [kind, port, timeout] if kind == "tcp" => connect(port, timeout).is_some(),
        [kind, port, timeout, path] if kind == "http" => connect(port, timeout)
            .and_then(|stream| request(stream, path))
            .is_some_and(|status| (200..400).contains(&status)),
        _ => false,
    };
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn connect(port: &str, timeout_ms: &str) -> Option<TcpStream> {
    let timeout = Duration::from_millis(timeout_ms.parse().ok()?);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?));
    let stream = TcpStream::connect_timeout(&address, timeout).ok()?;
    stream.set_read_timeout(Some(timeout)).ok()?;
    Some(stream)
}

fn request(mut stream: TcpStream, path: &str) -> Option<u16> {
    if path
        .bytes()
        .any(|byte| byte.is_ascii_control() || byte == b' ')
    {
        return None;
    }
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: localhost\r\nUser-Agent: lightshipd\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut limited = stream.take(MAX_STATUS_BYTES);
    let mut byte = [0];
    while limited.read(&mut byte).ok()? == 1 && byte[0] != b'\n' {
        answer.push(byte[0]);
    }
    let line = String::from_utf8(answer).ok()?;
    line.strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .trim()
        .parse()
        .ok()
}
