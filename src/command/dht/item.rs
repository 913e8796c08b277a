//! Items (BEP 44) and announcements: getting and storing.

use std::io::{Read as _, Write as _};

use krpc::{Item, ItemError, MAX_SALT, MAX_VALUE, Task, Value, mutable_target};
use serde_json::{Value as Json, json};

use super::ask::{found_anybody, refusal};
use crate::{
    dht::{
        arguments::{Get, Network, Put},
        client::Client,
        key_file::KeyFile,
        state::State,
    },
    failure::Failure,
    output,
};

pub(crate) fn get(get: &Get, state: &State) -> Result<(), Failure> {
    let salt = get.salt.as_deref().unwrap_or_default().as_bytes();
    // Said here, because the parser does not ask for what conflicts with the target.
    if get.salt.is_some() && get.key.is_none() {
        return Err(Failure::Usage { what: "--salt goes with --key" });
    }
    if salt.len() > MAX_SALT {
        return Err(Failure::Item(ItemError::SaltLength { length: salt.len() }));
    }
    let target = match (get.key, get.target) {
        (Some(key), _) => mutable_target(&key, salt),
        (None, Some(target)) => target,
        (None, None) => return Err(Failure::Usage { what: "give a target or a key" }),
    };
    let mut client = Client::new(&get.network, state, &[])?;
    let outcome = client.complete(Task::Get { target, salt: salt.to_vec() }, &mut |_| ())?;
    found_anybody(&outcome)?;
    let item = outcome.item.ok_or(Failure::NoItem { target })?;
    if get.network.json {
        return output::json(&item_json(&item));
    }
    let value = item.value();
    let bytes = if get.bencode { None } else { value.as_bytes() };
    let mut out = std::io::stdout().lock();
    out.write_all(bytes.unwrap_or(value.as_bencode())).and_then(|()| out.flush()).map_err(Failure::Output)
}

fn item_json(item: &Item) -> Json {
    let value = item.value();
    let mut json = json!({
        "target": item.target().to_string(),
        "value": value.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok()),
        "bencode": hex::encode(value.as_bencode()),
    });
    if let Item::Mutable(item) = item {
        json["key"] = json!(hex::encode(item.key));
        json["salt"] = json!(String::from_utf8_lossy(&item.salt));
        json["seq"] = json!(item.sequence);
        json["signature"] = json!(hex::encode(item.signature));
    }
    json
}

pub(crate) fn put(put: &Put, state: &State) -> Result<(), Failure> {
    let value = read_value(put)?;
    let Some(path) = &put.key else {
        return store(Task::Put { item: Item::Immutable(value), cas: None }, &put.network, state);
    };
    let key = KeyFile::read(path)?.key;
    let salt = put.salt.as_deref().unwrap_or_default().as_bytes();
    let mut client = Client::new(&put.network, state, &[])?;
    let (sequence, cas) = match put.seq {
        Some(sequence) => (sequence, put.cas),
        None => match newest(&mut client, &key.public(), salt)? {
            // Whoever put something meanwhile is not overwritten.
            Some(newest) => (
                newest.checked_add(1).ok_or(Failure::Usage { what: "the item has the highest seq there is" })?,
                put.cas.or(Some(newest)),
            ),
            None => (1, put.cas),
        },
    };
    let item = key.sign(value, salt, sequence).map_err(Failure::Item)?;
    store_with(&mut client, Task::Put { item: Item::Mutable(item), cas }, put.network.json)
}

/// The sequence number of the item that is there.
fn newest(client: &mut Client, key: &[u8; 32], salt: &[u8]) -> Result<Option<i64>, Failure> {
    let target = mutable_target(key, salt);
    let outcome = client.complete(Task::Get { target, salt: salt.to_vec() }, &mut |_| ())?;
    found_anybody(&outcome)?;
    Ok(match outcome.item {
        Some(Item::Mutable(item)) => Some(item.sequence),
        _ => None,
    })
}

fn read_value(put: &Put) -> Result<Value, Failure> {
    let mut bytes = put.value.clone().into_bytes();
    if put.value == "-" {
        bytes.clear();
        // One byte more than any value has, so that too long a one is seen.
        let most = u64::try_from(MAX_VALUE + 1).unwrap_or(u64::MAX);
        std::io::stdin()
            .take(most)
            .read_to_end(&mut bytes)
            .map_err(|source| Failure::io("read", "standard input", source))?;
    }
    let value = if put.bencode { Value::from_bencode(&bytes) } else { Value::from_bytes(&bytes) };
    value.map_err(Failure::Item)
}

pub(crate) fn store(task: Task, network: &Network, state: &State) -> Result<(), Failure> {
    store_with(&mut Client::new(network, state, &[])?, task, network.json)
}

fn store_with(client: &mut Client, task: Task, as_json: bool) -> Result<(), Failure> {
    let item = if let Task::Put { item, .. } = &task { Some(item.clone()) } else { None };
    let target = task.target();
    let outcome = client.complete(task, &mut |_| ())?;
    found_anybody(&outcome)?;
    if outcome.stored.is_empty() {
        return Err(refusal(&outcome).unwrap_or(Failure::NotStored));
    }
    let target = target.map(|target| target.to_string()).unwrap_or_default();
    if as_json {
        let mut json = item.as_ref().map_or_else(|| json!({ "info_hash": target }), item_json);
        json["nodes"] = json!(outcome.stored.len());
        json["refused"] = json!(
            outcome
                .refused
                .iter()
                .map(|(node, e)| json!({ "node": node.to_string(), "code": e.code, "text": e.text }))
                .collect::<Vec<_>>()
        );
        return output::json(&json);
    }
    crate::progress::remark(&format!("stored on {} nodes", outcome.stored.len()));
    output::line(target)
}
