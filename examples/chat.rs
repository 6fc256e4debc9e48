//! Two people talk through a router, a line at a time. Each runs
//!
//! ```sh
//! cargo run --example chat -- router.example.com:443 token.txt [ca.pem]
//! ```
//!
//! with the same token, from a controller or `jumpstarter-router token mint`. The end of the input (Ctrl-D) says goodbye.
//! For a router with a self-signed certificate give that certificate as `ca.pem`.

use std::{env, error::Error, process::ExitCode};

use jumpstarter_router::client::{Connector, EndedBy, RouterStream, StreamError, Token, Trust};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, split, stdin};

#[tokio::main]
async fn main() -> ExitCode {
    match talk().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn talk() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [endpoint, token_file, ca @ ..] = args.as_slice() else {
        return Err("expected: chat HOST:PORT TOKEN_FILE [CA_FILE]".into());
    };
    let trust = match ca.first() {
        Some(path) => Trust::from_pem_file(path)?,
        None => Trust::System,
    };
    let connector = Connector::new(endpoint, trust)?;
    let mut stream = RouterStream::connect(&connector, Token::from_file(token_file)?).await?;
    eprintln!("waiting for the other side");
    stream.answered().await?;
    eprintln!("connected");

    let (incoming, mut outgoing) = split(stream);
    // A read from a terminal cannot be cancelled, so this task may outlive the talk; the process ends anyway.
    let talk = tokio::spawn(async move {
        let mut lines = BufReader::new(stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            outgoing.write_all(format!("{line}\n").as_bytes()).await?;
        }
        outgoing.shutdown().await // no more from this side; the other may still talk
    });
    let mut lines = BufReader::new(incoming).lines();
    loop {
        match lines.next_line().await {
            Ok(Some(line)) => println!("> {line}"),
            Ok(None) => break eprintln!("the other side has said goodbye"),
            Err(error) => match StreamError::of(&error).map(StreamError::by) {
                Some(EndedBy::Partner) => {
                    return Err("the other side has gone without a goodbye".into());
                }
                _ => return Err(error.into()),
            },
        }
    }
    talk.await??;
    Ok(())
}
