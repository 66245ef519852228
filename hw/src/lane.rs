//! A lane: the command ring and the event ring between control and one worker, with sleep flags.
//!
//! Ringing a doorbell costs a system call, so it is done only for a peer that sleeps. The order
//! that makes this safe is Dekker's: who goes to sleep raises its flag, then looks at its ring
//! once more; who pushes, pushes, then looks at the flag. With a sequentially consistent fence in
//! the middle of both, at least one of the two sees the other.
//!
//! Memory: magic and reserved words, then each flag on lines of its own, then the two rings.

use crate::doorbell::Doorbell;
use crate::shm::Memory;
use crate::spsc::{self, Consumer, Producer, REGION_ALIGN, RegionError};
use crate::sync::Ordering;
use bytemuck::Pod;
use core::fmt;
use core::sync::atomic::fence;
use rustix::fd::OwnedFd;
use std::io;

const MAGIC: u64 = 0x5444_4d4c_414e_4531;
const ENGINE_SLEEPS: usize = REGION_ALIGN;
const CONTROL_SLEEPS: usize = 2 * REGION_ALIGN;
const COMMANDS: usize = 3 * REGION_ALIGN;

/// Flags of both ends, as one of them sees them.
#[derive(Debug)]
struct Flags {
    memory: Memory,
    own: usize,
    peer: usize,
}

impl Flags {
    fn store(&self, value: u64) {
        if let Some([word, ..]) = self.memory.words(self.own, 8) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn raise(&self) {
        self.store(1);
        fence(Ordering::SeqCst);
    }

    fn peer_sleeps(&self) -> bool {
        fence(Ordering::SeqCst);
        matches!(self.memory.words(self.peer, 8),
            Some([word, ..]) if word.load(Ordering::Relaxed) != 0)
    }

    fn wake(&self, bell: &Doorbell) -> bool {
        let sleeps = self.peer_sleeps();
        if sleeps {
            bell.ring();
        }
        sleeps
    }
}

/// The engine's end: takes commands, gives events.
pub struct EngineEnd<C: Pod, E: Pod> {
    /// Commands from control. Their fields are untrusted.
    pub commands: Consumer<C>,
    /// Events for control.
    pub events: Producer<E>,
    flags: Flags,
}

/// Control's end: gives commands, takes events.
pub struct ControlEnd<C: Pod, E: Pod> {
    /// Commands for the engine.
    pub commands: Producer<C>,
    /// Events from the engine. Their fields are untrusted.
    pub events: Consumer<E>,
    flags: Flags,
}

fn invalid(error: RegionError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<C: Pod, E: Pod> EngineEnd<C, E> {
    /// Makes a lane with empty rings of the given capacities (powers of two) and its engine end;
    /// the memory's descriptor is for control.
    ///
    /// # Errors
    /// When a capacity is not allowed or the system refuses.
    pub fn create(
        name: &str,
        command_capacity: usize,
        event_capacity: usize,
    ) -> io::Result<(Memory, Self)> {
        if command_capacity.max(event_capacity) > spsc::MAX_CAPACITY {
            return Err(invalid(RegionError::Capacity));
        }
        let events = COMMANDS + spsc::region_len::<C>(command_capacity);
        let memory = Memory::create(name, events + spsc::region_len::<E>(event_capacity))?;
        spsc::format::<C>(&memory, COMMANDS, command_capacity).map_err(invalid)?;
        spsc::format::<E>(&memory, events, event_capacity).map_err(invalid)?;
        if let Some([magic, offset, ..]) = memory.words(0, 16) {
            offset.store(events as u64, Ordering::Relaxed);
            magic.store(MAGIC, Ordering::Release);
        }
        let end = Self {
            commands: Consumer::attach(&memory, COMMANDS).map_err(invalid)?,
            events: Producer::attach(&memory, events).map_err(invalid)?,
            flags: Flags { memory: memory.clone(), own: ENGINE_SLEEPS, peer: CONTROL_SLEEPS },
        };
        Ok((memory, end))
    }

    /// Announces that the worker goes to sleep. `false` if commands are there: do not sleep.
    /// Call [`awake`](Self::awake) afterwards in both cases.
    pub fn prepare_sleep(&mut self) -> bool {
        self.flags.raise();
        self.commands.is_empty()
    }

    /// Ends what [`prepare_sleep`](Self::prepare_sleep) announced.
    pub fn awake(&mut self) {
        self.flags.store(0);
    }

    /// Rings control's doorbell if control sleeps, `true` then; call it once after a batch of
    /// pushed events.
    pub fn wake_peer(&self, bell: &Doorbell) -> bool {
        self.flags.wake(bell)
    }
}

impl<C: Pod, E: Pod> ControlEnd<C, E> {
    /// Opens a lane that the engine made.
    ///
    /// # Errors
    /// `InvalidData` when the memory holds something else, otherwise what the system says.
    pub fn open(fd: OwnedFd) -> io::Result<Self> {
        let memory = Memory::from_fd(fd, COMMANDS)?;
        let (magic, events) = match memory.words(0, 16) {
            Some([magic, events, ..]) => {
                (magic.load(Ordering::Acquire), events.load(Ordering::Relaxed))
            }
            _ => return Err(invalid(RegionError::Bounds)),
        };
        let events = usize::try_from(events).map_err(|_| invalid(RegionError::Bounds))?;
        if magic != MAGIC || events < COMMANDS {
            return Err(invalid(RegionError::Layout));
        }
        Ok(Self {
            commands: Producer::attach(&memory, COMMANDS).map_err(invalid)?,
            events: Consumer::attach(&memory, events).map_err(invalid)?,
            flags: Flags { memory, own: CONTROL_SLEEPS, peer: ENGINE_SLEEPS },
        })
    }

    /// Announces that control waits for its doorbell. `false` if events are there: do not wait.
    /// Call [`awake`](Self::awake) afterwards in both cases.
    pub fn prepare_sleep(&mut self) -> bool {
        self.flags.raise();
        self.events.is_empty()
    }

    /// Ends what [`prepare_sleep`](Self::prepare_sleep) announced.
    pub fn awake(&mut self) {
        self.flags.store(0);
    }

    /// Rings the worker's doorbell if it sleeps, `true` then; call it once after a batch of pushed
    /// commands.
    pub fn wake_peer(&self, bell: &Doorbell) -> bool {
        self.flags.wake(bell)
    }
}

impl<C: Pod, E: Pod> fmt::Debug for EngineEnd<C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineEnd").field("flags", &self.flags).finish_non_exhaustive()
    }
}

impl<C: Pod, E: Pod> fmt::Debug for ControlEnd<C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlEnd").field("flags", &self.flags).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Command = [u64; 9];
    type Event = [u32; 5];

    fn pair() -> (EngineEnd<Command, Event>, ControlEnd<Command, Event>) {
        let (memory, engine) = EngineEnd::create("lane", 8, 16).unwrap();
        let control = ControlEnd::open(memory.fd().try_clone_to_owned().unwrap()).unwrap();
        (engine, control)
    }

    #[test]
    fn commands_and_events_cross() {
        let (mut engine, mut control) = pair();
        assert_eq!((control.commands.capacity(), control.events.capacity()), (8, 16));
        control.commands.push(&[7; 9]).unwrap();
        assert_eq!(engine.commands.pop(), Some([7; 9]));
        engine.events.push(&[1, 2, 3, 4, 5]).unwrap();
        assert_eq!(control.events.pop(), Some([1, 2, 3, 4, 5]));
        assert_eq!(control.events.pop(), None);
    }

    #[test]
    fn only_a_sleeper_is_woken() {
        let (mut engine, mut control) = pair();
        let bell = Doorbell::new().unwrap();
        control.commands.push(&[0; 9]).unwrap();
        assert!(!control.wake_peer(&bell) && !bell.drain(), "awake: no system call");
        assert!(!engine.prepare_sleep(), "a command is there");
        engine.awake();
        engine.commands.pop();
        assert!(engine.prepare_sleep());
        assert!(control.wake_peer(&bell) && bell.drain());
        engine.awake();
        assert!(!control.wake_peer(&bell));
    }

    #[test]
    fn another_layout_is_refused() {
        let (memory, _engine) = EngineEnd::<Command, Event>::create("lane", 8, 16).unwrap();
        let dup = || memory.fd().try_clone_to_owned().unwrap();
        assert!(ControlEnd::<Event, Command>::open(dup()).is_err());
        memory.words(8, 8).unwrap()[0].store(u64::MAX - 127, Ordering::Relaxed);
        assert!(ControlEnd::<Command, Event>::open(dup()).is_err());
        let other = Memory::create("other", 4_096).unwrap();
        let fd = other.fd().try_clone_to_owned().unwrap();
        assert!(ControlEnd::<Command, Event>::open(fd).is_err());
    }

    #[test]
    fn no_wake_up_is_lost() {
        let (mut engine, mut control) = pair();
        let bell = Doorbell::new().unwrap();
        let rounds = 20_000_u64;
        std::thread::scope(|scope| {
            let sleeper = bell.try_clone().unwrap();
            scope.spawn(move || {
                let mut seen = 0;
                while seen < rounds {
                    while let Some(command) = engine.commands.pop() {
                        assert_eq!(command[0], seen);
                        seen += 1;
                    }
                    if seen < rounds && engine.prepare_sleep() {
                        let mut poll =
                            [rustix::event::PollFd::new(&sleeper, rustix::event::PollFlags::IN)];
                        let limit = rustix::time::Timespec { tv_sec: 5, tv_nsec: 0 };
                        let ready = rustix::event::poll(&mut poll, Some(&limit)).unwrap();
                        assert_eq!(ready, 1, "lost at {seen}");
                        sleeper.drain();
                    }
                    engine.awake();
                }
            });
            for round in 0..rounds {
                while control.commands.push(&[round; 9]).is_err() {
                    std::thread::yield_now();
                }
                control.wake_peer(&bell);
            }
        });
    }
}
