//! `offs dht load`: how many queries a node answers.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use krpc::{Method, NodeId, Query, Target, TransactionId, Transmit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use crate::{
    dht::{
        arguments::{Load, LoadMethod},
        names::{is_private, resolve},
        udp::{Batch, Udp},
    },
    failure::Failure,
    output,
};

/// After how long without any answer the open queries count as lost.
const LOST: Duration = Duration::from_millis(200);

pub(crate) fn run(load: &Load) -> Result<(), Failure> {
    let to = resolve(&load.node)?.into_iter().next().ok_or(Failure::NobodyKnown)?;
    if !is_private(&to) {
        return Err(Failure::Usage { what: "only nodes of a private network are put under load" });
    }
    let home = if to.is_ipv4() { IpAddr::from([0, 0, 0, 0]) } else { IpAddr::from([0_u16; 8]) };
    let address = SocketAddr::new(home, 0);
    let udp = Udp::bind(address).map_err(|source| Failure::Bind { address, source })?;
    let figures = Generator::new(udp, to, load.method).run(load.window, Duration::from_secs(load.seconds.into()))?;
    if figures.answers == 0 {
        return Err(Failure::NoAnswer { node: load.node.clone() });
    }
    let seconds = figures.elapsed.as_secs_f64();
    // Below 2^52 for every run that ends.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let (rate, mean) = (figures.answers as f64 / seconds, figures.bytes as f64 / figures.answers.max(1) as f64);
    if load.json {
        return output::json(&json!({
            "answers": figures.answers, "lost": figures.lost, "seconds": seconds, "per_second": rate,
            "longest_answer": figures.longest, "mean_answer": mean,
        }));
    }
    output::line(format_args!(
        "{rate:.0} answers a second, of {mean:.0} bytes, the longest {}; {} lost",
        figures.longest, figures.lost
    ))
}

#[derive(Default)]
struct Figures {
    answers: u64,
    lost: u64,
    bytes: u64,
    longest: usize,
    elapsed: Duration,
}

/// Keeps a number of queries open with one node.
struct Generator {
    udp: Udp,
    batch: Batch,
    to: SocketAddr,
    method: LoadMethod,
    id: NodeId,
    number: u32,
}

impl Generator {
    fn new(udp: Udp, to: SocketAddr, method: LoadMethod) -> Self {
        Self { udp, batch: Batch::new(), to, method, id: NodeId::from_bytes(rand::random()), number: 0 }
    }

    fn query(&mut self) -> Transmit {
        self.number = self.number.wrapping_add(1);
        let target = Target::from_bytes(rand::random());
        let (method, padding) = match self.method {
            LoadMethod::Ping => (Method::Ping, 0),
            LoadMethod::FindNode => (Method::FindNode { target }, 24),
            LoadMethod::GetPeers => (Method::GetPeers { info_hash: target, scrape: false, no_seed: false }, 24),
            LoadMethod::Get => (Method::Get { target, sequence: None }, 32),
        };
        let query = Query { id: self.id, want: None, method, padding };
        let mut message = krpc::Message::new(TransactionId::ours(self.number), krpc::Body::Query(query));
        // It answers nobody, so nobody needs to look after it.
        message.read_only = true;
        Transmit { to: self.to, packet: message.to_bytes() }
    }

    fn run(&mut self, window: u16, duration: Duration) -> Result<Figures, Failure> {
        let mut figures = Figures::default();
        let window = usize::from(window);
        let (mut open, started) = (0_usize, Instant::now());
        let mut last_answer = started;
        while started.elapsed() < duration {
            let queries: Vec<_> = (open..window).map(|_| self.query()).collect();
            self.udp.send(&mut self.batch, &queries);
            open = window;
            let timeout = Timespec::try_from(LOST).map_err(|error| Failure::Socket(std::io::Error::other(error)))?;
            poll(&mut [PollFd::new(&self.udp, PollFlags::IN)], Some(&timeout))
                .map_err(|error| Failure::Socket(error.into()))?;
            let mut count = 0;
            let taken = self.udp.receive(&mut self.batch, &mut |bytes, from| {
                if from == self.to {
                    count += 1;
                    figures.bytes += u64::try_from(bytes.len()).unwrap_or(0);
                    figures.longest = figures.longest.max(bytes.len());
                }
            });
            taken.map_err(Failure::Socket)?;
            open = open.saturating_sub(count);
            figures.answers += u64::try_from(count).unwrap_or(0);
            if count > 0 {
                last_answer = Instant::now();
            } else if last_answer.elapsed() >= LOST {
                figures.lost += u64::try_from(open).unwrap_or(0);
                open = 0;
            }
        }
        figures.elapsed = started.elapsed();
        Ok(figures)
    }
}
