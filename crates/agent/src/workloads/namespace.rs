//! Network namespaces with a name in the file system, as `ip netns` makes them: a file on which
//! the namespace is mounted. It lives as long as the file, whoever made it.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
};

use rustix::{
    mount::{UnmountFlags, mount_bind, unmount},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space},
};
use tokio::runtime::Handle;

/// What `statfs` says of a file on which a namespace is mounted.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// Does `work` inside a namespace, on a thread of its own: threads of the runtime stay where they
/// are. Sockets that are opened there belong to that namespace for ever.
pub fn inside<T: Send>(
    namespace: &File,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    on_own_thread(|| {
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), network)?;
        work()
    })
}

/// Makes the namespace at `path` unless it is there, with the settings of a workload's. Returns
/// whether it made one.
pub fn make(path: &Path) -> io::Result<bool> {
    if is_namespace(path) {
        return Ok(false);
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    OpenOptions::new().create(true).append(true).open(path)?;
    on_own_thread(|| {
        #[expect(
            deprecated,
            reason = "the safe form; only this thread is moved, and it ends at once"
        )]
        rustix::thread::unshare(UnshareFlags::NEWNET)?;
        // Nothing but the agent configures a workload's namespace.
        for scope in ["all", "default"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/accept_ra"), "0")?;
        }
        Ok(mount_bind("/proc/thread-self/ns/net", path)?)
    })?;
    Ok(true)
}

/// Whether a namespace is mounted on the file.
pub fn is_namespace(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(NSFS_MAGIC))
}

/// Takes the name away; the namespace ends with its last process.
pub fn forget(path: &Path) -> io::Result<()> {
    if is_namespace(path) {
        unmount(path, UnmountFlags::DETACH)?;
    }
    fs::remove_file(path)
}

/// The processes inside, as `NAME (PID)`.
pub fn processes(path: &Path) -> io::Result<Vec<String>> {
    let wanted = fs::metadata(path)?;
    let inside = |pid: &str| {
        let found = fs::metadata(format!("/proc/{pid}/ns/net"));
        found.is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid.bytes().all(|byte| byte.is_ascii_digit()) && inside(&pid) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            found.push(format!("{} ({pid})", name.trim().escape_debug()));
        }
    }
    Ok(found)
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let runtime = Handle::current();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let _entered = runtime.enter();
            work()
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread inside panicked")))
    })
}
