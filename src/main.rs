//! The `jumpstarter-router` program: everything is in the library.

fn main() -> std::process::ExitCode {
    jumpstarter_router::cli::main()
}
