//! Stops a program just before and just after each transaction that it sends to `nf_tables`.
//!
//! A change between reading and writing would otherwise be a matter of luck. Here the kernel stops the
//! program (`ptrace`) at the system calls of its main thread.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::LabError;

/// Type of the message that begins a transaction (`NFNL_MSG_BATCH_BEGIN`).
const BATCH_BEGIN: u16 = 16;
/// The offset of the type in a netlink message (`nlmsghdr`).
const TYPE: u64 = 4;

/// When a program is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It is about to send a transaction.
    Before,
    /// The kernel has accepted or refused the transaction, and the program does not know yet.
    After,
}

/// Stops a program at its commits until this is dropped. Meanwhile no other thread may wait for the program's exit.
#[derive(Debug)]
pub struct Commits {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Commits {
    /// From now on calls `attend` before and after each commit that the main thread of this process makes.
    pub fn hold_up(pid: u32, attend: impl FnMut(Moment) + Send + 'static) -> Result<Self, LabError> {
        let ended = Arc::new(AtomicBool::new(false));
        let (attached, outcome) = channel();
        // Only the thread that attaches may send the requests.
        let thread = thread::spawn({
            let ended = ended.clone();
            move || {
                let tracee = Pid::from_raw(pid.cast_signed());
                let begun = begin(tracee);
                let is_attached = begun.is_ok();
                // The receiver is gone if the test has ended.
                let _ = attached.send(begun);
                if is_attached {
                    // The only possible error is that the program exits.
                    let _ = attend_to(tracee, &ended, attend);
                }
            }
        });
        let failed = LabError::io("attach to a program");
        match outcome.recv() {
            Ok(Ok(())) => Ok(Self { ended, thread: Some(thread) }),
            Ok(Err(errno)) => Err(failed(errno.into())),
            Err(_) => Err(failed(io::ErrorKind::Other.into())),
        }
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Makes the program stop at its next system call.
fn begin(tracee: Pid) -> Result<(), Errno> {
    ptrace::seize(tracee, Options::PTRACE_O_TRACESYSGOOD)?;
    ptrace::interrupt(tracee)?;
    waitpid(tracee, Some(WaitPidFlag::__WALL))?;
    ptrace::syscall(tracee, None)
}

fn attend_to(tracee: Pid, ended: &AtomicBool, mut attend: impl FnMut(Moment)) -> Result<(), Errno> {
    let (mut is_committing, mut is_interrupted) = (false, false);
    loop {
        let is_last = ended.load(Ordering::Relaxed);
        if is_last && !is_interrupted {
            // The program may be waiting for something that never comes.
            ptrace::interrupt(tracee)?;
            is_interrupted = true;
        }
        let signal = match waitpid(tracee, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive => {
                thread::sleep(Duration::from_micros(500));
                continue;
            }
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ok(()),
            WaitStatus::PtraceSyscall(_) if is_committing => {
                attend(Moment::After);
                is_committing = false;
                None
            }
            WaitStatus::PtraceSyscall(_) if !is_last && is_commit(tracee) => {
                attend(Moment::Before);
                is_committing = true;
                None
            }
            WaitStatus::Stopped(_, signal) => Some(signal),
            _ => None,
        };
        if is_last && !is_committing {
            return ptrace::detach(tracee, signal);
        }
        ptrace::syscall(tracee, signal)?;
    }
}

/// Whether the system call at which a program has stopped sends a transaction.
fn is_commit(tracee: Pid) -> bool {
    let Ok(call) = std::fs::read_to_string(format!("/proc/{tracee}/syscall")) else { return false };
    let mut words = call.split_whitespace();
    let is_send = words.next().and_then(|word| word.parse().ok()) == Some(libc::SYS_sendto);
    let hexadecimal = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let Some(message) = words.nth(1).and_then(hexadecimal).filter(|_| is_send) else { return false };
    let mut kind = [0; 2];
    let memory = File::open(format!("/proc/{tracee}/mem"));
    let read = memory.and_then(|memory| memory.read_exact_at(&mut kind, message + TYPE));
    read.is_ok() && u16::from_ne_bytes(kind) == BATCH_BEGIN
}
