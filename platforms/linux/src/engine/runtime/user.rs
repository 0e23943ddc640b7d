//! Who runs in a container: names resolved by the container's own `/etc/passwd` and `/etc/group`.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// The files are the image's: no larger than this is read.
const MAX_BYTES: u64 = 1024 * 1024;

/// A resolved user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Resolves `user[:group]` and further groups below `root`.
pub(crate) fn resolve(root: &Path, text: &str, further: &[String]) -> io::Result<User> {
    let passwd = read(&root.join("etc/passwd"))?;
    let group = read(&root.join("etc/group"))?;
    find(&passwd, &group, text, further).map_err(io::Error::other)
}

fn find(passwd: &str, group: &str, text: &str, further: &[String]) -> Result<User, String> {
    let (user, group_name) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 6 && (fields[0] == user || fields[2] == user));
    let (name, uid, own_gid, home) = match (&entry, user.parse::<u32>()) {
        (Some(fields), _) => {
            let number = |at: usize| {
                fields[at]
                    .parse::<u32>()
                    .map_err(|_| format!("/etc/passwd: {user} has a broken entry"))
            };
            (fields[0], number(2)?, number(3)?, fields[5])
        }
        (None, Ok(uid)) => ("", uid, 0, "/"),
        (None, Err(_)) => return Err(format!("user {user} is not in the image's /etc/passwd")),
    };
    let gid = match group_name {
        Some(name) => group_id(group, name)?,
        None => own_gid,
    };
    let mut groups = vec![gid];
    if group_name.is_none() && !name.is_empty() {
        groups.extend(memberships(group, name));
    }
    for name in further {
        groups.push(group_id(group, name)?);
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(User {
        uid,
        gid,
        groups,
        home: home.to_owned(),
    })
}

fn group_id(group: &str, name: &str) -> Result<u32, String> {
    let named = group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let found = named
        .filter(|fields| fields.len() >= 3 && fields[0] == name)
        .find_map(|fields| fields[2].parse().ok());
    let missing = || format!("group {name} is not in the image's /etc/group");
    found.or_else(|| name.parse().ok()).ok_or_else(missing)
}

fn memberships(group: &str, user: &str) -> Vec<u32> {
    let lines = group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let member =
        |fields: &Vec<&str>| fields.len() >= 4 && fields[3].split(',').any(|name| name == user);
    lines
        .filter(member)
        .filter_map(|fields| fields[2].parse().ok())
        .collect()
}

fn read(path: &Path) -> io::Result<String> {
    match fs::File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(MAX_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        // Images from scratch have neither file, and a root that is a link out of the container is no file.
        Err(_) => Ok(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\ndisk:x:6:web,other\nweb:x:34:\n";

    fn user(uid: u32, gid: u32, groups: &[u32], home: &str) -> Result<User, String> {
        Ok(User {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.to_owned(),
        })
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        assert_eq!(find(PASSWD, GROUP, "", &[]), user(0, 0, &[0], "/root"));
        assert_eq!(
            find(PASSWD, GROUP, "web", &[]),
            user(33, 34, &[6, 34], "/srv")
        );
        assert_eq!(
            find(PASSWD, GROUP, "33", &[]),
            user(33, 34, &[6, 34], "/srv")
        );
        assert_eq!(
            find(PASSWD, GROUP, "web:disk", &[]),
            user(33, 6, &[6], "/srv")
        );
        assert_eq!(
            find(PASSWD, GROUP, "1000:1001", &[]),
            user(1000, 1001, &[1001], "/")
        );
        assert_eq!(
            find(PASSWD, GROUP, "0", &["disk".to_owned(), "99".to_owned()]),
            user(0, 0, &[0, 6, 99], "/root")
        );
    }

    #[test]
    fn an_unknown_name_is_an_error_that_names_it() {
        assert!(
            find(PASSWD, GROUP, "nobody", &[])
                .unwrap_err()
                .contains("nobody")
        );
        assert!(
            find(PASSWD, GROUP, "web:none", &[])
                .unwrap_err()
                .contains("none")
        );
    }
}
