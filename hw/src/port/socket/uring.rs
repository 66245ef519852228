//! Sockets by io_uring: one ring per worker, multishot receive into the frames themselves, one
//! system call per burst.
//!
//! The frames are the kernel's provided buffers. The kernel writes its header, the sender's
//! address and its control messages right before the payload, which so starts at [`HEADROOM`] without
//! a copy:
//!
//! ```text
//! frame: | 28 free | recvmsg_out 16 | name 28 | control 56 | payload ... 1856 | 64 free |
//! ```
//!
//! JUSTIFICATION: relaying 64-packet bursts on loopback, one packet per socket as calls have them,
//! takes 0.76 to 0.86 of the processor time of [`Mmsg`](super::Mmsg) (1.3 against 1.6 µs per
//! packet, nearly all of it in the kernel's UDP stack) and 32 times fewer system calls (4 against
//! 129 per burst). Where a few sockets have many packets each, mmsg batches as well, and both take
//! the same time. `examples/figures` measures it.
//!
//! What can end a receive, and what follows: no buffer (the slot waits until frames are free
//! again), an empty datagram, an ICMP error, lack of memory (armed again), a closed slot (nothing,
//! its generation has passed), a descriptor that is no socket (the slot is dead, counted).
//!
//! Invariants of the unsafe code:
//! - Everything that a submitted operation points to (frames, records, the receive header, the
//!   buffer ring) is in `memory`, which is dropped only after the kernel has completed every
//!   operation; if it does not, the memory is leaked.
//! - A received frame is taken from the buffer ring before anybody looks at it.
//! - What a completion says (kind, index, generation, buffer, lengths) is checked before use.

use super::departing::{Records, empty_header};
use super::name::{self, NAME_LEN};
use super::provided::Provided;
use super::stamp::{self, BurstTime, CONTROL_LEN};
use super::{RESERVE, SocketConfig, set_dscp, slot_limit};
use crate::doorbell::Doorbell;
use crate::frame::{FramePool, HEADROOM, MAX_PAYLOAD};
use crate::port::{
    BURST, DEPARTURES, Departure, Port, PortCounters, PortError, Received, SendOutcome,
};
use arrayvec::ArrayVec;
use core::fmt;
use core::mem::ManuallyDrop;
use core::time::Duration;
use io_uring::types::{CancelBuilder, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::fd::{AsFd, AsRawFd};
use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use tandem_wire::addr::SockAddr;
use tandem_wire::time::Instant;

const OUT_LEN: usize = 16;
const HEADER_LEN: usize = OUT_LEN + NAME_LEN + CONTROL_LEN;
/// Where the kernel starts to write in a frame.
const BUFFER_START: usize = HEADROOM - HEADER_LEN;
#[expect(clippy::cast_possible_truncation, reason = "below FRAME_SIZE")]
const BUFFER_LEN: u32 = (HEADER_LEN + MAX_PAYLOAD) as u32;
const GROUP: u16 = 0;
const SUBMISSIONS: u32 = 256;
/// Sends that may be with the kernel; they complete within the call that submits them, so two
/// bursts are plenty.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const SENDS: u32 = 2 * DEPARTURES as u32;

const KIND_RECEIVE: u64 = 1;
const KIND_SEND: u64 = 2;
const KIND_BELL: u64 = 3;
pub(super) const GENERATION_MASK: u32 = 0x00ff_ffff;

/// Kind, generation and index of an operation.
const fn tag(kind: u64, generation: u32, index: u32) -> u64 {
    kind << 56 | (generation as u64) << 32 | index as u64
}

#[derive(Debug, Default)]
struct Slot {
    socket: Option<UdpSocket>,
    generation: u32,
    /// Packets that the socket has lost, as last told.
    lost: u32,
    /// A receive of this generation is with the kernel.
    armed: bool,
    /// It waits in `rearm`.
    queued: bool,
}

/// What the kernel may read or write while operations are in flight.
#[derive(Debug)]
struct KernelMemory {
    pool: FramePool,
    provided: Provided,
    records: Records,
    receive: Box<libc::msghdr>,
}

#[derive(Clone, Copy, Debug)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

impl Completion {
    #[expect(clippy::cast_possible_truncation, reason = "the parts of a tag")]
    const fn parts(self) -> (u64, u32, u32) {
        let generation = (self.user_data >> 32) as u32 & GENERATION_MASK;
        (self.user_data >> 56, generation, self.user_data as u32)
    }
}

/// See the module.
pub struct Uring {
    ring: IoUring,
    memory: ManuallyDrop<KernelMemory>,
    slots: Vec<Slot>,
    /// Slots to receive on again.
    rearm: Vec<u32>,
    /// Completions of receives that a send found in the queue.
    stash: VecDeque<Completion>,
    bell: Option<Doorbell>,
    bell_generation: u32,
    /// Receives and polls that the kernel has.
    standing: u32,
    counters: PortCounters,
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring")
            .field("memory", &self.memory)
            .field("standing", &self.standing)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Uring {
    /// A port for the calling thread.
    ///
    /// # Errors
    /// When a size is not allowed or the system refuses.
    pub fn new(config: &SocketConfig) -> Result<Self, PortError> {
        Self::with_modes(config, &MODES)
    }

    /// A port with the first of these modes that the kernel has.
    fn with_modes(config: &SocketConfig, modes: &[Mode]) -> Result<Self, PortError> {
        config.check()?;
        let completions = (u32::from(config.receive_buffers) + SENDS).next_power_of_two();
        let mut ring = Err(io::ErrorKind::Unsupported.into());
        for &mode in modes {
            ring = ring.or_else(|_| build_ring(mode, completions));
        }
        let ring = ring.map_err(PortError::system("io_uring_setup"))?;
        let slots = slot_limit(config.slots);
        ring.submitter()
            .register_files_sparse(slots)
            .map_err(PortError::system("registering files"))?;
        let pool = FramePool::new(config.frames).map_err(PortError::system("packet buffers"))?;
        let provided =
            Provided::new(config.receive_buffers).map_err(PortError::system("the buffer ring"))?;
        let mut receive = Box::new(empty_header());
        #[expect(clippy::cast_possible_truncation, reason = "28")]
        {
            receive.msg_namelen = NAME_LEN as u32;
        }
        receive.msg_controllen = CONTROL_LEN;
        let stash = 2 * completions as usize;
        let records = Records::new(SENDS);
        let mut port = Self {
            ring,
            memory: ManuallyDrop::new(KernelMemory { pool, provided, records, receive }),
            slots: (0..slots).map(|_| Slot::default()).collect(),
            rearm: Vec::with_capacity(slots as usize),
            stash: VecDeque::with_capacity(stash),
            bell: None,
            bell_generation: 0,
            standing: 0,
            counters: PortCounters::default(),
        };
        port.register_buffers().map_err(PortError::system("registering buffers"))?;
        port.replenish();
        Ok(port)
    }

    fn register_buffers(&self) -> io::Result<()> {
        let (address, entries) = (self.memory.provided.address(), self.memory.provided.entries());
        // SAFETY: the ring of `entries` entries at `address` stays mapped until the io_uring is
        // gone: both are in self, and Drop keeps the order.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(address, entries, GROUP, 0) }
    }

    /// Whether the ring never drops completions and takes a timeout with a wait.
    pub(super) fn has_features(&self) -> bool {
        let params = self.ring.params();
        params.is_feature_nodrop() && params.is_feature_ext_arg()
    }

    /// Moves free frames to the kernel, and receives again on the slots that had to stop.
    fn replenish(&mut self) {
        let memory = &mut *self.memory;
        let mut given = false;
        while memory.provided.has_room() && memory.pool.available() > RESERVE {
            let Some(frame) = memory.pool.alloc() else { break };
            let address = memory.pool.address(&frame).wrapping_add(BUFFER_START);
            if let Err(frame) = memory.provided.give(frame, address, BUFFER_LEN) {
                memory.pool.free(frame);
                break;
            }
            given = true;
        }
        if given {
            memory.provided.publish();
        }
        if !self.rearm.is_empty() && self.memory.provided.posted() > 0 {
            self.rearm_slots();
        }
    }

    #[cold]
    fn rearm_slots(&mut self) {
        while let Some(index) = self.rearm.pop() {
            let Some(slot) = self.slots.get_mut(index as usize) else { continue };
            slot.queued = false;
            if slot.socket.is_some() && !slot.armed && !self.arm(index) {
                self.queue_rearm(index);
                break;
            }
        }
    }

    fn queue_rearm(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize)
            && !slot.queued
        {
            slot.queued = true;
            self.rearm.push(index);
        }
    }

    /// Queues a multishot receive.
    fn arm(&mut self, index: u32) -> bool {
        let generation = self.slots[index as usize].generation;
        let header: *const libc::msghdr = &raw const *self.memory.receive;
        let entry = opcode::RecvMsgMulti::new(Fixed(index), header, GROUP).build().user_data(tag(
            KIND_RECEIVE,
            generation,
            index,
        ));
        // SAFETY: the header and the buffers of the group are in `memory` (module invariant).
        let pushed = unsafe { self.push(&entry) };
        if pushed {
            self.standing += 1;
        }
        self.slots[index as usize].armed = pushed;
        pushed
    }

    /// Queues an operation, submitting the queue first if it is full.
    ///
    /// # Safety
    /// What the entry points to stays valid and untouched until its last completion was taken.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller vouches for the entry.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return true;
        }
        self.submit();
        // SAFETY: as above.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Submits what is queued and lets the kernel post completions.
    fn submit(&mut self) {
        for _ in 0..4 {
            self.counters.syscalls += 1;
            match self.ring.submit() {
                // EBUSY and EAGAIN: the completion queue is full or memory is short; what remains
                // stays queued and goes with the next call.
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(_) => return,
                Ok(_) if self.ring.submission().is_empty() => return,
                Ok(_) => {}
            }
        }
    }

    fn next_completion(&mut self) -> Option<Completion> {
        let entry: cqueue::Entry = self.ring.completion().next()?;
        Some(Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        })
    }

    /// Handles completions until `out` is full or none is there.
    fn harvest(&mut self, time: BurstTime, out: &mut ArrayVec<Received, BURST>) {
        while !out.is_full() {
            let next = self.stash.pop_front().or_else(|| self.next_completion());
            let Some(completion) = next else { return };
            if let Some(packet) = self.handle(completion, time) {
                out.push(packet);
            }
        }
    }

    fn handle(&mut self, completion: Completion, time: BurstTime) -> Option<Received> {
        let (kind, generation, index) = completion.parts();
        match kind {
            KIND_RECEIVE => return self.handle_receive(completion, generation, index, time),
            KIND_SEND => self.handle_late_send(completion),
            KIND_BELL => self.handle_bell(completion, generation),
            _ => {}
        }
        None
    }

    /// A send that did not complete within its own call, and so was counted as sent.
    #[cold]
    fn handle_late_send(&mut self, completion: Completion) {
        if self.complete_send(completion).is_none() {
            self.counters.sent = self.counters.sent.saturating_sub(1);
            self.counters.send_failed += 1;
        }
    }

    #[inline]
    fn handle_receive(
        &mut self,
        completion: Completion,
        generation: u32,
        index: u32,
        time: BurstTime,
    ) -> Option<Received> {
        let frame = cqueue::buffer_select(completion.flags)
            .and_then(|buffer| self.memory.provided.take(buffer));
        let current =
            self.slots.get(index as usize).is_some_and(|slot| slot.generation == generation);
        if !cqueue::more(completion.flags) {
            self.handle_end(completion.result, current, index);
        }
        let frame = frame?;
        if !current {
            self.counters.stale += u64::from(completion.result >= 0);
            self.memory.pool.free(frame);
            return None;
        }
        let parsed = u32::try_from(completion.result)
            .ok()
            .and_then(|len| parse(self.memory.pool.bytes(&frame), len))
            .map(|a| {
                let (arrival, lost) = (time.arrival(a.control), stamp::lost(a.control));
                (a.source, a.len, a.truncated, arrival, lost)
            });
        let Some((source, len, truncated, arrival, lost)) = parsed else {
            self.counters.receive_errors += 1;
            self.memory.pool.free(frame);
            return None;
        };
        if let Some(lost) = lost {
            let slot = &mut self.slots[index as usize];
            self.counters.overflowed += u64::from(lost.wrapping_sub(slot.lost));
            slot.lost = lost;
        }
        self.counters.received += 1;
        self.counters.truncated += u64::from(truncated);
        #[expect(clippy::cast_possible_truncation, reason = "128")]
        let start = HEADROOM as u16;
        Some(Received { frame, start, len, slot: index, truncated, source, arrival })
    }

    /// A receive has ended; `current` if its slot is still the one that it was for.
    #[cold]
    fn handle_end(&mut self, result: i32, current: bool, index: u32) {
        self.standing = self.standing.saturating_sub(1);
        if !current {
            return;
        }
        self.slots[index as usize].armed = false;
        match -result {
            libc::EBADF | libc::ENOTSOCK | libc::EINVAL | libc::EOPNOTSUPP | libc::EFAULT => {
                self.counters.dead_slots += 1;
                return;
            }
            libc::ENOBUFS => self.counters.starved += 1,
            error if error > 0 => self.counters.receive_errors += 1,
            _ => {}
        }
        self.queue_rearm(index);
    }

    #[cold]
    fn handle_bell(&mut self, completion: Completion, generation: u32) {
        if generation == self.bell_generation
            && let Some(bell) = &self.bell
        {
            bell.drain();
        }
        if !cqueue::more(completion.flags) {
            self.standing = self.standing.saturating_sub(1);
            if generation == self.bell_generation && completion.result >= 0 {
                self.arm_bell();
            }
        }
    }

    fn arm_bell(&mut self) -> bool {
        let Some(bell) = &self.bell else { return false };
        let fd = io_uring::types::Fd(bell.as_fd().as_raw_fd());
        let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(tag(KIND_BELL, self.bell_generation, 0));
        // SAFETY: a poll points to no memory, and the kernel holds the file itself.
        let pushed = unsafe { self.push(&entry) };
        self.standing += u32::from(pushed);
        pushed
    }

    /// Frees the frame of a send; the octets that left, `None` if it failed.
    fn complete_send(&mut self, completion: Completion) -> Option<u16> {
        let (_, generation, index) = completion.parts();
        let (frame, octets) = self.memory.records.complete(index, generation)?;
        self.memory.pool.free(frame);
        (i64::from(completion.result) == i64::from(octets)).then_some(octets)
    }

    /// Queues a send; `false` if it can't be sent, its frame is free then.
    #[inline]
    fn queue_send(&mut self, departure: Departure) -> bool {
        let slot = departure.slot;
        let open = self.slots.get(slot as usize).is_some_and(|slot| slot.socket.is_some());
        if !open || !departure.is_sound() {
            self.memory.pool.free(departure.frame);
            return false;
        }
        let memory = &mut *self.memory;
        let (index, generation, header) = match memory.records.fill(&memory.pool, departure) {
            Ok(filled) => filled,
            Err(frame) => {
                memory.pool.free(frame);
                return false;
            }
        };
        let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32;
        let entry = opcode::SendMsg::new(Fixed(slot), header)
            .flags(flags)
            .build()
            .user_data(tag(KIND_SEND, generation, index));
        // SAFETY: header, address and frame are in `memory` and stay as they are until complete().
        let pushed = unsafe { self.push(&entry) };
        if !pushed && let Some((frame, _)) = self.memory.records.complete(index, generation) {
            self.memory.pool.free(frame);
        }
        pushed
    }

    /// Collects the completions of a burst of sends; those of receives wait in the stash.
    fn collect_sends(&mut self, outcome: &mut SendOutcome, mut pending: u32) {
        while pending > 0 && self.stash.len() < self.stash.capacity() {
            let Some(completion) = self.next_completion() else { break };
            if completion.parts().0 != KIND_SEND {
                self.stash.push_back(completion);
                continue;
            }
            pending -= 1;
            match self.complete_send(completion) {
                Some(octets) => {
                    outcome.sent += 1;
                    outcome.sent_octets += u64::from(octets);
                }
                None => outcome.failed += 1,
            }
        }
        // With MSG_DONTWAIT sends complete in the call that submits them. What the kernel took
        // and has not finished all the same counts as sent; handle() corrects that if it fails.
        outcome.sent += pending;
    }

    fn has_completions(&mut self) -> bool {
        !self.stash.is_empty() || !self.ring.completion().is_empty()
    }

    /// Whether the kernel has work that only a system call gets done.
    fn wants_call(&mut self) -> bool {
        let submission = self.ring.submission();
        submission.taskrun() || submission.cq_overflow() || !submission.is_empty()
    }

    /// Cancels the receive of a slot that is being closed; its completions find another generation.
    fn cancel(&self, user_data: u64) {
        let limit = Timespec::new().sec(1);
        let cancel = CancelBuilder::user_data(user_data);
        // Not found: it ended by itself, and its completion is on the way.
        let _ = self.ring.submitter().register_sync_cancel(Some(limit), cancel);
    }

    /// Ends every operation; `true` if the kernel holds none any more.
    fn quiesce(&mut self) -> bool {
        self.submit();
        for slot in &mut self.slots {
            slot.generation = (slot.generation + 1) & GENERATION_MASK;
        }
        self.bell_generation = (self.bell_generation + 1) & GENERATION_MASK;
        let limit = Timespec::new().sec(1);
        let _ = self.ring.submitter().register_sync_cancel(Some(limit), CancelBuilder::any());
        let pause = Timespec::new().nsec(10_000_000);
        for _ in 0..100 {
            while let Some(completion) = self.stash.pop_front().or_else(|| self.next_completion()) {
                let stale = self.handle(completion, BurstTime::new(Instant::ZERO));
                debug_assert!(stale.is_none(), "every generation has passed");
            }
            if self.standing == 0 && self.memory.records.in_flight() == 0 {
                let submitter = self.ring.submitter();
                // The files now, because a ring that is closed lets go of them later.
                let _ = submitter.unregister_files();
                return submitter.unregister_buf_ring(GROUP).is_ok();
            }
            let _ = self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&pause));
        }
        false
    }
}

/// When the kernel posts completions.
#[derive(Clone, Copy, Debug)]
enum Mode {
    /// When this thread asks for them; it is never interrupted (Linux 6.1).
    Deferred,
    /// At the next system call or clock tick (Linux 5.19).
    Cooperative,
    /// At once, by interrupting this thread.
    Plain,
}

/// From the best to the one that every kernel has.
const MODES: [Mode; 3] = [Mode::Deferred, Mode::Cooperative, Mode::Plain];

fn build_ring(mode: Mode, completions: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(completions).setup_clamp();
    match mode {
        Mode::Deferred => builder
            .setup_submit_all()
            .setup_taskrun_flag()
            .setup_single_issuer()
            .setup_defer_taskrun(),
        Mode::Cooperative => builder.setup_submit_all().setup_taskrun_flag().setup_coop_taskrun(),
        Mode::Plain => &mut builder,
    }
    .build(SUBMISSIONS)
}

/// What the kernel wrote before a payload.
#[derive(Debug, PartialEq, Eq)]
struct Arrived<'a> {
    source: SockAddr,
    control: &'a [u8],
    len: u16,
    truncated: bool,
}

/// Reads what the kernel wrote to a frame; `len` is how much it says that it wrote. `None` if that
/// can't be.
#[inline]
fn parse(frame: &[u8], len: u32) -> Option<Arrived<'_>> {
    let payload = len.checked_sub(BUFFER_LEN - MAX_PAYLOAD_U32)?;
    if payload > MAX_PAYLOAD_U32 {
        return None;
    }
    let header = frame.get(BUFFER_START..HEADROOM)?;
    let (out, rest) = header.split_first_chunk::<OUT_LEN>()?;
    let (name, control) = rest.split_at_checked(NAME_LEN)?;
    let field = |at: usize| u32::from_ne_bytes([out[at], out[at + 1], out[at + 2], out[at + 3]]);
    let (name_len, control_len, flags) = (field(0) as usize, field(4) as usize, field(12));
    Some(Arrived {
        source: name::parse(name.get(..name_len)?),
        control: control.get(..control_len)?,
        len: u16::try_from(payload).ok()?,
        truncated: flags & libc::MSG_TRUNC as u32 != 0,
    })
}

#[expect(clippy::cast_possible_truncation, reason = "below FRAME_SIZE")]
const MAX_PAYLOAD_U32: u32 = MAX_PAYLOAD as u32;

impl Drop for Uring {
    fn drop(&mut self) {
        if self.quiesce() {
            // SAFETY: the kernel has completed everything that pointed into the memory, the ring
            // takes no more operations, and nobody uses `memory` after this.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}

impl Port for Uring {
    type Endpoint = UdpSocket;

    fn name(&self) -> &'static str {
        "socket(io_uring)"
    }

    fn receive_burst(&mut self, now: Instant, out: &mut ArrayVec<Received, BURST>) {
        self.replenish();
        let (before, time) = (out.len(), BurstTime::new(now));
        self.harvest(time, out);
        if out.len() == before && self.wants_call() {
            self.submit();
            self.harvest(time, out);
        }
    }

    #[inline]
    fn frames(&self) -> &FramePool {
        &self.memory.pool
    }

    #[inline]
    fn frames_mut(&mut self) -> &mut FramePool {
        &mut self.memory.pool
    }

    fn available(&self) -> usize {
        self.memory.pool.available() + self.memory.provided.posted()
    }

    fn send_burst(&mut self, departures: &mut ArrayVec<Departure, DEPARTURES>) -> SendOutcome {
        let mut outcome = SendOutcome::default();
        let mut pending = 0;
        for departure in departures.drain(..) {
            if self.queue_send(departure) {
                pending += 1;
            } else {
                outcome.failed += 1;
            }
        }
        if pending > 0 {
            self.submit();
            self.collect_sends(&mut outcome, pending);
        }
        self.counters.sent += u64::from(outcome.sent);
        self.counters.send_failed += u64::from(outcome.failed);
        outcome
    }

    fn slots(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    fn open(&mut self, slot: u32, endpoint: UdpSocket) -> Result<(), PortError> {
        let limit = self.slots();
        let place =
            self.slots.get_mut(slot as usize).ok_or(PortError::SlotOutOfRange { slot, limit })?;
        if place.socket.is_some() {
            return Err(PortError::SlotInUse(slot));
        }
        let updated = self
            .ring
            .submitter()
            .register_files_update(slot, &[endpoint.as_raw_fd()])
            .map_err(PortError::system("registering the socket"))?;
        if updated != 1 {
            let error = io::ErrorKind::Other.into();
            return Err(PortError::System { operation: "registering the socket", error });
        }
        stamp::enable(&endpoint);
        place.socket = Some(endpoint);
        place.lost = 0;
        place.generation = (place.generation + 1) & GENERATION_MASK;
        if !self.arm(slot) {
            self.queue_rearm(slot);
        }
        self.submit();
        Ok(())
    }

    fn close(&mut self, slot: u32) {
        let Some(place) = self.slots.get(slot as usize) else { return };
        if place.socket.is_none() {
            return;
        }
        let armed = place.armed;
        let user_data = tag(KIND_RECEIVE, place.generation, slot);
        // A receive that is still queued would find the next socket of this slot.
        self.submit();
        let place = &mut self.slots[slot as usize];
        place.generation = (place.generation + 1) & GENERATION_MASK;
        place.armed = false;
        place.socket = None;
        let _ = self.ring.submitter().register_files_update(slot, &[-1]);
        if armed {
            self.cancel(user_data);
            // The kernel lets the socket go, and with it the port, when it posts the end.
            self.submit();
        }
    }

    fn set_dscp(&mut self, slot: u32, dscp: u8) {
        if let Some(Slot { socket: Some(socket), .. }) = self.slots.get(slot as usize) {
            set_dscp(socket, dscp);
        }
    }

    fn wait(&mut self, timeout: Duration) {
        if self.has_completions() {
            return;
        }
        let limit = Timespec::from(timeout);
        self.counters.syscalls += 1;
        // Whatever it says (time is up, a signal, a full queue), the caller looks again.
        let _ = self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&limit));
    }

    fn watch_doorbell(&mut self, bell: &Doorbell) -> Result<(), PortError> {
        let bell = bell.try_clone().map_err(PortError::system("the doorbell"))?;
        if self.bell.is_some() {
            self.submit();
            self.cancel(tag(KIND_BELL, self.bell_generation, 0));
        }
        self.bell_generation = (self.bell_generation + 1) & GENERATION_MASK;
        self.bell = Some(bell);
        if !self.arm_bell() {
            let error = io::ErrorKind::ResourceBusy.into();
            return Err(PortError::System { operation: "the doorbell", error });
        }
        self.submit();
        Ok(())
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests;
