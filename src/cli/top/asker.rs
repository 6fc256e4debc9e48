//! Asks the router for what the screen wants to show, in a task of its own: keys are obeyed while no answer comes.

use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinHandle,
};

use crate::{
    admin::api::{
        history::History,
        past::{Listing as Past, Row as Ended},
        status::Status,
        streams::{Listing, Row},
    },
    cli::{
        admin_client::{AdminError, Client},
        top::{ListArgs, query},
    },
};

/// So many questions may wait. More come only from keys that are pressed while nothing is answered.
const QUEUE: usize = 8;

/// Says what is to be shown.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// Asks for live streams.
    pub(super) streams: String,
    /// Asks for those of the past, if they are shown.
    pub(super) past: Option<String>,
    /// Asks for this stream, with its subject, for all that is known of it.
    pub(super) stream: Option<(u64, String)>,
}

impl Wish {
    /// Asks for the live streams alone.
    pub(super) fn first(list: &ListArgs) -> Self {
        Self {
            streams: query::streams(list),
            past: None,
            stream: None,
        }
    }
}

/// What was seen at one look.
#[derive(Debug)]
pub(super) struct Seen {
    /// The router.
    pub(super) status: Status,
    /// Its live streams.
    pub(super) streams: Listing,
    /// What passed lately; `None` if the router does not keep that.
    pub(super) history: Option<History>,
    /// The past, if it was wished for and the router keeps one.
    pub(super) past: Option<Past>,
    /// The one stream that was wished for.
    pub(super) stream: Option<Found>,
}

/// What has become of one stream.
#[derive(Debug)]
pub(super) enum Found {
    /// Lives.
    Live(Box<Row>),
    /// Has ended.
    Ended(Box<Ended>),
}

/// What the router is asked for.
#[derive(Debug)]
pub(super) enum Ask {
    /// A look.
    Look(Wish),
    /// The end of a stream.
    End(u64),
    /// The drain.
    Drain,
}

/// What it has answered.
#[derive(Debug)]
pub(super) enum Told {
    /// What was seen.
    Seen(Box<Result<Seen, AdminError>>),
    /// What came of something that was asked for.
    Done(Result<String, AdminError>),
}

/// The task, and the way to it and back. Dropping it ends the task.
#[derive(Debug)]
pub(super) struct Asker {
    ask: Sender<Ask>,
    told: Receiver<Told>,
    task: JoinHandle<()>,
}

impl Asker {
    /// Starts the task.
    pub(super) fn start(mut client: Client, follows_any: bool) -> Self {
        let (ask, mut asked) = channel(QUEUE);
        let (tell, told) = channel(QUEUE);
        let task = tokio::spawn(async move {
            while let Some(ask) = asked.recv().await {
                let told = match ask {
                    Ask::Look(wish) => {
                        let mut seen = look(&mut client, &wish).await;
                        if follows_any && matches!(seen, Err(AdminError::Elsewhere { .. })) {
                            client.forget();
                            seen = look(&mut client, &wish).await;
                        }
                        Told::Seen(Box::new(seen))
                    }
                    Ask::End(id) => Told::Done(end(&mut client, id).await),
                    Ask::Drain => Told::Done(drain(&mut client).await),
                };
                if tell.send(told).await.is_err() {
                    break;
                }
            }
        });
        Self { ask, told, task }
    }

    /// Asks. False if too much is asked for already.
    pub(super) fn ask(&self, ask: Ask) -> bool {
        self.ask.try_send(ask).is_ok()
    }

    /// Waits for the next answer.
    pub(super) async fn told(&mut self) -> Option<Told> {
        self.told.recv().await
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Looks at the router. What it is too old for is left out.
pub(super) async fn look(client: &mut Client, wish: &Wish) -> Result<Seen, AdminError> {
    let status: Status = client.get("/api/status").await?;
    // All that is asked for below came with it.
    let is_old = status.process.id.is_empty();
    let mut seen = Seen {
        streams: client.get(&wish.streams).await?,
        status,
        history: None,
        past: None,
        stream: None,
    };
    if is_old {
        return Ok(seen);
    }
    seen.history = known(client.get("/api/history").await)?;
    if let Some(path) = &wish.past {
        seen.past = known(client.get(path).await)?;
    }
    if let Some((id, subject)) = &wish.stream {
        let row = known(client.get(&format!("/api/streams/{id}")).await)?;
        seen.stream = match row {
            Some(row) => Some(Found::Live(row)),
            None => ended(client, *id, subject).await?.map(Found::Ended),
        };
    }
    Ok(seen)
}

/// Looks for a stream that is not there any more.
async fn ended(
    client: &mut Client,
    id: u64,
    subject: &str,
) -> Result<Option<Box<Ended>>, AdminError> {
    let path = query::past(subject, 100, None);
    let past: Option<Past> = known(client.get(&path).await)?;
    let streams = past.map(|past| past.streams).unwrap_or_default();
    let mut streams = streams.into_iter();
    Ok(streams.find(|ended| ended.id == Some(id)).map(Box::new))
}

/// Takes it for no failure that there is nothing.
fn known<T>(answer: Result<T, AdminError>) -> Result<Option<T>, AdminError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn end(client: &mut Client, id: u64) -> Result<String, AdminError> {
    client.post(&format!("/api/streams/{id}/end")).await?;
    Ok(format!("stream {id} ends: its peers are being told"))
}

async fn drain(client: &mut Client) -> Result<String, AdminError> {
    client.post("/api/drain").await?;
    Ok("the router drains: new streams are refused".to_owned())
}
