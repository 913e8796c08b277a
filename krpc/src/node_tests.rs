//! Tests of `Node` by itself: what one node says to packets.

use std::{net::SocketAddr, time::Duration};

use crate::{
    Body, Item, ItemReply, Message, Method, Node, NodeId, Poll, Query, Response, Settings, Target, Task, TransactionId,
    Transmit, Value,
};

const ID: NodeId = NodeId::from_bytes(*b"abcdefghij0123456789");
const TARGET: Target = Target::from_bytes(*b"mnopqrstuvwxyz123456");

fn public() -> Node {
    let settings = Settings { private: false, ..Settings::private() };
    Node::new(settings, None, [1; 32], Duration::ZERO)
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([20, 1, 2, 3], port))
}

fn packet(method: Method, padding: usize) -> Vec<u8> {
    let query = Query { id: ID, want: None, method, padding };
    Message::new(TransactionId::ours(7), Body::Query(query)).to_bytes()
}

/// What the node sends now.
fn sent(node: &mut Node, now: Duration) -> Vec<Transmit> {
    let mut sent = Vec::new();
    loop {
        match node.poll(now) {
            Poll::Transmit(transmit) => sent.push(transmit),
            Poll::Event(_) => {}
            Poll::Wake(at) => {
                assert!(at > now, "it would be called for ever");
                return sent;
            }
        }
    }
}

fn response(packet: &[u8]) -> Response {
    match Message::from_bytes(packet).expect("a message").body {
        Body::Response(response) => *response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_gets_three_bytes_for_one_until_it_has_proved_itself() {
    let mut node = public();
    let value = Value::from_bytes(&[7; 996]).expect("a value");
    let item = Item::Immutable(value);
    let target = item.target();
    // Somebody puts a long value, which needs a token, and so proves himself.
    let token = {
        node.handle(&packet(Method::Get { target, sequence: None }, 0), address(1), Duration::ZERO);
        response(&sent(&mut node, Duration::ZERO)[0].packet).token.expect("a token")
    };
    node.handle(&packet(Method::Put { token, item: item.clone(), cas: None }, 0), address(1), Duration::ZERO);
    let get = packet(Method::Get { target, sequence: None }, 0);
    sent(&mut node, Duration::ZERO);
    node.handle(&get, address(1), Duration::ZERO);
    let whole = response(&sent(&mut node, Duration::ZERO)[0].packet);
    assert_eq!(whole.item.item(&target, b""), Some(item.clone()));
    // Another asks for it.
    let now = Duration::from_secs(20);
    node.handle(&get, address(2), now);
    let to_other: Vec<_> = sent(&mut node, now).into_iter().filter(|transmit| transmit.to == address(2)).collect();
    assert!(to_other.iter().map(|transmit| transmit.packet.len()).sum::<usize>() <= 3 * get.len());
    assert_eq!(response(&to_other[0].packet).item, ItemReply::default());
    // It is asked back, and answers.
    let ping = Message::from_bytes(&to_other[1].packet).expect("a ping");
    let pong = Message::new(ping.transaction, Body::Response(Box::new(Response::new(ID))));
    node.handle(&pong.to_bytes(), address(2), now);
    node.handle(&get, address(2), now);
    assert_eq!(response(&sent(&mut node, now)[0].packet).item.item(&target, b""), Some(item.clone()));
    // A third pays beforehand.
    node.handle(&packet(Method::Get { target, sequence: None }, 400), address(3), now);
    let paid = sent(&mut node, now).into_iter().find(|transmit| transmit.to == address(3)).expect("an answer");
    assert_eq!(response(&paid.packet).item.item(&target, b""), Some(item));
}

#[test]
fn questions_to_one_ip_do_not_pile_up() {
    let mut node = public();
    for second in 0..60 {
        let now = Duration::from_secs(second);
        for port in 0..25 {
            let port = 1000 + u16::try_from(second).expect("small") * 25 + port;
            let mut id = [0; 20];
            id[..2].copy_from_slice(&port.to_be_bytes());
            let query = Query { id: NodeId::from_bytes(id), want: None, method: Method::Ping, padding: 0 };
            node.handle(&Message::new(TransactionId::ours(7), Body::Query(query)).to_bytes(), address(port), now);
        }
        sent(&mut node, now);
        assert!(node.counters().open < 30, "{}", node.counters().open);
    }
}

#[test]
fn a_task_ends_although_nobody_answers() {
    let settings = Settings { v6: true, bootstrap: vec![address(1), address(2)], ..Settings::private() };
    for task in [
        Task::FindNode { target: TARGET },
        Task::Announce { info_hash: TARGET, port: 1, implied_port: true, seed: false },
        Task::Ask { to: address(3), method: Method::Ping },
        Task::Ask { to: "[2001::1]:1".parse().expect("an address"), method: Method::Ping },
    ] {
        let mut node = Node::new(settings.clone(), None, [1; 32], Duration::ZERO);
        let id = node.start(task.clone(), Duration::ZERO);
        let mut done = false;
        for second in 0..60 {
            loop {
                match node.poll(Duration::from_secs(second)) {
                    Poll::Event(crate::Event::Done { task, .. }) => done |= task == id,
                    Poll::Wake(_) => break,
                    _ => {}
                }
            }
        }
        assert!(done, "{task:?}");
    }
}

#[test]
fn nobody_is_answered_by_a_node_that_only_asks() {
    let settings = Settings { read_only: true, ..Settings::private() };
    let mut node = Node::new(settings, None, [1; 32], Duration::ZERO);
    node.handle(&packet(Method::Ping, 0), address(1), Duration::ZERO);
    node.handle(b"d1:ad2:id3:abce1:q4:ping1:t1:a1:y1:qe", address(1), Duration::ZERO);
    assert_eq!(sent(&mut node, Duration::ZERO), []);
}

#[test]
fn what_cannot_be_is_passed_over() {
    let mut node = public();
    let ping = packet(Method::Ping, 0);
    for from in ["20.1.2.3:0", "10.0.0.1:5", "127.0.0.1:5", "[2a00::1]:5"] {
        node.handle(&ping, from.parse().expect("an address"), Duration::ZERO);
    }
    assert_eq!(node.counters().bogons, 4);
    node.handle(&[&ping[..], &[0; 5000]].concat(), address(1), Duration::ZERO);
    node.handle(b"", address(1), Duration::ZERO);
    assert_eq!(node.counters().malformed, 2);
    assert_eq!(sent(&mut node, Duration::ZERO), []);
}
