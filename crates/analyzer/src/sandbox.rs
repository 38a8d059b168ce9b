//! Takes away from the analyzer, before it reads the first packet byte, everything that decoding does not need: other files (Landlock), and
//! the system calls with which a program that was taken over would go on (seccomp).
//! Does not switch the user or drop capabilities: that comes before, from the `privilege` crate.
//!
//! Call it while the process has a single thread: threads started later inherit it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// A file that every system has and the analyzer never needs: opened after the doors are shut, to see that they are.
const FORBIDDEN: &str = "/etc/passwd";

/// What may still be reached.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// Directories to read and write below.
    pub write: Vec<PathBuf>,
    /// Files and directories to read.
    pub read: Vec<PathBuf>,
    /// TCP ports to connect to; with none, no TCP connection can be made.
    pub tcp_ports: Vec<u16>,
}

/// What the sandbox does here; stands in the status, so that it can be checked from outside.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Facts {
    /// `enforced`, `partly` (an older kernel) or `unavailable`.
    pub landlock: &'static str,
    /// `enforced` or `unavailable`.
    pub seccomp: &'static str,
    /// What came of opening a file outside the directories.
    pub outside_file: String,
    /// The file that was tried.
    pub outside_path: &'static str,
}

impl Facts {
    /// Whether a file outside the directories could not be opened and the system calls are filtered.
    pub fn is_shut(&self) -> bool {
        self.outside_file != "opened" && self.seccomp == "enforced"
    }
}

/// Why the sandbox could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A directory that must stay reachable is not there.
    #[error("{path}: {problem}; create it and give it to the analyzer's user")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// The kernel refused.
    #[error(
        "the kernel refused the sandbox ({0}); set analyzer.sandbox = \"off\" only if you accept decoding without it"
    )]
    Refused(String),
}

/// Shuts the doors for this process, for good.
///
/// # Errors
/// When a directory is missing or the kernel refuses. A kernel without Landlock is no error: see the facts.
pub fn enter(allowed: &Allowed) -> Result<Facts, SandboxError> {
    let landlock = restrict_files(allowed)?;
    let seccomp = restrict_calls()?;
    let outside_file = match std::fs::File::open(FORBIDDEN) {
        Ok(_) => "opened".to_owned(),
        Err(error) => error.kind().to_string(),
    };
    Ok(Facts { landlock, seccomp, outside_file, outside_path: FORBIDDEN })
}

fn restrict_files(allowed: &Allowed) -> Result<&'static str, SandboxError> {
    let refused = |error: landlock::RulesetError| SandboxError::Refused(error.to_string());
    let abi = ABI::V5;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .map_err(refused)?
        .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)
        .map_err(refused)?
        .create()
        .map_err(refused)?;
    let writing =
        AccessFs::from_all(abi) & !(AccessFs::Execute | AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::IoctlDev);
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    for (paths, access) in [(&allowed.write, writing), (&allowed.read, reading)] {
        for path in paths {
            ruleset = ruleset.add_rule(beneath(path, access)?).map_err(refused)?;
        }
    }
    for port in &allowed.tcp_ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp)).map_err(refused)?;
    }
    let status = ruleset.restrict_self().map_err(refused)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "enforced",
        RulesetStatus::PartiallyEnforced => "partly",
        RulesetStatus::NotEnforced => "unavailable",
    })
}

fn beneath(path: &Path, access: BitFlags<AccessFs>) -> Result<PathBeneath<PathFd>, SandboxError> {
    let fd = PathFd::new(path)
        .map_err(|error| SandboxError::Directory { path: path.to_owned(), problem: error.to_string() })?;
    // Rights that only directories have must not be asked for a file.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V5) };
    Ok(PathBeneath::new(fd, access))
}

/// Calls that decoding never needs and that a program that was taken over would want.
const DENIED: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_kcmp,
    libc::SYS_personality,
    libc::SYS_mknodat,
    libc::SYS_memfd_create,
];

/// System calls of the x32 interface have this bit set in their number.
#[cfg(target_arch = "x86_64")]
const X32: libc::c_long = 0x4000_0000;
/// Calls that the x32 interface numbers differently: execve, ptrace, rt_sigqueueinfo, kexec_load, process_vm_readv and _writev, execveat.
#[cfg(target_arch = "x86_64")]
const X32_DENIED: &[libc::c_long] = &[520, 521, 524, 528, 539, 540, 545];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn restrict_calls() -> Result<&'static str, SandboxError> {
    let refused = |error: &dyn std::fmt::Display| SandboxError::Refused(error.to_string());
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok("unavailable");
    };
    let denied = rules().map_err(|e| refused(&e))?;
    // glibc takes ENOSYS for clone3 as "use clone", whose flags, unlike those of clone3, can be looked at.
    let unknown: Rules = [(libc::SYS_clone3, Vec::new())].into();
    for (rules, error) in [(denied, libc::EPERM), (unknown, libc::ENOSYS)] {
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error as u32), arch);
        let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(|e| refused(&e))?;
        seccompiler::apply_filter(&program).map_err(|e| refused(&e))?;
    }
    Ok("enforced")
}

fn rules() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let when = |argument: u8, length, operator, value: u64| SeccompCondition::new(argument, length, operator, value);
    let (dword, qword) = (SeccompCmpArgLen::Dword, SeccompCmpArgLen::Qword);

    // Sockets: Unix and IP only, no raw ones.
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];
    let other_family: Result<Vec<_>, _> =
        families.iter().map(|family| when(0, dword.clone(), SeccompCmpOp::Ne, *family as u64)).collect();
    let raw = when(1, dword.clone(), SeccompCmpOp::MaskedEq(0xf), libc::SOCK_RAW as u64)?;
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(other_family?)?, SeccompRule::new(vec![raw])?]);

    // No memory becomes executable any more.
    let executable = libc::PROT_EXEC as u64;
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        let condition = when(2, dword.clone(), SeccompCmpOp::MaskedEq(executable), executable)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }

    // Signals (abort) to this process only.
    let other_process = when(0, dword, SeccompCmpOp::Ne, u64::from(std::process::id()))?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![other_process])?]);

    // Threads, but no processes in namespaces of their own.
    let mut namespaces = Vec::new();
    for flag in [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ] {
        let condition = when(0, qword.clone(), SeccompCmpOp::MaskedEq(flag as u64), flag as u64)?;
        namespaces.push(SeccompRule::new(vec![condition])?);
    }
    rules.insert(libc::SYS_clone, namespaces);

    #[cfg(target_arch = "x86_64")]
    {
        let x32 = rules.iter().map(|(call, rules)| (call | X32, rules.clone())).collect::<Vec<_>>();
        rules.extend(x32);
        rules.extend(X32_DENIED.iter().map(|call| (call | X32, Vec::new())));
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sandbox cannot be left again and holds for the thread that entered it: a thread of its own for the test.
    fn inside<T: Send + 'static>(allowed: Allowed, act: impl FnOnce(Facts) -> T + Send + 'static) -> T {
        std::thread::spawn(move || act(enter(&allowed).unwrap())).join().unwrap()
    }

    #[test]
    fn only_the_given_directories_can_be_reached() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let allowed = Allowed { write: vec![path.clone()], ..Allowed::default() };
        let (facts, wrote, elsewhere) = inside(allowed, move |facts| {
            let wrote = std::fs::write(path.join("state"), b"x").is_ok();
            (facts, wrote, std::fs::read("/etc/hostname").is_ok() || std::fs::read("/etc/passwd").is_ok())
        });
        assert!(wrote);
        if facts.landlock != "unavailable" {
            assert!(!elsewhere);
            assert!(facts.is_shut(), "{facts:?}");
        }
    }

    #[test]
    fn no_program_can_be_started_and_no_foreign_socket_opened() {
        let (program, udp, thread) = inside(Allowed::default(), |_| {
            let program = std::process::Command::new("/bin/true").spawn().is_ok();
            let udp = std::net::UdpSocket::bind("127.0.0.1:0").is_ok();
            let thread = std::thread::spawn(|| 7).join().ok();
            (program, udp, thread)
        });
        assert!(!program);
        assert!(udp, "IP sockets stay possible");
        assert_eq!(thread, Some(7), "threads stay possible");
    }

    #[test]
    fn tcp_connections_go_to_the_given_ports_only() {
        let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (allowed, denied) = (listen(), listen());
        let port = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
        let (allowed_port, denied_port) = (port(&allowed), port(&denied));
        let (facts, to_allowed, to_denied) =
            inside(Allowed { tcp_ports: vec![allowed_port], ..Allowed::default() }, move |facts| {
                let connect = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
                (facts, connect(allowed_port), connect(denied_port))
            });
        assert!(to_allowed);
        assert!(!to_denied || facts.landlock != "enforced");
    }
}
