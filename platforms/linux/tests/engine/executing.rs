//! Commands in running containers.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use lightshipd::engine::builtin::Session;
use lightshipd::engine::runtime::ExecRequest;
use lightshipd::engine::{Engine as _, Instance, Reason};

use crate::device::{Device, on_device};

fn request(line: &str) -> ExecRequest {
    ExecRequest {
        arguments: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        ..ExecRequest::default()
    }
}

async fn piped(device: &Device, instance: &Instance, request: &ExecRequest) -> (String, i32) {
    let streams = [Stdio::null(), Stdio::piped(), Stdio::inherit()];
    let mut session = device.engine.exec(instance, request, streams).unwrap();
    let status = session.wait().await.unwrap();
    let mut said = String::new();
    session
        .child()
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (said, status)
}

#[test]
fn a_command_runs_inside_with_the_containers_rights_and_its_status_comes_back() {
    on_device(async |device| {
        let web = device
            .run(
                "web",
                "echo up; exec sleep 100",
                r#","environment":{"WHO":"spec"}"#,
            )
            .await;
        // The container's shell becomes what it is to run some time after it has started.
        let line = "until grep -q ^sleep /proc/1/cmdline; do :; done; hostname; echo $WHO $EXTRA; grep -E 'CapBnd|Seccomp:' /proc/self/status; id -u; pwd; \
            cat /proc/1/cmdline | head -c 5; exit 3";
        let mut asked = request(line);
        asked.environment = vec![("EXTRA".to_owned(), "more".to_owned())];
        asked.user = Some("web".to_owned());
        asked.working_dir = Some("/tmp".to_owned());
        let (said, status) = piped(&device, &web, &asked).await;
        assert_eq!(status, 3);
        let expected = "web\nspec more\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n1000\n/tmp\nsleep";
        assert_eq!(said, expected);
        // It is in the container's process namespace: the host's processes are out of its reach.
        let (said, _) = piped(&device, &web, &request("kill -0 $PPID; echo $?; echo $$")).await;
        assert!(
            said.lines().nth(1).unwrap().parse::<u32>().unwrap() < 1000,
            "{said}"
        );
        let (_, status) = piped(
            &device,
            &web,
            &ExecRequest {
                arguments: vec!["/absent".to_owned()],
                ..ExecRequest::default()
            },
        )
        .await;
        assert_eq!(status, 126);
        device.engine.stop(&web).await.unwrap();
        let error = device
            .engine
            .exec(
                &web,
                &request("true"),
                [Stdio::null(), Stdio::null(), Stdio::null()],
            )
            .unwrap_err();
        assert_eq!(error.reason(), Reason::Absent);
    });
}

#[test]
fn a_terminal_takes_input_and_knows_its_size() {
    on_device(async |device| {
        let web = device.run("web", "echo up; exec sleep 100", "").await;
        let asked = ExecRequest {
            arguments: vec!["/bin/sh".to_owned()],
            terminal: true,
            ..ExecRequest::default()
        };
        let mut session = device
            .engine
            .exec(&web, &asked, [Stdio::null(), Stdio::null(), Stdio::null()])
            .unwrap();
        session.resize(123, 45).unwrap();
        session
            .terminal
            .as_mut()
            .unwrap()
            .write_all(b"stty size; exit 4\n")
            .unwrap();
        let said = until_said(&mut session, "45 123");
        assert!(said.contains("stty size"), "what is typed is shown: {said}");
        assert_eq!(session.wait().await.unwrap(), 4);
        device.engine.remove(&web).await.unwrap();
    });
}

fn until_said(session: &mut Session, what: &str) -> String {
    let begun = Instant::now();
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&said).contains(what) {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{}",
            String::from_utf8_lossy(&said)
        );
        let terminal = session.terminal.as_mut().unwrap();
        let mut polled = [rustix::event::PollFd::new(
            &*terminal,
            rustix::event::PollFlags::IN,
        )];
        let limit = rustix::event::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut polled, Some(&limit)).unwrap();
        if let Ok(count) = terminal.read(&mut buffer) {
            said.extend_from_slice(&buffer[..count]);
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_container_with_a_terminal_has_one_and_what_it_says_is_logged() {
    on_device(async |device| {
        let said = device
            .say("tty; test -t 0 && echo terminal", r#","tty":true"#)
            .await;
        assert!(said.contains("terminal"), "{said}");
    });
}
