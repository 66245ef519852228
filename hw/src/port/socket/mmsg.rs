//! Sockets by epoll, recvmmsg and sendmmsg: one system call per socket that has packets, and one
//! per run of packets that leave from the same socket.
//!
//! JUSTIFICATION: one `recvfrom` and one `sendto` per packet are two system calls for each packet;
//! the batched calls, which no safe wrapper offers for scattered addresses, need two for the
//! packets of a socket, and `examples/figures` compares them with io_uring.
//!
//! Invariants of the unsafe code: each of the [`BURST`] receive headers points to its own `iov`,
//! `name` and `control` in boxed slices that never move; before a call the `iov` of header `i` points into
//! the frame `spare[i]`, which nobody else accesses. The kernel reads and writes all of them only
//! during the call. The number of messages that a call returns is checked before use.

use super::departing::empty_header;
use super::name::{self, NAME_LEN, Name};
use super::stamp::{self, BurstTime, CONTROL_LEN};
use super::{RESERVE, SocketConfig, set_dscp, slot_limit};
use crate::doorbell::Doorbell;
use crate::frame::{FrameId, FramePool, HEADROOM, MAX_PAYLOAD};
use crate::port::{
    BURST, DEPARTURES, Departure, Port, PortCounters, PortError, Received, SendOutcome,
};
use arrayvec::ArrayVec;
use core::fmt;
use core::mem::MaybeUninit;
use core::time::Duration;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsRawFd, OwnedFd};
use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use tandem_wire::time::Instant;

/// Packets that a slot may receive before the next one has its turn.
const TURN: usize = 16;
/// Marks the doorbell among the events; no slot has this number.
const BELL: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Slot {
    socket: Option<UdpSocket>,
    generation: u32,
    /// Packets that the socket has lost, as last told.
    lost: u32,
    /// It is in `ready`.
    ready: bool,
}

/// Message headers of a call, with what they point to.
struct Headers {
    headers: Box<[libc::mmsghdr]>,
    iovs: Box<[libc::iovec]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
}

/// Room for what the kernel says about a packet, aligned as a control message is.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

impl Headers {
    fn new(count: usize) -> Self {
        let iov = libc::iovec { iov_base: core::ptr::null_mut(), iov_len: 0 };
        let mut iovs = vec![iov; count].into_boxed_slice();
        let mut names = vec![Name::EMPTY; count].into_boxed_slice();
        let headers = iovs
            .iter_mut()
            .zip(&mut names)
            .map(|(iov, name)| {
                let mut header = empty_header();
                header.msg_iov = &raw mut *iov;
                header.msg_iovlen = 1;
                header.msg_name = (&raw mut *name).cast();
                libc::mmsghdr { msg_hdr: header, msg_len: 0 }
            })
            .collect();
        let controls = vec![Control([0; CONTROL_LEN]); count].into_boxed_slice();
        Self { headers, iovs, names, controls }
    }
}

/// See the module.
pub struct Mmsg {
    epoll: OwnedFd,
    pool: FramePool,
    slots: Vec<Slot>,
    /// Slots that have packets.
    ready: VecDeque<u32>,
    /// Frames to receive into.
    spare: ArrayVec<FrameId, BURST>,
    receive: Headers,
    send: Headers,
    bell: Option<Doorbell>,
    counters: PortCounters,
}

impl fmt::Debug for Mmsg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mmsg")
            .field("pool", &self.pool)
            .field("ready", &self.ready)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Mmsg {
    /// A port for the calling thread.
    ///
    /// # Errors
    /// When a size is not allowed or the system refuses.
    pub fn new(config: &SocketConfig) -> Result<Self, PortError> {
        config.check()?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .map_err(io::Error::from)
            .map_err(PortError::system("epoll_create"))?;
        let slots = slot_limit(config.slots);
        Ok(Self {
            epoll,
            pool: FramePool::new(config.frames).map_err(PortError::system("packet buffers"))?,
            slots: (0..slots).map(|_| Slot::default()).collect(),
            ready: VecDeque::with_capacity(slots as usize),
            spare: ArrayVec::new(),
            receive: Headers::new(BURST),
            send: Headers::new(DEPARTURES),
            bell: None,
            counters: PortCounters::default(),
        })
    }

    /// Asks the kernel which sockets have packets.
    fn poll(&mut self, timeout: Duration) {
        let mut events = [MaybeUninit::<Event>::uninit(); BURST];
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        self.counters.syscalls += 1;
        // A signal: the caller comes again.
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut events[..], Some(&timeout)) else {
            return;
        };
        for event in events {
            let data = event.data.u64();
            if data == BELL {
                if let Some(bell) = &self.bell {
                    bell.drain();
                }
                continue;
            }
            let (index, generation) = split(data);
            if let Some(slot) = self.slots.get_mut(index as usize)
                && slot.generation == generation
                && !slot.ready
            {
                slot.ready = true;
                self.ready.push_back(index);
            }
        }
    }

    /// Takes frames to receive into, leaving the reserve; how many there are.
    fn prepare(&mut self) -> usize {
        while !self.spare.is_full() && self.pool.available() > RESERVE {
            let Some(frame) = self.pool.alloc() else { break };
            let place = self.spare.len();
            let address = self.pool.address(&frame).wrapping_add(HEADROOM);
            self.receive.iovs[place] =
                libc::iovec { iov_base: address.cast(), iov_len: MAX_PAYLOAD };
            self.spare.push(frame);
        }
        self.spare.len()
    }

    /// Receives up to `room` packets from a slot into the spare frames; `true` if it may have more.
    fn receive_slot(
        &mut self,
        index: u32,
        room: usize,
        time: BurstTime,
        out: &mut ArrayVec<Received, BURST>,
    ) -> bool {
        let wanted = room.min(self.spare.len());
        let Some(Slot { socket: Some(socket), .. }) = self.slots.get(index as usize) else {
            return false;
        };
        let places = self.receive.headers.iter_mut().zip(&mut self.receive.controls);
        for (message, control) in places.take(wanted) {
            message.msg_hdr.msg_control = (&raw mut *control).cast();
            message.msg_hdr.msg_controllen = CONTROL_LEN;
            #[expect(clippy::cast_possible_truncation, reason = "28")]
            {
                message.msg_hdr.msg_namelen = NAME_LEN as u32;
            }
            message.msg_hdr.msg_flags = 0;
        }
        self.counters.syscalls += 1;
        // SAFETY: `wanted` headers are prepared (module invariant), and wanted <= BURST.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.receive.headers.as_mut_ptr(),
                len_u32(wanted),
                libc::MSG_DONTWAIT,
                core::ptr::null_mut(),
            )
        };
        let Ok(got) = usize::try_from(result) else {
            let error = io::Error::last_os_error();
            let more = error.kind() != io::ErrorKind::WouldBlock;
            // An ICMP message or lack of memory: the next call tells what there is.
            self.counters.receive_errors += u64::from(more);
            return more && !self.is_dead(index, &error);
        };
        let got = got.min(wanted);
        self.take(got, index, time, out);
        got == wanted
    }

    /// Moves the first `got` spare frames, filled by the kernel, to `out`.
    fn take(
        &mut self,
        got: usize,
        index: u32,
        time: BurstTime,
        out: &mut ArrayVec<Received, BURST>,
    ) {
        for (place, frame) in self.spare.drain(..got).enumerate() {
            let message = &self.receive.headers[place];
            let name_len = (message.msg_hdr.msg_namelen as usize).min(NAME_LEN);
            let source = name::parse(&self.receive.names[place].0[..name_len]);
            let len = (message.msg_len as usize).min(MAX_PAYLOAD);
            let truncated = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let control_len = message.msg_hdr.msg_controllen.min(CONTROL_LEN);
            let control = &self.receive.controls[place].0[..control_len];
            let arrival = time.arrival(control);
            if let (Some(lost), Some(slot)) =
                (stamp::lost(control), self.slots.get_mut(index as usize))
            {
                self.counters.overflowed += u64::from(lost.wrapping_sub(slot.lost));
                slot.lost = lost;
            }
            self.counters.received += 1;
            self.counters.truncated += u64::from(truncated);
            #[expect(clippy::cast_possible_truncation, reason = "both are below FRAME_SIZE")]
            let (start, len) = (HEADROOM as u16, len as u16);
            let packet = Received { frame, start, len, slot: index, truncated, source, arrival };
            if let Err(refused) = out.try_push(packet) {
                // Never: no more were asked for than there was room.
                self.pool.free(refused.element().frame);
            }
        }
        // What is left moved to the front; so do the addresses.
        for (place, frame) in self.spare.iter().enumerate() {
            let address = self.pool.address(frame).wrapping_add(HEADROOM);
            self.receive.iovs[place].iov_base = address.cast();
        }
    }

    /// Takes a slot out of service whose descriptor is no socket any more.
    #[cold]
    fn is_dead(&mut self, index: u32, error: &io::Error) -> bool {
        let dead = matches!(
            error.raw_os_error(),
            Some(libc::EBADF | libc::ENOTSOCK | libc::EINVAL | libc::EOPNOTSUPP | libc::EFAULT)
        );
        if dead && let Some(Slot { socket: Some(socket), .. }) = self.slots.get(index as usize) {
            let _ = epoll::delete(&self.epoll, socket);
            self.counters.dead_slots += 1;
        }
        dead
    }

    /// Sends a run of packets that leave from one slot.
    fn send_run(&mut self, run: &[Departure], outcome: &mut SendOutcome) {
        let Some(Slot { socket: Some(socket), .. }) =
            run.first().and_then(|first| self.slots.get(first.slot as usize))
        else {
            outcome.failed += len_u32(run.len());
            return;
        };
        for (place, departure) in run.iter().enumerate() {
            let start = usize::from(departure.start);
            let address = self.pool.address(&departure.frame).wrapping_add(start);
            self.send.iovs[place] =
                libc::iovec { iov_base: address.cast(), iov_len: usize::from(departure.len) };
            self.send.headers[place].msg_hdr.msg_namelen =
                self.send.names[place].set(departure.destination);
        }
        let mut done = 0;
        while done < run.len() {
            self.counters.syscalls += 1;
            // SAFETY: headers done..run.len() are prepared (module invariant) and their frames
            // are in `run`; run.len() <= DEPARTURES.
            let result = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.send.headers.as_mut_ptr().add(done),
                    len_u32(run.len() - done),
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            match usize::try_from(result) {
                Ok(sent) if sent > 0 => {
                    let end = run.len().min(done + sent);
                    for departure in &run[done..end] {
                        outcome.sent += 1;
                        outcome.sent_octets += u64::from(departure.len);
                    }
                    done = end;
                }
                _ => {
                    let full = matches!(
                        io::Error::last_os_error().raw_os_error(),
                        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)
                    );
                    // A full queue refuses the rest too; any other error is this packet's alone.
                    let failed = if full { run.len() - done } else { 1 };
                    outcome.failed += len_u32(failed);
                    done += failed;
                }
            }
        }
    }
}

/// A count of packets in a burst.
#[expect(clippy::cast_possible_truncation, reason = "at most DEPARTURES")]
const fn len_u32(len: usize) -> u32 {
    debug_assert!(len <= DEPARTURES);
    len as u32
}

const fn join(index: u32, generation: u32) -> u64 {
    (generation as u64) << 32 | index as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
const fn split(data: u64) -> (u32, u32) {
    (data as u32, (data >> 32) as u32)
}

impl Port for Mmsg {
    type Endpoint = UdpSocket;

    fn name(&self) -> &'static str {
        "socket(mmsg)"
    }

    fn receive_burst(&mut self, now: Instant, out: &mut ArrayVec<Received, BURST>) {
        let time = BurstTime::new(now);
        // Every time, so that a slot with packets without end does not hide the others.
        self.poll(Duration::ZERO);
        // Ready slots take turns: one with more packets queues up behind the others.
        for _ in 0..BURST {
            let room = out.remaining_capacity().min(TURN);
            if room == 0 || self.ready.is_empty() {
                return;
            }
            if self.prepare() == 0 {
                self.counters.starved += 1;
                return;
            }
            let Some(index) = self.ready.pop_front() else { return };
            if self.receive_slot(index, room, time, out) {
                self.ready.push_back(index);
            } else if let Some(slot) = self.slots.get_mut(index as usize) {
                slot.ready = false;
            }
        }
    }

    #[inline]
    fn frames(&self) -> &FramePool {
        &self.pool
    }

    #[inline]
    fn frames_mut(&mut self) -> &mut FramePool {
        &mut self.pool
    }

    fn available(&self) -> usize {
        self.pool.available() + self.spare.len()
    }

    fn send_burst(&mut self, departures: &mut ArrayVec<Departure, DEPARTURES>) -> SendOutcome {
        let mut outcome = SendOutcome::default();
        for run in departures
            .chunk_by(|one, next| one.slot == next.slot && one.is_sound() && next.is_sound())
        {
            if run.iter().all(Departure::is_sound) {
                self.send_run(run, &mut outcome);
            } else {
                outcome.failed += len_u32(run.len());
            }
        }
        for departure in departures.drain(..) {
            self.pool.free(departure.frame);
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
        let generation = place.generation.wrapping_add(1);
        let data = EventData::new_u64(join(slot, generation));
        epoll::add(&self.epoll, &endpoint, data, EventFlags::IN)
            .map_err(io::Error::from)
            .map_err(PortError::system("epoll_ctl"))?;
        stamp::enable(&endpoint);
        place.generation = generation;
        place.lost = 0;
        place.socket = Some(endpoint);
        Ok(())
    }

    fn close(&mut self, slot: u32) {
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        let Some(socket) = place.socket.take() else { return };
        place.generation = place.generation.wrapping_add(1);
        let _ = epoll::delete(&self.epoll, &socket);
        if core::mem::take(&mut place.ready) {
            self.ready.retain(|&index| index != slot);
        }
    }

    fn set_dscp(&mut self, slot: u32, dscp: u8) {
        if let Some(Slot { socket: Some(socket), .. }) = self.slots.get(slot as usize) {
            set_dscp(socket, dscp);
        }
    }

    fn wait(&mut self, timeout: Duration) {
        if self.ready.is_empty() {
            self.poll(timeout);
        }
    }

    fn watch_doorbell(&mut self, bell: &Doorbell) -> Result<(), PortError> {
        let bell = bell.try_clone().map_err(PortError::system("the doorbell"))?;
        if let Some(old) = self.bell.take() {
            let _ = epoll::delete(&self.epoll, &old);
        }
        epoll::add(&self.epoll, &bell, EventData::new_u64(BELL), EventFlags::IN)
            .map_err(io::Error::from)
            .map_err(PortError::system("epoll_ctl"))?;
        self.bell = Some(bell);
        Ok(())
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }
}
