//! What nodes do together.
#![expect(clippy::print_stdout, reason = "the seed of a run is shown when it fails")]

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use krpc::{Family, Item, NodeId, Publication, Saved, Settings, Target, Task, Value, is_secure};
use sim::{Link, Measure, Network, Population};

const LOSSY: Link = Link { least: Duration::from_millis(10), most: Duration::from_millis(150), loss: 0.1 };

/// The seed of a run: `OFFS_SEED`, or one for every day's use. It is printed, so that a failure can be repeated.
fn seed() -> u64 {
    let seed = std::env::var("OFFS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("OFFS_SEED={seed}");
    seed
}

/// Addresses in different networks.
fn public(number: u32) -> SocketAddr {
    let [_, a, b, c] = (((number % 80) << 16) | (number / 80)).to_be_bytes();
    SocketAddr::from(([20 + a, b, c, 1], 6881))
}

fn loopback(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10_000 + number))
}

fn item(text: &str) -> Item {
    Item::Immutable(Value::from_bytes(text.as_bytes()).expect("a value"))
}

fn minutes(network: &mut Network, minutes: u64) {
    network.run_until(network.now() + Duration::from_mins(minutes));
}

/// A network of private nodes on one IP, the first of which the others begin with.
fn private_network(nodes: u16, link: Link) -> Network {
    let mut network = Network::new(seed(), link);
    for number in 0..nodes {
        let settings = Settings { bootstrap: vec![loopback(0)], ..Settings::private() };
        network.add_node(loopback(number), settings, None);
    }
    minutes(&mut network, 2);
    network
}

/// A network of public nodes.
fn public_network(nodes: u32, link: Link) -> Network {
    let mut network = Network::new(seed(), link);
    for number in 0..nodes {
        let settings =
            Settings { private: false, bootstrap: vec![public(0), public(number / 2)], ..Settings::private() };
        network.add_node(public(number), settings, None);
        network.run_until(network.now() + Duration::from_millis(200));
    }
    minutes(&mut network, 5);
    network
}

#[track_caller]
fn put(network: &mut Network, index: usize, item: Item) -> usize {
    network.complete(index, Task::Put { item, cas: None }).expect("it ends").stored.len()
}

#[track_caller]
fn get(network: &mut Network, index: usize, target: Target) -> Option<Item> {
    network.complete(index, Task::Get { target, salt: Vec::new() }).expect("it ends").item
}

#[test]
fn lookups_end_with_the_nearest_although_packets_and_nodes_are_lost() {
    let population = Population { nodes: 300, hostile: 0.0, churn: 0.2, link: LOSSY, seed: seed() };
    let measure = Measure { warm_up: Duration::from_mins(10), lookups: 500, rate: 20.0 };
    let report = population.measure(&measure, &mut |_, _| ());
    assert!(report.right * 1000 >= report.lookups * 995, "{} right, {:?}", report.right, report.wrong);
    assert!(report.rounds[report.rounds.len() / 2] <= 4, "{:?}", report.rounds);
}

#[test]
fn lookups_end_with_the_nearest_although_some_mean_ill() {
    let population = Population { nodes: 300, hostile: 0.03, churn: 0.2, link: LOSSY, seed: seed() };
    let measure = Measure { warm_up: Duration::from_mins(10), lookups: 500, rate: 20.0 };
    let report = population.measure(&measure, &mut |_, _| ());
    assert!(report.right * 100 >= report.lookups * 98, "{} right, {:?}", report.right, report.wrong);
}

#[test]
fn a_run_repeats_itself() {
    let run = || {
        let population = Population { nodes: 60, hostile: 0.05, churn: 0.5, link: LOSSY, seed: seed() };
        let measure = Measure { warm_up: Duration::from_mins(2), lookups: 30, rate: 5.0 };
        population.measure(&measure, &mut |_, _| ())
    };
    let (one, other) = (run(), run());
    assert_eq!((one.elapsed, one.packets.to_bits()), (other.elapsed, other.packets.to_bits()));
}

#[test]
fn ids_come_to_go_with_addresses() {
    let network = public_network(60, Link::PERFECT);
    for index in 0..60 {
        let id = network.node(index).and_then(|node| node.id(Family::V4)).expect("an id");
        assert!(is_secure(&id, network.address(index).ip()), "node {index}");
    }
}

#[test]
fn what_is_put_in_either_half_of_a_divided_network_is_found_everywhere_later() {
    let mut network = public_network(120, LOSSY);
    assert!(put(&mut network, 3, item("before")) >= 6);
    let half: BTreeSet<usize> = (0..60).map(|number| 2 * number).collect();
    network.divide(&half);
    minutes(&mut network, 10);
    assert!(put(&mut network, 4, item("in the one half")) >= 6);
    assert!(put(&mut network, 5, item("in the other half")) >= 6);
    assert_eq!(get(&mut network, 6, item("in the other half").target()), None);
    for index in [6, 7] {
        assert_eq!(get(&mut network, index, item("before").target()), Some(item("before")), "node {index}");
    }
    network.unite();
    minutes(&mut network, 20);
    for text in ["before", "in the one half", "in the other half"] {
        for index in [10, 11] {
            assert_eq!(get(&mut network, index, item(text).target()), Some(item(text)), "{text}, node {index}");
        }
    }
}

#[test]
fn a_node_behind_a_nat_finds_and_stores_and_is_not_handed_on_for_long() {
    let mut network = public_network(80, LOSSY);
    let settings = Settings { private: false, bootstrap: vec![public(1)], ..Settings::private() };
    let hidden = network.add_node(public(5000), settings, None);
    network.hide(hidden);
    minutes(&mut network, 5);
    assert!(network.node(hidden).expect("a node").contacts().count() > 20);
    assert!(put(&mut network, hidden, item("from behind")) >= 6);
    assert_eq!(get(&mut network, 9, item("from behind").target()), Some(item("from behind")));
    assert_eq!(get(&mut network, hidden, item("from behind").target()), Some(item("from behind")));
}

#[test]
fn peers_and_filters_are_found() {
    let mut network = private_network(30, LOSSY);
    let info_hash = Target::from_bytes([9; 20]);
    for index in 1..=20 {
        let task = Task::Announce { info_hash, port: 4000, implied_port: true, seed: index <= 5 };
        assert!(network.complete(index, task).expect("it ends").stored.len() >= 8);
    }
    let found = network.complete(25, Task::GetPeers { info_hash, scrape: true }).expect("it ends");
    assert_eq!(found.peers.len(), 20);
    let (seeds, others) = found.scrape.expect("filters");
    // All have one IP, so each filter has one.
    assert_eq!((seeds.estimate().round(), others.estimate().round()), (1.0, 1.0));
    minutes(&mut network, 46);
    let found = network.complete(25, Task::GetPeers { info_hash, scrape: false }).expect("it ends");
    assert_eq!(found.peers, [], "announcements are forgotten");
}

#[test]
fn a_mutable_item_is_replaced_and_the_newest_is_found() {
    let mut network = private_network(40, LOSSY);
    let key = krpc::SigningKey::from_seed([5; 32]);
    let signed = |sequence, text: &str| {
        Item::Mutable(key.sign(Value::from_bytes(text.as_bytes()).expect("a value"), b"", sequence).expect("an item"))
    };
    let target = signed(1, "").target();
    assert!(put(&mut network, 1, signed(1, "one")) >= 8);
    assert!(put(&mut network, 2, signed(2, "two")) >= 8);
    assert_eq!(get(&mut network, 3, target), Some(signed(2, "two")));
    let old = network.complete(4, Task::Put { item: signed(1, "one"), cas: None }).expect("it ends");
    // Who put the newer one does not put it on himself.
    assert!(old.stored.len() <= 1);
    assert_eq!(old.refused.first().map(|(_, error)| error.code), Some(302));
    let wrong = network.complete(4, Task::Put { item: signed(3, "three"), cas: Some(1) }).expect("it ends");
    assert!(wrong.stored.len() <= 1);
    assert_eq!(wrong.refused.first().map(|(_, error)| error.code), Some(301));
    let right = network.complete(4, Task::Put { item: signed(3, "three"), cas: Some(2) }).expect("it ends");
    // One or two that were not among the nearest before have only the first.
    assert!(right.stored.len() >= 6, "{:?}", right.refused);
    assert_eq!(get(&mut network, 3, target), Some(signed(3, "three")));
}

#[test]
fn a_restarted_node_has_its_id_and_its_nodes() {
    let mut network = public_network(80, Link::PERFECT);
    let node = network.node(40).expect("a node");
    let (saved, id) = (node.save(), node.id(Family::V4));
    network.kill(40);
    minutes(&mut network, 1);
    let saved = Saved::from_bytes(&saved.to_bytes()).expect("what was saved");
    // It is told nobody to begin with.
    let again = network.add_node(public(40), Settings { private: false, ..Settings::private() }, Some(&saved));
    minutes(&mut network, 1);
    let node = network.node(again).expect("a node");
    assert_eq!(node.id(Family::V4), id);
    assert!(node.contacts().count() > 40);
}

/// Nodes of one host that are restarted together, with items to publish, in a network of others that count packets.
#[test]
fn a_storm_of_restarts_locks_nobody_out() {
    const NODES: usize = 50;
    let items = if std::env::var("SOAK").is_ok_and(|soak| soak == "full") { 1000 } else { 40 };
    let mut network = public_network(150, LOSSY);
    let host = |number: usize| SocketAddr::from(([99, 1, 2, 3], 7000 + u16::try_from(number).expect("small")));
    let settings = Settings { private: false, bootstrap: vec![public(0), public(1)], ..Settings::private() };
    let start = |network: &mut Network, saved: &[Option<Saved>], new| -> Vec<usize> {
        let mut nodes = Vec::new();
        for (number, saved) in saved.iter().enumerate() {
            let index = network.add_node(host(number), settings.clone(), saved.as_ref());
            network.with(index, |node, now| {
                for which in 0..items {
                    node.publish(Publication::Item(item(&format!("{which} of {number}"))), new, now);
                }
            });
            nodes.push(index);
        }
        nodes
    };
    let nodes = start(&mut network, &vec![None; NODES], true);
    minutes(&mut network, if items > 100 { 30 } else { 5 });
    let saved: Vec<_> = nodes.iter().map(|index| network.node(*index).map(krpc::Node::save)).collect();
    for index in nodes {
        network.kill(index);
    }
    // Everybody has forgotten the items when they are back.
    minutes(&mut network, 125);
    let packets = |network: &Network| {
        let counters = |index| network.node(index).expect("a node").counters();
        (0..150).map(counters).fold((0, 0), |sum, one| (sum.0 + one.limited, sum.1 + one.received))
    };
    let before = packets(&network);
    let nodes = start(&mut network, &saved, false);
    minutes(&mut network, 5);
    for index in &nodes {
        assert!(network.node(*index).expect("a node").contacts().count() > 40, "node {index} is back");
    }
    // The publications are spread over an hour.
    minutes(&mut network, 60);
    let copies: Vec<_> = nodes
        .iter()
        .flat_map(|index| network.node(*index).expect("a node").publications().collect::<Vec<_>>())
        .collect();
    assert_eq!(copies.len(), NODES * items);
    let without = copies.iter().filter(|(_, copies)| *copies < 4).count();
    assert_eq!(without, 0, "of {} items some are on fewer than four nodes", copies.len());
    for number in [0, NODES / 2, NODES - 1] {
        let text = format!("{} of {number}", items - 1);
        assert_eq!(get(&mut network, 77, item(&text).target()), Some(item(&text)));
    }
    let after = packets(&network);
    let (limited, received) = (after.0 - before.0, after.1 - before.1);
    println!("{limited} of {received} packets were too many");
    assert!(limited * 1000 < received, "{limited} of {received} packets were too many");
}

#[test]
fn a_lookup_finds_a_node_by_its_id() {
    let mut network = private_network(50, Link::PERFECT);
    let id: NodeId = network.node(33).and_then(|node| node.id(Family::V4)).expect("an id");
    let found = network.complete(20, Task::FindNode { target: id.as_target() }).expect("it ends");
    assert_eq!(found.nearest.first().map(|contact| (contact.id, contact.address)), Some((id, network.address(33))));
}
