//! A recipe for what happens to a node: packets from several addresses, tasks, time. It never panics, never loops,
//! stays within its bounds, and sends no address more than three bytes for one before that has proved itself.
#![no_main]

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use krpc::{Message, Node, Poll, Settings, Target, Task, Value};
use libfuzzer_sys::fuzz_target;
use offs_fuzz::Recipe;

/// Steps of a run, and packets that follow from one.
const STEPS: usize = 64;
const MOST_OUTPUTS: usize = 2000;

/// Bytes from and to an address.
#[derive(Default)]
struct Account {
    came: usize,
    went: usize,
}

struct World {
    node: Node,
    now: Duration,
    accounts: HashMap<SocketAddr, Account>,
    /// The last packets that the node sent, to be answered.
    sent: Vec<(SocketAddr, Vec<u8>)>,
    /// Whether nobody has answered yet, and the node was not told to ask anybody: then nobody has proved himself.
    unproved: bool,
}

impl World {
    fn drain(&mut self) {
        for _ in 0..MOST_OUTPUTS {
            match self.node.poll(self.now) {
                Poll::Transmit(transmit) => {
                    let account = self.accounts.entry(transmit.to).or_default();
                    account.went += transmit.packet.len();
                    assert!(transmit.packet.len() <= 1472);
                    assert!(Message::from_bytes(&transmit.packet).is_ok(), "it sends only messages");
                    if account.came > 0 && self.unproved {
                        assert!(account.went <= 3 * account.came, "{} for {}", account.went, account.came);
                    }
                    self.sent.push((transmit.to, transmit.packet));
                }
                Poll::Event(_) => {}
                Poll::Wake(_) => return,
            }
        }
        panic!("it never stops");
    }
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([20, number & 3, 7, 1], 6000 + u16::from(number >> 2)))
}

fuzz_target!(|input: &[u8]| {
    let mut recipe = Recipe::new(input);
    let private = recipe.byte() & 1 == 0;
    let settings = Settings { private, bootstrap: vec![SocketAddr::from(([20, 9, 9, 9], 1))], samples: true, ..Settings::private() };
    let node = Node::new(settings, None, [7; 32], Duration::ZERO);
    let mut world = World { node, now: Duration::ZERO, accounts: HashMap::new(), sent: Vec::new(), unproved: true };
    for _ in 0..STEPS {
        match recipe.byte() {
            // Time goes on.
            0..40 => world.now += Duration::from_millis(u64::from(recipe.byte()) * 20),
            40..50 => world.now += Duration::from_secs(u64::from(recipe.byte()) * 30),
            // Somebody answers one of the last packets, under an id of his choice, with something after it.
            50..110 => answer(&mut world, &mut recipe),
            110..120 => {
                let target = Target::from_bytes([recipe.byte(); 20]);
                let task = match recipe.byte() % 4 {
                    0 => Task::FindNode { target },
                    1 => Task::Get { target, salt: vec![1] },
                    2 => Task::Announce { info_hash: target, port: 7, implied_port: true, seed: false },
                    _ => {
                        let Ok(value) = Value::from_bytes(&[recipe.byte(); 9]) else { return };
                        Task::Put { item: krpc::Item::Immutable(value), cas: None }
                    }
                };
                world.node.start(task, world.now);
                world.unproved = false;
            }
            // A packet.
            _ => {
                let from = address(recipe.byte());
                let length = usize::from(recipe.byte());
                let packet: Vec<u8> = (0..length).map(|_| recipe.byte()).collect();
                world.accounts.entry(from).or_default().came += packet.len();
                world.node.handle(&packet, from, world.now);
            }
        }
        world.drain();
        let counters = world.node.counters();
        assert!(counters.nodes <= 400 && counters.open <= 1000 && counters.peers <= 64 && counters.items <= 64);
    }
});

/// Answers one of the node's queries.
fn answer(world: &mut World, recipe: &mut Recipe<'_>) {
    let which = usize::from(recipe.byte());
    let Some((to, packet)) = world.sent.iter().rev().nth(which).cloned() else { return };
    let Ok(query) = Message::from_bytes(&packet) else { return };
    let mut bytes = format!("d1:rd2:id20:").into_bytes();
    bytes.extend_from_slice(&[recipe.byte(); 20]);
    let count = usize::from(recipe.byte() % 20);
    bytes.extend_from_slice(format!("5:nodes{}:", count * 26).as_bytes());
    for _ in 0..count {
        bytes.extend_from_slice(&[recipe.byte(); 20]);
        bytes.extend_from_slice(&[20, recipe.byte(), recipe.byte(), 1, 0x17, 0x70]);
    }
    bytes.extend_from_slice(b"5:token1:te1:t");
    let t = query.transaction.as_bytes();
    bytes.extend_from_slice(format!("{}:", t.len()).as_bytes());
    bytes.extend_from_slice(t);
    bytes.extend_from_slice(b"1:y1:re");
    let account = world.accounts.entry(to).or_default();
    account.came += bytes.len();
    world.unproved = false;
    world.node.handle(&bytes, to, world.now);
}
