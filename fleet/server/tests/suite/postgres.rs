//! A PostgreSQL of our own: started once, as a user who is not root, gone with the test process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Makes the cluster and serves it until standard input ends, which it does when the test process does.
const SCRIPT: &str = r#"
set -e
dir="$1"; bin="$2"; port="$3"
"$bin/initdb" -D "$dir/data" -U fleet -A trust --no-sync >"$dir/log" 2>&1
"$bin/postgres" -D "$dir/data" -h 127.0.0.1 -p "$port" -k "$dir" -c fsync=off -c max_connections=200 >>"$dir/log" 2>&1 &
pid=$!
until "$bin/psql" -h "$dir" -p "$port" -U fleet -c 'SELECT 1' postgres >/dev/null 2>&1; do
  kill -0 $pid; sleep 0.1
done
echo ready
read -r _ || true
kill -INT $pid; wait $pid || true
rm -rf "$dir/data"
"#;

struct Cluster {
    port: u16,
    bin: PathBuf,
    socket: PathBuf,
    /// Held for its standard input.
    _child: Child,
}

static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The URL of a new and empty database, or why there is none.
pub(crate) fn database() -> Result<String, String> {
    let cluster = CLUSTER.get_or_init(start).as_ref().map_err(Clone::clone)?;
    let name = format!("fleet_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let mut create = Command::new(cluster.bin.join("psql"));
    create.arg("-h").arg(&cluster.socket).args([
        "-p",
        &cluster.port.to_string(),
        "-U",
        "fleet",
        "-q",
    ]);
    let made = create
        .args(["-c", &format!("CREATE DATABASE {name}"), "postgres"])
        .status()
        .unwrap();
    assert!(made.success(), "creating {name}");
    Ok(format!(
        "postgres://fleet@127.0.0.1:{}/{name}",
        cluster.port
    ))
}

/// Runs a statement on a database.
pub(crate) fn run(url: &str, statement: &str) {
    let cluster = CLUSTER.get().unwrap().as_ref().unwrap();
    let mut psql = Command::new(cluster.bin.join("psql"));
    let done = psql.args([url, "-q", "-c", statement]).status().unwrap();
    assert!(done.success(), "{statement}");
}

fn start() -> Result<Cluster, String> {
    let bin = binaries().ok_or("PostgreSQL is not installed (Debian: postgresql)")?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let socket = tempfile::Builder::new()
        .prefix("lightship-pg-")
        .tempdir()
        .unwrap()
        .keep();
    let mut command = if is_root() {
        std::os::unix::fs::chown(&socket, Some(65534), Some(65534)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "bash"]);
        command
    } else {
        Command::new("bash")
    };
    command
        .arg("-c")
        .arg(SCRIPT)
        .arg("bash")
        .args([&socket, &bin])
        .arg(port.to_string())
        .current_dir(&socket);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    if said.trim() != "ready" {
        let log = std::fs::read_to_string(socket.join("log")).unwrap_or_default();
        return Err(format!("PostgreSQL does not start: {log}"));
    }
    Ok(Cluster {
        port,
        bin,
        socket,
        _child: child,
    })
}

fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let bins = versions.flatten().map(|version| version.path().join("bin"));
    bins.filter(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        .max()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|own| own.uid() == 0)
}
