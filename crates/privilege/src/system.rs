//! The system calls, and nothing else: the one place of this crate where `unsafe` stands.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(crate) fn effective_uid() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// User and group number of an account.
pub(crate) fn account(name: &CStr) -> Option<(u32, u32)> {
    let mut buffer = vec![0; 16 * 1024];
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are valid for the call, the length is that of the buffer, and `found` is only looked at for null.
    let result =
        unsafe { libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found) };
    if result != 0 || found.is_null() {
        return None;
    }
    // SAFETY: getpwnam_r returned 0 and set `found`, so it filled in the entry.
    let entry = unsafe { entry.assume_init() };
    Some((entry.pw_uid, entry.pw_gid))
}

pub(crate) fn set_groups(gid: u32) -> io::Result<()> {
    // SAFETY: the pointer is to one group, and the count says one.
    check(unsafe { libc::setgroups(1, &gid) })
}

pub(crate) fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: setresgid takes numbers only.
    check(unsafe { libc::setresgid(gid, gid, gid) })
}

pub(crate) fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: setresuid takes numbers only.
    check(unsafe { libc::setresuid(uid, uid, uid) })
}

pub(crate) fn set_umask(mask: libc::mode_t) {
    // SAFETY: umask takes a number and cannot fail.
    unsafe { libc::umask(mask) };
}

/// Takes every capability out of the bounding set, as far as this process may.
pub(crate) fn empty_bounding_set() {
    for capability in 0..64 {
        // SAFETY: prctl with PR_CAPBSET_DROP takes numbers only; a number that is no capability is an error without effect.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

pub(crate) fn clear_ambient() {
    // SAFETY: prctl with PR_CAP_AMBIENT_CLEAR_ALL takes numbers only.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Empties the effective, permitted and inheritable sets of this thread (and so of all it will start).
pub(crate) fn clear_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = CapabilityHeader { version: VERSION_3, pid: 0 };
    let data = [CapabilityData { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: both pointers are valid for the call; version 3 reads two data structures.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(crate) fn no_new_privileges() -> io::Result<()> {
    // SAFETY: prctl with PR_SET_NO_NEW_PRIVS takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

/// Waits until the pipe that this descriptor writes to has no reader any more (or the terminal is gone).
pub(crate) fn wait_for_reader_gone(descriptor: libc::c_int) -> io::Result<()> {
    loop {
        // Nothing is asked for: errors and hang-ups are told always.
        let mut one = libc::pollfd { fd: descriptor, events: 0, revents: 0 };
        // SAFETY: the pointer is to one structure that lives through the call, and the count says one.
        let result = unsafe { libc::poll(&raw mut one, 1, -1) };
        match result {
            1.. if one.revents & libc::POLLNVAL == 0 => return Ok(()),
            1.. => return Err(io::ErrorKind::InvalidInput.into()),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}

pub(crate) fn redirect_stderr_to_stdout() {
    // SAFETY: dup2 takes numbers only; that standard error changes under its users is what it is for.
    unsafe { libc::dup2(libc::STDOUT_FILENO, libc::STDERR_FILENO) };
}

pub(crate) fn raise_term() {
    // SAFETY: raise takes a number only.
    unsafe { libc::raise(libc::SIGTERM) };
}
