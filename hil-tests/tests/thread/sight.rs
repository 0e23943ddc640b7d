//! What a service sees of others and of the agent, looked at from inside its container, as root.
//!
//! Two services of one release: one keeps a secret in its volume and talks to the local API, the other looks everywhere.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lightship_core::target::{Artifact, Component};
use serde_json::{Value, json};

use crate::device::Device;
use crate::shore::Shore;
use crate::stage::registered;
use crate::{tell, until};

/// Where the local API is when the configuration does not say otherwise.
const API: &str = "169.254.77.1:48484";

/// What only the keeper's volume holds; halves, so that no script holds it whole.
const SECRET: [&str; 2] = ["the combination", "of the vault"];

/// Keeps a secret, and asks who it is at the address of the local API.
const KEEPER: &str = r#"
echo "$FIRST $SECOND" > /vault/secret
until wget -q -O /vault/draft --header "Authorization: Bearer $LIGHTSHIP_API_TOKEN" $LIGHTSHIP_API_ADDRESS/v1/device; do
  sleep 0.2
done
mv /vault/draft /vault/said
exec sleep 2001
"#;

/// Looks, and writes down what it has seen.
const LOOKER: &str = r#"
exec > /seen/draft 2>&1
echo "mine: $FIRST $SECOND" > /own
find / \( -path /proc -o -path /sys -o -path /dev -o -path /seen \) -prune -o -type f -size -64k -print |
  while read file; do grep -q "$FIRST $SECOND" "$file" && echo "holds $file"; done
for path in $PATHS; do
  for way in "" /proc/1/root /proc/self/root /proc/1/cwd/../../../../../..; do
    ls -d "$way$path" > /dev/null 2>&1 && echo "reaches $way$path"
  done
done
for fd in /proc/[0-9]*/fd/*; do echo "open $(readlink $fd)"; done
for process in /proc/[0-9]*; do echo "process $(tr '\0' ' ' < $process/cmdline)"; done
while read id parent device root point rest; do echo "mounted $point of $root"; done < /proc/self/mountinfo
while read line; do echo "socket $line"; done < /proc/net/unix
mknod /disk b $DISK && echo "disk $(head -c 512 /disk 2> /dev/null | wc -c)"
mount --bind / /mnt && echo "mounts"
chroot /proc/1/root/.. /bin/busybox ls -d $PATHS 2> /dev/null && echo "leaves"
wget -q -O - http://$API/v1/device && echo "is let in"
wget -q -O - --header "Authorization: Bearer 0000000000000000000000000000000000000000000000000000000000000000" http://$API/v1/device && echo "is let in"
echo "variables $(env | grep -c API_TOKEN)"
for name in /run/lightship/* /vault/*; do [ -e "$name" ] && echo "beside $name"; done
mv /seen/draft /seen/all
exec sleep 2002
"#;

async fn service(
    shore: &Shore,
    name: &str,
    artifact: Artifact,
    script: &str,
    more: Value,
) -> Component {
    let script =
        format!("/bin/busybox --install -s /bin; export PATH=/bin; mkdir -p /mnt; {script}");
    let command = ["/bin/busybox", "sh", "-c", &script];
    shore.component(name, artifact, &command, more).await
}

async fn publish(shore: &Shore, device: &Device) {
    let artifact = shore.image().await;
    let image = json!(format!("{}/harbour", shore.https.address));
    let volume = |name: &str| json!({"type": "volume", "name": name, "target": format!("/{name}")});
    let environment = |more: Value| {
        let mut all = json!({"FIRST": SECRET[0], "SECOND": SECRET[1]});
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let keeper = json!({
        "image": image, "features": ["local-api"], "mounts": [volume("vault")],
        "environment": environment(json!({})), "network": {"mode": {"bridge": {}}},
    });
    let looker = json!({
        // Of another application: its volume of the same name is another.
        "image": image, "application": "other", "mounts": [volume("seen"), volume("vault")],
        "environment": environment(json!({
            "API": API, "PATHS": secrets(device).join(" "), "DISK": disk(device),
        })),
        "network": {"mode": {"bridge": {}}},
    });
    let keeper = service(shore, "keeper", artifact, KEEPER, keeper).await;
    let looker = service(shore, "looker", artifact, LOOKER, looker).await;
    let release = shore.publish("1.0.0", &[keeper, looker]).await;
    until("the release", device, async || shore.shows(&release).await).await;
}

/// What the agent has on the host.
fn secrets(device: &Device) -> Vec<String> {
    let names = [
        "",
        "device.toml",
        "data",
        "data/agent",
        "data/services",
        "data/engine",
        "data/engine/volumes",
        "data/engine/volumes/harbour/vault/data/secret",
        "data/engine/layers",
        "data/engine/instances",
        "data/logs",
        "run",
        "run/control.sock",
        "run/services",
    ];
    names
        .map(|name| device.path(name).display().to_string())
        .to_vec()
}

/// Major and minor number of the disk that the agent's folders are on.
fn disk(device: &Device) -> String {
    let number = fs::metadata(device.path("data")).unwrap().dev();
    format!(
        "{} {}",
        rustix::fs::major(number),
        rustix::fs::minor(number)
    )
}

#[test]
fn a_service_sees_nothing_of_the_agent_nor_of_another_service_however_it_looks() {
    tell(look_around);
}

async fn look_around(program: PathBuf) {
    let (shore, device) = registered(program, "").await;
    let refused = TcpStream::connect(API);
    assert!(
        refused.is_err(),
        "the local API is on though nobody asked for it"
    );
    publish(&shore, &device).await;
    let of = |path: &str| device.path(&format!("data/engine/volumes/{path}"));
    let (seen, said) = (of("other/seen/data/all"), of("harbour/vault/data/said"));
    until("what was seen", &device, async || {
        seen.exists() && said.exists()
    })
    .await;
    judge(&fs::read_to_string(seen).unwrap());
    // What was looked for is there.
    for path in secrets(&device) {
        assert!(
            fs::metadata(&path).is_ok(),
            "{path} is not where it is looked for"
        );
    }
    let secret = fs::read_to_string(of("harbour/vault/data/secret")).unwrap();
    assert_eq!(secret.trim_end(), SECRET.join(" "));
    // The address of the local API knows the keeper by its token.
    let said: Value = serde_json::from_str(&fs::read_to_string(said).unwrap()).unwrap();
    assert_eq!(said["is_registered"], json!(true), "{said}");
    neighbours_get_no_answer();
}

fn judge(seen: &str) {
    let all = |what: &str| -> Vec<&str> {
        let lines = seen.lines();
        lines
            .filter_map(|line| line.strip_prefix(what)?.strip_prefix(' '))
            .collect()
    };
    assert_eq!(all("holds"), ["/own"], "{seen}");
    assert_eq!(all("reaches"), [""; 0], "{seen}");
    let (inside, harmless) = (["/seen/", "/dev/null", "pipe:", "/proc/"], "");
    let is_own = |open: &&str| *open == harmless || inside.iter().any(|own| open.starts_with(own));
    assert!(all("open").iter().all(is_own), "{seen}");
    let processes = all("process");
    assert!(
        !processes.is_empty() && !seen.contains("sleep 2001"),
        "{seen}"
    );
    assert_eq!(
        all("disk").iter().filter(|read| **read != "0").count(),
        0,
        "{seen}"
    );
    for foreign in ["mounts", "leaves", "is let in"] {
        assert!(
            !seen.lines().any(|line| line == foreign),
            "{foreign}: {seen}"
        );
    }
    assert_eq!(all("variables"), ["0"], "{seen}");
    assert_eq!(all("beside"), [""; 0], "{seen}");
    assert!(
        !all("socket")
            .iter()
            .any(|line| line.contains("control.sock")),
        "{seen}"
    );
    mounts_are_its_own(&all("mounted"));
}

/// Nothing of the host is mounted but what belongs to this container.
fn mounts_are_its_own(mounts: &[&str]) {
    assert!(mounts.len() > 10, "{mounts:?}");
    let known = [
        "/",
        "/proc",
        "/sys",
        "/dev",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/run/lightship",
        "/tmp/balena",
        "/tmp/resin",
        "/seen",
        "/vault",
    ];
    for mount in mounts {
        let (point, root) = mount
            .split_once(" of ")
            .unwrap_or_else(|| panic!("{mounts:?}"));
        let within = |known: &&str| {
            point == *known || (point.starts_with(&format!("{known}/")) && *known != "/")
        };
        assert!(known.iter().any(within), "{mount}");
        assert!(
            !root.contains("harbour") && !root.ends_with("/agent"),
            "{mount}"
        );
    }
}

/// What the local API answers to whoever has no token.
fn ask() -> String {
    let limit = Duration::from_secs(5);
    let mut said = String::new();
    let mut stream = TcpStream::connect_timeout(&API.parse().unwrap(), limit).unwrap();
    stream.set_read_timeout(Some(limit)).unwrap();
    let request = format!("GET /v1/device HTTP/1.1\r\nHost: {API}\r\n\r\n");
    // Whoever is not wanted may find that out at any time.
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.read_to_string(&mut said);
    said
}

/// Another host on a network of this device, which sends what is for the API's address to this device.
fn neighbours_get_no_answer() {
    let far = Command::new("unshare")
        .args(["--net", "sleep", "100"])
        .spawn();
    let mut far = far.unwrap();
    let run = |line: &str| {
        let mut words = line.split_whitespace();
        Command::new(words.next().unwrap())
            .args(words)
            .output()
            .unwrap()
    };
    let inside = format!("nsenter --target {} --net", far.id());
    let own = run("readlink /proc/self/ns/net").stdout;
    while run(&format!("readlink /proc/{}/ns/net", far.id())).stdout == own {
        std::thread::yield_now();
    }
    for line in [
        "ip link add lan type veth peer name far".to_owned(),
        format!("ip link set far netns {}", far.id()),
        "ip address add 192.168.77.1/24 dev lan".to_owned(),
        "ip link set lan up".to_owned(),
        format!("{inside} ip address add 192.168.77.2/24 dev far"),
        format!("{inside} ip link set far up"),
        format!("{inside} ip route add 169.254.77.1/32 via 192.168.77.1"),
    ] {
        let output = run(&line);
        assert!(output.status.success(), "{line}: {output:?}");
    }
    let elsewhere = fs::File::open(format!("/proc/{}/ns/net", far.id())).unwrap();
    let near = ask();
    let asked = std::thread::spawn(move || {
        let network = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(elsewhere.as_fd(), network).unwrap();
        ask()
    });
    let from_far = asked.join().unwrap();
    let _ = far.kill();
    let _ = far.wait();
    assert!(near.contains("401"), "{near}");
    assert_eq!(from_far, "", "a host elsewhere is answered");
}
