//! Prints streams, live and past, and the settings in force.

use serde_json::Value;

use super::{PastArgs, ShowArgs};
use crate::{
    admin::api::{
        past::{Kind, Listing},
        settings::Setting,
        streams::Row,
    },
    cli::{
        admin_client::{AdminError, Client},
        exit::{Exit, Failure},
        print,
        top::{detail, past, printed, query, text::Line},
    },
    common::text::printable,
};

/// All that are kept.
const ALL: usize = 2_000;

/// Prints all that is known of one stream: of one that lives, or else of the past.
pub(super) async fn one(mut client: Client, args: &ShowArgs) -> Result<(), Failure> {
    let id = args.id;
    match client.get::<Value>(&format!("/api/streams/{id}")).await {
        Ok(row) if args.json => return print(format!("{row}\n")),
        Ok(row) => return told(&detail::live(&read::<Row>(row)?)),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let past = query::past(&id.to_string(), ALL, None);
    let found = match client.get::<Value>(&past).await {
        Ok(past) => past["streams"].as_array().and_then(|streams| {
            let mut streams = streams.iter();
            streams.find(|stream| stream["id"] == id).cloned()
        }),
        Err(error) if error.is_not_found() => return Err(too_old("shows no single stream")),
        Err(error) => return Err(error.into()),
    };
    match found {
        Some(found) if args.json => print(format!("{found}\n")),
        Some(found) => told(&detail::ended(&read(found)?)),
        None => Err(Failure::new(
            Exit::Broken,
            format_args!("there is no stream {id}, and none is remembered"),
        )),
    }
}

/// Prints the past.
pub(super) async fn past(mut client: Client, args: &PastArgs) -> Result<(), Failure> {
    let kind = args.only.map(|kind| match kind {
        Kind::Ended => "ended",
        Kind::Refused => "refused",
    });
    let path = query::past(&args.filter, args.limit, kind);
    let answer: Value = match client.get(&path).await {
        Err(error) if error.is_not_found() => return Err(too_old("keeps no past")),
        answer => answer?,
    };
    if args.json {
        return print(format!("{answer}\n"));
    }
    let listing: Listing = read(answer)?;
    told(&past::table(&listing.streams, false).lines(None))?;
    match listing.matching.saturating_sub(listing.streams.len()) {
        0 => Ok(()),
        more => print(format!("and {more} more\n")),
    }
}

/// Prints the settings in force.
pub(super) async fn config(mut client: Client, json: bool) -> Result<(), Failure> {
    let answer: Value = match client.get("/api/config").await {
        Err(error) if error.is_not_found() => return Err(too_old("does not show its settings")),
        answer => answer?,
    };
    if json {
        return print(format!("{answer}\n"));
    }
    let settings: Vec<Setting> = read(answer["settings"].clone())?;
    let lines = settings.iter().map(|setting| {
        let value = setting.value.as_deref().unwrap_or("(not set)");
        let (value, source) = (printable(value), printable(&setting.source));
        let restart = if setting.restart { "" } else { ", live" };
        format!(
            "{} = {value}  # {source}{restart}\n",
            printable(&setting.key)
        )
    });
    print(lines.collect::<String>())
}

fn too_old(what: &str) -> Failure {
    let text =
        format!("this router {what}: it is older than this program, or no router answers there");
    Failure::new(Exit::Broken, text)
}

fn read<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, AdminError> {
    serde_json::from_value(answer).map_err(AdminError::Unknown)
}

fn told(lines: &[Line]) -> Result<(), Failure> {
    print(printed(lines))
}
