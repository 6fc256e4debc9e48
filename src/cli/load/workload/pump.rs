//! `bulk`, `flood` and `mix`: as many messages as the router takes.

use std::sync::Arc;

use tokio::{sync::Notify, time::sleep};

use super::super::{
    failure::Failure,
    pair::{Pair, finish},
    run::Run,
    stream::{LAST_WORD, Receiver, Sender},
};

/// Bytes asked for at a time: several small messages, or one large one.
const BATCH: usize = 64 * 1024;

/// Sends over one pair until the run stops, then ends it.
pub(crate) async fn pump(run: Arc<Run>, pair: Pair, both: bool) -> Result<(), Failure> {
    let run = &*run;
    let Pair { mut a, mut b, .. } = pair;
    let heard = Notify::new();
    tokio::try_join!(
        fill(run, &mut a.send),
        listen(run, &mut a.recv),
        async {
            if both {
                return fill(run, &mut b.send).await;
            }
            heard.notified().await;
            b.send.finish()
        },
        async {
            listen(run, &mut b.recv).await?;
            heard.notify_one();
            Ok(())
        },
    )?;
    finish(run, a, b).await
}

/// Receives until the other peer has said that it is done.
async fn listen(run: &Run, receiver: &mut Receiver) -> Result<(), Failure> {
    while !receiver.ended() {
        run.count(receiver.more().await?);
    }
    Ok(())
}

/// Sends until the run stops, then says so to the other peer.
async fn fill(run: &Run, send: &mut Sender) -> Result<(), Failure> {
    tokio::select! {
        () = run.stop.cancelled() => {}
        result = send_all(run, send) => if let Err(failure) = result {
            // The receiving side may know better: its failure comes first then.
            sleep(LAST_WORD).await;
            return Err(failure);
        },
    }
    send.finish()
}

async fn send_all(run: &Run, send: &mut Sender) -> Result<(), Failure> {
    loop {
        let want = BATCH.max(send.next_len());
        let mut room = send.room(want).await?;
        while room > 0 {
            if run.take(1) == 0 {
                return Ok(());
            }
            room = room.saturating_sub(send.next_len());
            send.put()?;
        }
    }
}
