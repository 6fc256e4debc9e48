//! Compiles `proto/` in pure Rust, so that no protoc is needed, and keeps the descriptors.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// All that the router itself serves of `proto/`.
const ROUTER: &str = "jumpstarter/v1/router.proto";

/// The whole protocol; what these import comes along.
const PROTOCOL: [&str; 4] = [
    ROUTER,
    "jumpstarter/v1/jumpstarter.proto",
    "jumpstarter/v1/telemetry.proto",
    "jumpstarter/client/v1/client.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rustc-env=ROUTER_COMMIT={}", commit());
    let out = PathBuf::from(env::var("OUT_DIR")?);

    fs::write(
        out.join("router.bin"),
        compiled(&[ROUTER])?.encode_file_descriptor_set(),
    )?;
    let protocol = compiled(&PROTOCOL)?;
    fs::write(
        out.join("protocol.bin"),
        protocol.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        // Connecting is the business of `client`.
        .build_transport(false)
        .bytes(".")
        // In order, so that equal messages are equal bytes.
        .btree_map(".")
        .compile_fds(protocol.file_descriptor_set())?;
    Ok(())
}

/// These files of `proto/`, with what they import.
fn compiled(files: &[&str]) -> Result<protox::Compiler, protox::Error> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(files)?;
    Ok(compiler)
}

/// The commit being built: given by the environment (an image is built without the repository), or asked of git.
fn commit() -> String {
    println!("cargo:rerun-if-env-changed=GIT_COMMIT");
    // What changes when another commit is checked out or made: HEAD, the branch it names, and the log of both. Asked
    // of git, since in a worktree they lie elsewhere. A file that is not there would have this run every time.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD", "packed-refs"]
        .into_iter()
        .chain(branch.as_deref())
    {
        if let Some(path) =
            git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists())
        {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    env::var("GIT_COMMIT")
        .ok()
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// What git answers, if it does.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
