//! Lets HTTP/2 read as much as memory allows.

use std::sync::Arc;

use crate::transport::{
    counters::ConnectionCounters,
    http2::wire::{Gather, Wire},
    memory::{
        level::{Level, Memory, Reader, Reading},
        read_budget::ReadBudget,
    },
    wake_flag::WakeFlag,
};

/// What one connection may read.
pub(super) struct ReadGate {
    memory: Arc<Memory>,
    reader: Arc<Reader>,
    budget: ReadBudget,
    /// The kernel keeps little for it.
    thrifty: bool,
}

impl ReadGate {
    /// `flag` is set when a connection that was not read may be read again.
    pub(super) fn new(memory: Arc<Memory>, flag: Arc<WakeFlag>) -> Self {
        Self {
            reader: memory.reader(flag),
            memory,
            budget: ReadBudget::default(),
            thrifty: false,
        }
    }

    /// Says to `wire` what may be read until the next call.
    pub(super) fn open<T: Gather>(&mut self, wire: &Wire<T>, passage: &ConnectionCounters) {
        let next = self.budget.next(passage.received());
        let level = self.memory.level();
        self.save_kernel_memory(level, wire);
        let reading = self.reader.reading(level, passage.held().bytes());
        passage.set_paused(reading != Reading::Free);
        match reading {
            Reading::Free => wire.allow(Some(next), false),
            Reading::Little => wire.allow(Some(ReadBudget::LITTLE), true),
            Reading::Later => wire.allow(None, true),
        }
    }

    /// While memory is short the kernel's buffers count, too.
    fn save_kernel_memory<T: Gather>(&mut self, level: Level, wire: &Wire<T>) {
        let thrifty = match level {
            Level::Normal => false,
            Level::NoGrowth => self.thrifty,
            _ => true,
        };
        if thrifty != self.thrifty {
            self.thrifty = thrifty;
            wire.set_thrifty(thrifty);
        }
    }
}
