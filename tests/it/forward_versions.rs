//! `forward` with an end of another version: here the words of 0.1, in which a stream carries one connection.

use std::{io::Read as _, net::Shutdown, thread};

use jumpstarter_router::{
    client::{Connector, RouterStream, Trust},
    protocol::v1::FrameType,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Runtime,
};

use crate::helpers::{
    ends::{banner, connect, echo, forward, near, router},
    token, within,
};

async fn say(stream: &mut RouterStream, word: &str) {
    let text = format!("forward/1 {word}");
    let said = stream.write_frame(FrameType::Ping, text.as_bytes()).await;
    said.unwrap();
}

async fn hear(stream: &mut RouterStream) -> String {
    let frame = within("a word", stream.read_frame()).await;
    let frame = frame.unwrap().unwrap();
    assert_eq!(frame.kind, FrameType::Ping);
    let text = String::from_utf8(frame.payload.to_vec()).unwrap();
    text.strip_prefix("forward/1 ").unwrap().to_owned()
}

#[test]
fn an_end_that_listens_and_knows_no_trunks_is_served() {
    let (_router, router) = router(&[]);
    let connector = Connector::new(&router, Trust::Insecure).unwrap();
    let mut far = forward(&router, "old near", &["--to", &echo()]);
    far.says("waiting at");
    Runtime::new().unwrap().block_on(async {
        let token = token("old near");
        let mut old = RouterStream::connect(&connector, &token).await.unwrap();
        say(&mut old, "listen").await;
        // Whoever reads the first word only understands this, too.
        assert_eq!(hear(&mut old).await.split(' ').next(), Some("to"));
        assert_eq!(hear(&mut old).await, "met");
        assert_eq!(hear(&mut old).await, "ready");
        let mut first = [0; 7];
        old.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"banner\n");
        old.shutdown().await.unwrap();
        assert_eq!(old.read(&mut first).await.unwrap(), 0);
    });
}

#[test]
fn an_end_that_connects_and_knows_no_trunks_serves() {
    let (_router, router) = router(&[]);
    let connector = Connector::new(&router, Trust::Insecure).unwrap();
    let (_near, address) = near(&router, "old far");
    let client = thread::spawn(move || {
        let mut socket = connect(&address);
        banner(&mut socket);
        socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(socket.read(&mut [0; 1]).unwrap(), 0, "a proper end");
    });
    Runtime::new().unwrap().block_on(async {
        let token = token("old far");
        let mut old = RouterStream::connect(&connector, &token).await.unwrap();
        say(&mut old, "to").await;
        assert_eq!(hear(&mut old).await.split(' ').next(), Some("listen"));
        say(&mut old, "met").await;
        say(&mut old, "ready").await;
        old.write_all(b"banner\n").await.unwrap();
        assert_eq!(old.read(&mut [0; 1]).await.unwrap(), 0);
        old.shutdown().await.unwrap();
    });
    client.join().unwrap();
}
