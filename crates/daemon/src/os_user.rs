//! Who runs this process.

use std::{fs, process::Command};

/// Name of the operating system's user that runs this process; `None` if it has none.
pub fn name() -> Option<String> {
    let id = rustix::process::geteuid().as_raw();
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    named(&accounts, id).or_else(from_id)
}

/// The first user with this id in the format of `passwd(5)`.
fn named(accounts: &str, id: u32) -> Option<String> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(id)).then(|| name.to_owned())
    })
}

/// Asks `id`, which knows of users that are not in `/etc/passwd`.
fn from_id() -> Option<String> {
    let output = Command::new("id").arg("-un").output().ok()?;
    let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_id() {
        let accounts =
            "root:x:0:0:root:/root:/bin/sh\nbroken\nops:x:1000:1000::/home/ops:/bin/sh\n";
        assert_eq!(named(accounts, 0).as_deref(), Some("root"));
        assert_eq!(named(accounts, 1000).as_deref(), Some("ops"));
        assert_eq!(named(accounts, 1), None);
        assert_eq!(name(), from_id(), "this process");
    }
}
