//! A DHT node of the crate `mainline` that takes the commands described in `line_protocol.py`.

use std::{
    collections::BTreeSet,
    error::Error,
    io::{self, BufRead, Write},
    net::SocketAddrV4,
    sync::mpsc,
    thread,
    time::Duration,
};

use futures_lite::{StreamExt, future::block_on};
use mainline::{Dht, Id, MutableItem, SigningKey, async_dht::AsyncDht};
use serde::Deserialize;
use serde_json::{Value, json};

/// An answer that takes longer is given up.
const COMMAND_LIMIT: Duration = Duration::from_secs(28);

#[derive(Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case")]
enum Command {
    Announce { info_hash: Id20, port: u16 },
    GetPeers { info_hash: Id20 },
    PutImmutable { value: String },
    GetImmutable { target: Id20 },
    PutMutable { seed: Bytes32, salt: String, seq: i64, value: String },
    GetMutable { key: Bytes32, salt: String },
    Nodes,
}

/// 20 bytes in hexadecimal.
#[derive(Deserialize)]
struct Id20(#[serde(with = "hex::serde")] [u8; 20]);

/// 32 bytes in hexadecimal.
#[derive(Deserialize)]
struct Bytes32(#[serde(with = "hex::serde")] [u8; 32]);

/// Answers one command.
async fn run(dht: AsyncDht, command: Command) -> Result<Value, Box<dyn Error + Send + Sync>> {
    Ok(match command {
        Command::Announce { info_hash, port } => {
            dht.announce_peer(Id::from(info_hash.0), Some(port)).await?;
            json!({"ok": true})
        }
        Command::GetPeers { info_hash } => {
            let answers: Vec<Vec<SocketAddrV4>> = dht.get_peers(Id::from(info_hash.0)).collect().await;
            let peers: BTreeSet<String> = answers.concat().iter().map(ToString::to_string).collect();
            json!({"ok": true, "peers": peers})
        }
        Command::PutImmutable { value } => {
            let target = dht.put_immutable(value.as_bytes()).await?;
            json!({"ok": true, "target": hex::encode(target.as_bytes())})
        }
        Command::GetImmutable { target } => {
            let value = dht.get_immutable(Id::from(target.0)).await;
            json!({"ok": true, "value": value.map(|value| text(&value))})
        }
        Command::PutMutable { seed, salt, seq, value } => {
            let item = MutableItem::new(SigningKey::from_bytes(&seed.0), value.as_bytes(), seq, salt_of(&salt));
            let key = hex::encode(item.key());
            let outcome = dht.put_mutable(item, None).await?;
            json!({"ok": true, "key": key, "target": hex::encode(outcome.target.as_bytes())})
        }
        Command::GetMutable { key, salt } => {
            let item = dht.get_mutable_most_recent(&key.0, salt_of(&salt)).await;
            json!({
                "ok": true,
                "value": item.as_ref().map(|item| text(item.value())),
                "seq": item.map(|item| item.seq()),
            })
        }
        Command::Nodes => json!({"ok": true, "nodes": dht.to_bootstrap().await.len()}),
    })
}

/// The salt as the crate wants it: absent when empty.
fn salt_of(salt: &str) -> Option<&[u8]> {
    (!salt.is_empty()).then_some(salt.as_bytes())
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Answers one line, in bounded time.
fn answer(dht: &AsyncDht, line: &str) -> Value {
    let command = match serde_json::from_str(line) {
        Ok(command) => command,
        Err(error) => return json!({"ok": false, "error": error.to_string()}),
    };
    let (sender, receiver) = mpsc::channel();
    let dht = dht.clone();
    thread::spawn(move || {
        // Nobody receives what comes after the limit.
        let _ = sender.send(block_on(run(dht, command)));
    });
    match receiver.recv_timeout(COMMAND_LIMIT) {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => json!({"ok": false, "error": error.to_string()}),
        Err(_) => json!({"ok": false, "error": "timed out"}),
    }
}

fn print(line: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen: Option<SocketAddrV4> = None;
    let mut bootstrap: Vec<String> = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(option) = args.next() {
        let value = args.next().ok_or("an option lacks its value")?;
        match option.as_str() {
            "--listen" => listen = Some(value.parse()?),
            "--bootstrap" => bootstrap.push(value),
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let listen = listen.ok_or("--listen IP:PORT is missing")?;
    let dht = Dht::builder()
        .bootstrap(&bootstrap)
        .bind_address(*listen.ip())
        .port(listen.port())
        .server_mode()
        .build()?
        .as_async();
    if !bootstrap.is_empty() {
        block_on(dht.bootstrapped());
    }
    print(&json!({"ready": true, "address": block_on(dht.info()).local_addr().to_string()}))?;
    for line in io::stdin().lock().lines() {
        print(&answer(&dht, &line?))?;
    }
    Ok(())
}
