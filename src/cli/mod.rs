//! (to be written)

pub mod args;
pub mod check;

pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
