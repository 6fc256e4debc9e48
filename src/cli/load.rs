//! `load`: plays both peers of many pairs against a router, checks all they get, and measures.
//!
//! From the ground up: [`pattern`] says what messages hold and [`verify`] checks it; [`stream`] is one call on h2,
//! [`dial`] connects, [`pair`] makes two calls meet; [`run`](mod@run) is what tasks share; [`workload`] has one file for each
//! thing to do; [`mod@report`] and [`text`] say what came out.

pub(crate) mod args;
pub(crate) mod delay;
pub(crate) mod dial;
pub(crate) mod failure;
pub(crate) mod histogram;
pub(crate) mod pair;
pub(crate) mod pattern;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod stream;
pub(crate) mod text;
pub(crate) mod usage;
pub(crate) mod verify;
pub(crate) mod workload;

use std::{ffi::OsString, fs, io, path::Path, sync::Arc};

use tokio::time::timeout;

use self::{args::LoadArgs, plan::Params, report::Report, run::Run};
use super::{
    exit::{self, Exit, Failure, workers},
    out::print,
};

/// Runs the load. Exit code 0 if all went well, 1 after any error.
pub(crate) fn run(args: &LoadArgs, env: &[(String, OsString)]) -> Result<(), Failure> {
    let (run, params) = plan::plan(args, env)?;
    let work = async { Ok(report(run, &params).await) };
    let report = exit::run(&mut workers("load", args.threads), work)?;
    if !args.quiet && args.json.as_deref() != Some(Path::new("-")) {
        print(report.to_string())?;
    }
    if let Some(path) = &args.json {
        let mut text = serde_json::to_string_pretty(&report).map_err(io::Error::other)?;
        text.push('\n');
        if path == Path::new("-") {
            print(text)?;
        } else {
            let failed = |error| {
                Failure::new(
                    Exit::Broken,
                    format_args!("--json {}: {error}", path.display()),
                )
            };
            fs::write(path, text).map_err(failed)?;
        }
    }
    if report.errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::silent(Exit::Broken))
    }
}

async fn report(mut run: Run, params: &Params) -> Report {
    let args = &params.args;
    if let Some(delay) = args.delay {
        match delay::start(args.router.router.clone(), delay).await {
            Ok(proxy) => run.dialer.via(proxy),
            Err(error) => run.error(error),
        }
    }
    let run = Arc::new(run);
    let work = async {
        tokio::select! {
            worked = workload::run(&run, params) => worked,
            never = progress::show(&run), if !args.quiet => match never {},
        }
    };
    let worked = match timeout(params.deadline, work).await {
        Ok(worked) => worked.map_err(|failure| failure.to_string()),
        Err(_) => Err(format!("not over after {:?}", params.deadline)),
    };
    let extra = worked.unwrap_or_else(|error| {
        run.error(error);
        Vec::new()
    });
    Report::new(&run, params, extra)
}
