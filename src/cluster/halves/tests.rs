#![allow(clippy::unwrap_used)]

use std::{future::pending, sync::atomic::AtomicUsize, time::UNIX_EPOCH};

use tokio::time::sleep;

use super::*;
use crate::{
    auth::KeyRing,
    pairing::table::{Place, Refused, Table},
    splice::ending::Ending,
};

/// A bus that is connected, hears nothing, and counts what is published.
#[derive(Default)]
struct Counting {
    published: Arc<AtomicUsize>,
    told: bool,
}

impl Bus for Counting {
    async fn publish(&mut self, _: Topic, _: Vec<u8>) -> Result<(), String> {
        self.published.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn next(&mut self) -> Event {
        if std::mem::replace(&mut self.told, true) {
            return pending().await;
        }
        Event::Connected { own: None }
    }
}

fn halves() -> Arc<Halves> {
    let own = Own {
        id: RouterId([1; 16]),
        certificate: [2; 32],
        listening: ([127, 0, 0, 1], 8084).into(),
        advertised: OnceLock::from("127.0.0.1:8084".to_owned()),
    };
    Halves::new(own, Arc::new(Metrics::new(Ending::REASONS, &[])))
}

/// So many halves begin to wait at once.
fn wait(halves: &Arc<Halves>, many: usize) -> Vec<Waiting> {
    let key = Key::new("test", b"a key of a test, of 32 bytes or more");
    let signer = Signer {
        rules: Arc::new(Rules::new(KeyRing::new([key]).unwrap())),
        key: 0,
    };
    let table = Table::new(usize::MAX, false);
    let half = |n: usize| {
        let subject: Arc<str> = format!("half {n}").into();
        let offer = || Ok::<_, Refused>(((), ()));
        let Ok(Place::Waiting(place, ())) = table.arrive(&subject, UNIX_EPOCH, offer) else {
            panic!("nobody else waits");
        };
        halves.waits(&subject, &signer, place, 0)
    };
    (0..many).map(half).collect()
}

#[tokio::test(start_paused = true)]
async fn however_many_wait_announcements_have_a_bound() {
    let halves = halves();
    let bus = Counting::default();
    let published = bus.published.clone();
    let _running = tokio::spawn(run(halves.clone(), bus));
    let waiting = wait(&halves, 20_000);
    let mut before = 0;
    for second in 0..20 {
        sleep(Duration::from_secs(1)).await;
        let now = published.load(Ordering::Relaxed);
        assert!(now - before <= 2_100, "{} in second {second}", now - before);
        before = now;
    }
    assert!(before >= 20_000, "{before}: each was announced");
    drop(waiting);
    sleep(Duration::from_secs(10)).await;
    let after = published.load(Ordering::Relaxed);
    assert!(after - before <= BATCH, "who is gone is announced no more");
}
