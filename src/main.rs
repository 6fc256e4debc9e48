//! The `jumpstarter-router` program: everything is in the library.

use jumpstarter_router_system::heap::Counting;

/// What is allocated counts towards `memory.limit`.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> std::process::ExitCode {
    jumpstarter_router::main()
}
