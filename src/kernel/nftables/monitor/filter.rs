//! Makes the kernel drop notifications about other tables before they enter a socket's buffer.
//!
//! The kernel writes a notification to a subscribed socket for each element, rule and chain of every commit, several to
//! a datagram. A neighbour that loads a large set would overflow the socket and wake its reader thousands of times. A
//! socket filter (classic BPF) inspects each message of a datagram, and passes the datagram if any message ends a
//! commit or is about our tables.

use nftnl::nftnl_sys::libc::{self, sock_filter};

use crate::kernel::nftables::uapi::*;

/// Messages inspected in one datagram; a datagram with more passes. The kernel fills less than a page, and a message
/// about an element has at least some 60 bytes. The program must fit into `net.core.optmem_max`, which was 20 KiB
/// before 6.7.
const MESSAGES: usize = 64;
/// Words of the table's name that are compared; a longer name with the same beginning passes as well.
const WORDS: usize = 3;

/// Memory words in which the program keeps the offset of the current message, and a part of its length.
const OFFSET: u32 = 0;
const PART: u32 = 1;

/// Offsets within a message: its length, its type, and its first attribute, which is the table's name in every
/// notification but the one that ends a commit.
const LENGTH: u32 = 0;
const TYPE: u32 = 4;
const ATTRIBUTE: u32 = 20;
const NAME: u32 = 24;

const PASS: u32 = u32::MAX;
const DROP: u32 = 0;

/// Returns a program that passes datagrams with a message about tables of this name, or with the end of a commit.
pub(super) fn program(table: &str) -> Vec<sock_filter> {
    let mut program = Vec::new();
    let name = [table.as_bytes(), &[0]].concat();
    // A load from a packet reads big-endian numbers; the kernel writes numbers in host order.
    let length = u16::try_from(name.len() + 4).unwrap_or(u16::MAX).to_ne_bytes();
    let length = u32::from(u16::from_be_bytes(length));
    let words: Vec<u32> = name
        .chunks(4)
        .take(WORDS)
        .map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_be_bytes(word)
        })
        .collect();
    let low =
        |offset: u32, width: u32| if cfg!(target_endian = "little") { offset } else { offset + width - 1 };

    program.push(operation(libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM, 0));
    for _ in 0..MESSAGES {
        // After the last message: none of them is about our tables.
        program.push(operation(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0));
        program.push(jump(libc::BPF_JGT | libc::BPF_X, 0, 1, 0));
        program.push(ends(DROP));
        program.push(load(libc::BPF_B, low(TYPE, 2)));
        program.push(jump(libc::BPF_JEQ, NFT_MSG_NEWGEN.cast_unsigned(), 0, 1));
        program.push(ends(PASS));
        program.push(load(libc::BPF_H, ATTRIBUTE));
        // If the length differs, skip the words, two operations each, and the verdict.
        program.push(jump(libc::BPF_JEQ, length, 0, (2 * words.len() + 1) as u8));
        for (index, word) in words.iter().enumerate() {
            program.push(load(libc::BPF_W, NAME + 4 * index as u32));
            program.push(jump(libc::BPF_JEQ, *word, 0, (2 * (words.len() - index) - 1) as u8));
        }
        program.push(ends(PASS));
        // The next message begins after this one, whose length (two bytes) is rounded up to a multiple of four.
        program.push(operation(libc::BPF_STX, OFFSET));
        program.push(load(libc::BPF_B, if cfg!(target_endian = "little") { LENGTH + 1 } else { LENGTH + 2 }));
        program.push(operation(libc::BPF_ALU | libc::BPF_LSH | libc::BPF_K, 8));
        program.push(operation(libc::BPF_ST, PART));
        program.push(load(libc::BPF_B, low(LENGTH, 4)));
        program.push(operation(libc::BPF_LDX | libc::BPF_W | libc::BPF_MEM, PART));
        program.push(operation(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0));
        program.push(operation(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, 3));
        program.push(operation(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, !3));
        program.push(operation(libc::BPF_LDX | libc::BPF_W | libc::BPF_MEM, OFFSET));
        program.push(operation(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0));
        program.push(operation(libc::BPF_MISC | libc::BPF_TAX, 0));
    }
    program.push(ends(PASS));
    program
}

const fn operation(code: u32, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

/// Loads from the packet, at this offset from the start of the current message.
const fn load(size: u32, offset: u32) -> sock_filter {
    operation(libc::BPF_LD | size | libc::BPF_IND, offset)
}

/// Skips `holds` operations if the comparison holds, and `fails` operations otherwise.
const fn jump(comparison: u32, value: u32, holds: u8, fails: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | comparison) as u16, jt: holds, jf: fails, k: value }
}

const fn ends(verdict: u32) -> sock_filter {
    operation(libc::BPF_RET | libc::BPF_K, verdict)
}
