//! Containers that really run: what they see, what they may do, how they end.

use lightshipd::engine::{Engine as _, Presence, Reason};

use crate::device::on_device;

#[test]
fn a_job_runs_to_its_end_and_what_it_said_is_kept() {
    on_device(async |device| {
        let said = device
            .say("echo out; echo err >&2; echo $FROM $$; hostname", "")
            .await;
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["err", "image 1", "job", "out"]);
    });
}

#[test]
fn capabilities_and_the_system_call_filter_are_dockers() {
    on_device(async |device| {
        let said = device
            .say(
                "grep -E 'CapBnd|CapEff|CapInh|Seccomp:|NoNewPrivs' /proc/self/status",
                "",
            )
            .await;
        let words: Vec<&str> = said.split_whitespace().collect();
        let bounding = words[words.iter().position(|word| *word == "CapBnd:").unwrap() + 1];
        assert_eq!(
            u64::from_str_radix(bounding, 16).unwrap(),
            0xa804_25fb,
            "{said}"
        );
        assert!(said.contains("CapInh:\t0000000000000000"), "{said}");
        assert!(
            said.contains("Seccomp:\t2") && said.contains("NoNewPrivs:\t0"),
            "{said}"
        );
        let said = device
            .say(
                "id; grep CapEff /proc/self/status",
                r#","user":"web","security":{"no_new_privileges":true}"#,
            )
            .await;
        assert!(
            said.contains("uid=1000(web) gid=1000(web) groups=20(dialout),1000(web)"),
            "{said}"
        );
        assert!(said.contains("CapEff:\t0000000000000000"), "{said}");
    });
}

#[test]
fn a_container_can_neither_mount_nor_use_device_nodes_nor_see_the_host() {
    on_device(async |device| {
        let said = device
            .say("mount -t tmpfs none /tmp 2>&1 || echo no-mount", "")
            .await;
        assert!(said.contains("no-mount"), "{said}");
        let disk = "for d in /tmp /dev /data; do mknod $d/disk b 254 0 && head -c 1 $d/disk; echo $?; done 2>&1";
        let said = device
            .say(
                disk,
                r#","mounts":[{"type":"volume","name":"v","target":"/data"}]"#,
            )
            .await;
        assert!(!said.lines().any(|line| line == "0"), "{said}");
        let said = device.say("ps; ls /proc | grep -c '^[0-9]'; head -c 1 /proc/kcore | wc -c; echo x > /proc/sys/kernel/hostname || echo closed", "").await;
        assert!(said.contains("\n0\n") && said.contains("closed"), "{said}");
        assert!(
            said.lines()
                .filter(|line| line.contains("lightship"))
                .count()
                == 0,
            "{said}"
        );
        let secret = device.path().join("store");
        let said = device
            .say(&format!("ls {} 2>&1", secret.display()), "")
            .await;
        assert!(said.contains("No such file"), "{said}");
    });
}

#[test]
fn root_volumes_files_and_memory_are_as_the_spec_says() {
    on_device(async |device| {
        let rest = r#","security":{"read_only_root":true},"mounts":[{"type":"volume","name":"v","target":"/data"},
            {"type":"tmpfs","target":"/scratch","size_bytes":1048576}],
            "files":[{"target":"/etc/app/secret","content":{"text":"hush"},"mode":256,"uid":1000}],
            "environment":{"WHO":"spec"},"working_dir":"/data","ulimits":{"nofile":{"soft":99,"hard":100}},
            "sysctls":{"net.ipv4.ip_unprivileged_port_start":"80"}"#;
        let line = "touch /x 2>&1; cat seed; echo; echo new > kept; touch /scratch/y && echo scratch; cat /etc/app/secret; echo; \
            stat -c '%a %u' /etc/app/secret; echo $WHO; ulimit -n; cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
        let said = device.say(line, rest).await;
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].contains("Read-only"), "{said}");
        assert_eq!(
            lines[1..],
            [
                "from the image",
                "scratch",
                "hush",
                "400 1000",
                "spec",
                "99",
                "80"
            ],
            "{said}"
        );
        let said = device.say("cat kept", rest).await;
        assert_eq!(said, "new\n", "the volume outlives the container");
    });
}

#[test]
fn a_link_in_the_image_cannot_lead_a_mount_out_of_the_container() {
    on_device(async |device| {
        // `/way` is a link to `../../../../..`.
        let rest = r#","mounts":[{"type":"tmpfs","target":"/way/lightship-test"}]"#;
        let said = device
            .say("grep lightship-test /proc/self/mounts", rest)
            .await;
        assert!(said.contains(" /lightship-test tmpfs"), "{said}");
        assert!(!std::path::Path::new("/lightship-test").exists());
    });
}

#[test]
fn what_cannot_be_started_says_why_and_leaves_nothing() {
    on_device(async |device| {
        for (rest, why) in [
            (r#","command":["/absent"]"#, "/absent"),
            (r#","command":["sh"],"user":"nobody-here""#, "nobody-here"),
        ] {
            let instance = device.stage("web", rest).await.unwrap();
            let error = device.engine.start(&instance).await.unwrap_err();
            assert_eq!(error.reason(), Reason::Start);
            assert!(error.to_string().contains(why), "{error}");
            device.engine.stop(&instance).await.unwrap();
            device.engine.remove(&instance).await.unwrap();
            assert_eq!(
                device.engine.probe(&instance).await.unwrap(),
                Presence::Missing
            );
        }
    });
}

#[test]
fn a_container_is_asked_to_stop_and_killed_after_its_grace() {
    on_device(async |device| {
        let polite = device
            .run(
                "polite",
                "trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.05; done",
                r#","stop_grace_ms":10000"#,
            )
            .await;
        device.until_said(&polite, "up").await;
        device.engine.stop(&polite).await.unwrap();
        assert!(device.output(&polite).await.contains("bye"));
        let deaf = device
            .run(
                "deaf",
                "trap '' TERM; echo up; while true; do sleep 0.05; done",
                r#","stop_grace_ms":100"#,
            )
            .await;
        device.until_said(&deaf, "up").await;
        device.engine.stop(&deaf).await.unwrap();
        let exit = device
            .engine
            .state(&deaf)
            .unwrap()
            .unwrap()
            .last_exit
            .unwrap();
        assert_eq!(exit.status, 137);
        assert_eq!(device.engine.probe(&deaf).await.unwrap(), Presence::Staged);
    });
}

#[test]
fn a_container_that_crashes_is_started_again_and_one_that_may_not_is_not() {
    on_device(async |device| {
        let line = "echo x >> /tmp/starts; test $(wc -l < /tmp/starts) -ge 3 && echo settled && sleep 100; exit 7";
        let crashing = device.run("crashing", line, "").await;
        device.until_said(&crashing, "settled").await;
        let state = device.engine.state(&crashing).unwrap().unwrap();
        assert_eq!((state.starts, state.last_exit.unwrap().status), (3, 7));
        let once = device.run("once", "exit 3", r#","restart":"no""#).await;
        device
            .until(&once, |presence| presence == Presence::Exited)
            .await;
        assert_eq!(
            device
                .engine
                .state(&once)
                .unwrap()
                .unwrap()
                .last_exit
                .unwrap()
                .status,
            3
        );
    });
}

#[test]
fn containers_outlive_the_daemon_and_their_end_is_known_to_the_next_one() {
    on_device(async |mut device| {
        let stays = device.run("stays", "echo up; sleep 100", "").await;
        let ends = device
            .run(
                "ends",
                "echo up; while ! test -e /data/go; do sleep 0.02; done; exit 5",
                r#","restart":"no","mounts":[{"type":"volume","name":"v","target":"/data"}]"#,
            )
            .await;
        device.until_said(&ends, "up").await;
        let before = device.engine.state(&stays).unwrap().unwrap();
        device.restart_daemon();
        assert_eq!(
            device.engine.probe(&stays).await.unwrap(),
            Presence::Healthy
        );
        device.engine.start(&stays).await.unwrap();
        assert_eq!(
            device.engine.state(&stays).unwrap().unwrap().process,
            before.process
        );
        std::fs::write(device.path().join("store/volumes/app/v/data/go"), "").unwrap();
        device
            .until(&ends, |presence| presence == Presence::Exited)
            .await;
        assert_eq!(
            device
                .engine
                .state(&ends)
                .unwrap()
                .unwrap()
                .last_exit
                .unwrap()
                .status,
            5
        );
        let inventory = device.engine.inventory().await.unwrap();
        assert_eq!(inventory.len(), 2);
        device.engine.stop(&stays).await.unwrap();
    });
}

#[test]
fn a_shim_that_is_killed_takes_its_container_along_and_is_found_out() {
    on_device(async |device| {
        let instance = device.run("web", "echo up; sleep 100", "").await;
        let state = device.engine.state(&instance).unwrap().unwrap();
        let process = rustix::process::Pid::from_raw(state.process.unwrap()).unwrap();
        let ended =
            rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).unwrap();
        let shim = rustix::process::Pid::from_raw(state.shim).unwrap();
        rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
        let mut polled = [rustix::event::PollFd::new(
            &ended,
            rustix::event::PollFlags::IN,
        )];
        let limit = rustix::event::Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        assert_eq!(rustix::event::poll(&mut polled, Some(&limit)).unwrap(), 1);
        device
            .until(&instance, |presence| presence == Presence::Exited)
            .await;
        device.engine.start(&instance).await.unwrap();
        device
            .until(&instance, |presence| presence == Presence::Healthy)
            .await;
        device.engine.remove(&instance).await.unwrap();
    });
}

#[test]
fn health_tests_of_all_kinds_tell_healthy_from_unhealthy() {
    on_device(async |device| {
        let health = |test: &str| {
            format!(r#","health":{{"test":{test},"interval_ms":30,"timeout_ms":2000,"retries":2}}"#)
        };
        let serve =
            "mkdir -p /tmp/www; echo ok > /tmp/www/ok; httpd -p 8080 -h /tmp/www; sleep 100";
        for (name, test, expected) in [
            (
                "exec",
                r#"{"exec":["test","-e","/bin/sh"]}"#,
                Presence::Healthy,
            ),
            (
                "exec-bad",
                r#"{"exec":["test","-e","/absent"]}"#,
                Presence::Unhealthy,
            ),
            (
                "shell",
                r#"{"shell":"test $$ -gt 1 && test $(id -u) = 0"}"#,
                Presence::Healthy,
            ),
            (
                "http",
                r#"{"http":{"port":8080,"path":"/ok"}}"#,
                Presence::Healthy,
            ),
            (
                "http-bad",
                r#"{"http":{"port":8080,"path":"/absent"}}"#,
                Presence::Unhealthy,
            ),
            ("tcp", r#"{"tcp":{"port":8080}}"#, Presence::Healthy),
            ("tcp-bad", r#"{"tcp":{"port":8081}}"#, Presence::Unhealthy),
            ("slow", r#"{"shell":"sleep 30"}"#, Presence::Unhealthy),
        ] {
            let rest = health(test).replace("2000", if name == "slow" { "50" } else { "2000" });
            let instance = device.run(name, serve, &rest).await;
            device
                .until(&instance, |presence| presence == expected)
                .await;
            device.engine.remove(&instance).await.unwrap();
        }
    });
}

#[test]
fn limits_hold() {
    on_device(async |device| {
        let hungry = device
            .run(
                "hungry",
                "echo up; tail -c 100000000 /dev/zero",
                r#","restart":"no","limits":{"memory_bytes":16777216}"#,
            )
            .await;
        device
            .until(&hungry, |presence| presence == Presence::Exited)
            .await;
        let state = device.engine.state(&hungry).unwrap().unwrap();
        if state.warnings.is_empty() {
            assert!(state.last_exit.unwrap().out_of_memory, "{state:?}");
        } else {
            eprintln!(
                "SKIPPED: this kernel limits no memory: {:?}",
                state.warnings
            );
        }
        let said = device
            .say(
                "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done 2>&1; echo done",
                r#","limits":{"pids":4}"#,
            )
            .await;
        assert!(said.contains("can't fork"), "{said}");
    });
}

#[test]
fn nothing_of_a_removed_container_is_left() {
    on_device(async |device| {
        let mounts = || std::fs::read_to_string("/proc/self/mounts").unwrap();
        let before = mounts();
        let instance = device.run("web", "echo up; sleep 100", "").await;
        assert_eq!(mounts(), before, "a container's mounts show on the host");
        let id = std::fs::read_dir(device.path().join("run"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .find(|entry| entry.path().is_dir())
            .unwrap()
            .file_name();
        device.engine.remove(&instance).await.unwrap();
        assert_eq!(mounts(), before);
        for folder in ["run", "logs", "store/instances"] {
            assert!(!device.path().join(folder).join(&id).exists(), "{folder}");
        }
        let groups = std::fs::read_dir("/sys/fs/cgroup")
            .unwrap()
            .map(|entry| entry.unwrap().path().join("lightship").join(&id));
        assert!(groups.into_iter().all(|group| !group.exists()));
        device.engine.collect(&[]).await.unwrap();
        assert_eq!(
            std::fs::read_dir(device.path().join("store/layers"))
                .unwrap()
                .count(),
            0
        );
        assert_eq!(
            std::fs::read_dir(device.path().join("store/blobs"))
                .unwrap()
                .count(),
            0
        );
    });
}

#[test]
fn a_collection_keeps_what_a_staged_instance_or_a_named_artifact_needs() {
    on_device(async |device| {
        let instance = device.stage("web", "").await.unwrap();
        device.engine.confirm(&instance).await.unwrap();
        device.engine.collect(&[]).await.unwrap();
        device.engine.start(&instance).await.unwrap();
        device.engine.remove(&instance).await.unwrap();
        device
            .engine
            .collect(&[device.image.artifact])
            .await
            .unwrap();
        assert_eq!(
            std::fs::read_dir(device.path().join("store/layers"))
                .unwrap()
                .count(),
            1
        );
    });
}

#[test]
fn an_init_buries_orphans_passes_signals_on_and_ends_as_its_command() {
    on_device(async |device| {
        let line = "trap 'echo asked; exit 9' TERM; (sleep 0.05 &); sleep 0.3; grep -l '^State:.Z' /proc/[0-9]*/status; \
            echo pid $$; while true; do sleep 0.05; done";
        let rest = r#","init":true,"restart":"no","stop_grace_ms":10000"#;
        let instance = device.run("web", line, rest).await;
        device.until_said(&instance, "pid").await;
        device.engine.stop(&instance).await.unwrap();
        let said = device.output(&instance).await;
        assert!(
            !said.contains("/proc/") && !said.contains("pid 1\n"),
            "{said}"
        );
        assert!(said.contains("asked"), "{said}");
        let exit = device
            .engine
            .state(&instance)
            .unwrap()
            .unwrap()
            .last_exit
            .unwrap();
        assert_eq!(exit.status, 9);
    });
}

#[test]
fn a_log_is_watched_without_asking_again_and_again() {
    on_device(async |device| {
        let instance = device.stage("web", r#","command":["sh","-c","for i in 1 2 3; do echo $i; sleep 0.1; done; exec sleep 100"],"stop_grace_ms":0"#).await.unwrap();
        let mut watch = device.engine.watch_log(&instance).unwrap();
        device.engine.start(&instance).await.unwrap();
        while !device.output(&instance).await.contains('3') {
            tokio::time::timeout(std::time::Duration::from_secs(20), watch.grown())
                .await
                .unwrap()
                .unwrap();
        }
    });
}

#[test]
fn what_containers_held_that_died_without_a_daemon_is_given_back() {
    on_device(async |mut device| {
        let port = r#","network":{"ports":[{"host":8080,"container":80}]}"#;
        let dead = device.run("dead", "echo up; exec sleep 100", port).await;
        let shim = device.engine.state(&dead).unwrap().unwrap().shim;
        let shim = rustix::process::Pid::from_raw(shim).unwrap();
        rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
        device
            .until(&dead, |presence| presence == Presence::Exited)
            .await;
        device.restart_daemon();
        let heir = device.run("heir", "echo up; exec sleep 100", port).await;
        device
            .until(&heir, |presence| presence == Presence::Healthy)
            .await;
        device.engine.remove(&heir).await.unwrap();
        device.engine.remove(&dead).await.unwrap();
    });
}

#[test]
fn listed_devices_open_and_rules_let_a_container_make_its_own() {
    if !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("SKIPPED: this machine has no /dev/fuse to lend to a container");
        return;
    }
    on_device(async |device| {
        let open = "(: < /dev/own) 2>/dev/null && echo open || echo closed";
        let listed = r#","devices":[{"host":"/dev/fuse","container":"/dev/own"}]"#;
        assert_eq!(device.say(open, listed).await, "open\n");
        let make = format!(
            "mknod /dev/own c 10 229; {open}; mknod /tmp/own c 10 229; (: < /tmp/own) 2>/dev/null || echo nodev"
        );
        let said = device
            .say(&make, r#","device_rules":["c 10:229 rwm"]"#)
            .await;
        assert!(
            said.starts_with("open\n") && said.ends_with("nodev\n"),
            "{said}"
        );
        let said = device
            .say(&make, r#","device_rules":["c 10:228 rwm"]"#)
            .await;
        assert!(said.starts_with("closed\n"), "{said}");
    });
}

#[test]
fn a_start_that_is_given_up_at_any_time_is_cleaned_up_or_found_running() {
    on_device(async |mut device| {
        let port = r#","network":{"ports":[{"host":8080,"container":80}]}"#;
        let rest = format!(r#","command":["/bin/sleep","100"],"stop_signal":"SIGKILL"{port}"#);
        for tenths in (0..400_u64).step_by(15) {
            let instance = device.stage("web", &rest).await.unwrap();
            let limit = std::time::Duration::from_micros(tenths * 100);
            let _ = tokio::time::timeout(limit, device.engine.start(&instance)).await;
            if tenths % 2 == 0 {
                device.restart_daemon();
            }
            // Told again, as the core tells it: it runs, once, whatever the first attempt came to.
            device.engine.start(&instance).await.unwrap();
            device
                .until(&instance, |presence| presence == Presence::Healthy)
                .await;
            assert_eq!(device.engine.state(&instance).unwrap().unwrap().starts, 1);
            let _ = tokio::time::timeout(limit, device.engine.stop(&instance)).await;
            device.engine.remove(&instance).await.unwrap();
            let left = std::fs::read_dir(device.path().join("run")).unwrap();
            assert_eq!(
                left.filter(|entry| entry.as_ref().unwrap().path().is_dir())
                    .count(),
                0
            );
        }
    });
}

#[test]
fn nobody_else_on_the_device_can_read_what_the_engine_keeps() {
    on_device(async |device| {
        use std::os::unix::fs::PermissionsExt as _;
        for folder in ["store", "run", "logs"] {
            let mode = std::fs::metadata(device.path().join(folder))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0, "{folder}");
        }
    });
}
