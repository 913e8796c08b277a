//! UDP sockets, many packets a system call.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use krpc::{Family, Transmit};
use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrLike as _, SockaddrStorage, recvmmsg, sendmmsg},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};

/// Packets of one system call.
const BATCH: usize = 64;

/// Bytes that are taken of a packet: one more than the longest that a node reads, so that it sees which are longer.
const LONGEST: usize = 4097;

/// What the kernel may keep for us while we are busy, in bytes; it may allow less.
const KERNEL_BUFFER: usize = 4 << 20;

/// Room for the packets of one call, shared by all sockets of a thread.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// One of each family: a header keeps the length of the last sender's address, to which it cuts the next.
    received_v4: MultiHeaders<SockaddrStorage>,
    received_v6: MultiHeaders<SockaddrStorage>,
    sent: MultiHeaders<SockaddrStorage>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; BATCH * LONGEST],
            received_v4: MultiHeaders::preallocate(BATCH, None),
            received_v6: MultiHeaders::preallocate(BATCH, None),
            sent: MultiHeaders::preallocate(BATCH, None),
        }
    }
}

/// A socket of one family.
pub(crate) struct Udp {
    socket: UdpSocket,
    address: SocketAddr,
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Udp {
    /// Binds a socket. One of IPv6 takes no IPv4: each family has its own.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        sockopt::set_socket_recv_buffer_size(&socket, KERNEL_BUFFER)?;
        bind(&socket, &address)?;
        let socket = UdpSocket::from(socket);
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn family(&self) -> Family {
        Family::of(&self.address)
    }

    /// Takes what is there, at most a batch of packets; returns how many there were.
    pub(crate) fn receive(&self, batch: &mut Batch, take: &mut dyn FnMut(&[u8], SocketAddr)) -> io::Result<usize> {
        let mut slices: Vec<_> = batch.bytes.chunks_mut(LONGEST).map(|bytes| [IoSliceMut::new(bytes)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let headers = match self.family() {
            Family::V4 => &mut batch.received_v4,
            Family::V6 => &mut batch.received_v6,
        };
        let messages = match recvmmsg(self.socket.as_raw_fd(), headers, slices.iter_mut(), flags, None) {
            Ok(messages) => messages,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            // Somebody is not there, or the network is not at the moment: that is no reason to end.
            Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ENETDOWN | Errno::ENOBUFS) => {
                return Ok(0);
            }
            Err(error) => return Err(error.into()),
        };
        let mut count = 0;
        for message in messages {
            count += 1;
            if let (Some(from), Some(bytes)) = (message.address.as_ref().and_then(address), message.iovs().next()) {
                take(bytes, from);
            }
        }
        Ok(count)
    }

    /// Sends packets; returns how many the kernel did not take. A datagram that finds no room is lost, like any.
    pub(crate) fn send(&self, batch: &mut Batch, packets: &[Transmit]) -> usize {
        let mut lost = 0;
        for mut packets in packets.chunks(BATCH) {
            while !packets.is_empty() {
                let slices: Vec<_> = packets.iter().map(|packet| [IoSlice::new(&packet.packet)]).collect();
                let addresses: Vec<_> = packets.iter().map(|packet| Some(SockaddrStorage::from(packet.to))).collect();
                let none: [ControlMessage<'_>; 0] = [];
                let flags = MsgFlags::MSG_DONTWAIT;
                let sent = sendmmsg(self.socket.as_raw_fd(), &mut batch.sent, slices.iter(), &addresses, none, flags);
                let sent = match sent {
                    Ok(sent) => sent.count(),
                    Err(error) => {
                        tracing::debug!(%error, to = %packets[0].to, "a packet was not sent");
                        0
                    }
                };
                // An error is the first packet's: it is left out, and the others are tried.
                lost += usize::from(sent == 0);
                packets = &packets[sent.max(1)..];
            }
        }
        lost
    }
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    // Scope and flow say nothing to others, and an address must equal itself.
    let v6 = address.as_sockaddr_in6()?;
    debug_assert!(address.family().is_some());
    Some(SocketAddrV6::new(v6.ip(), v6.port(), 0, 0).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_of_both_families_are_told_apart() {
        let mut batch = Batch::new();
        for _ in 0..3 {
            for home in ["127.0.0.1:0", "[::1]:0"] {
                let home = home.parse().expect("an address");
                let (one, other) = (Udp::bind(home).expect("bind"), Udp::bind(home).expect("bind"));
                assert_eq!(one.send(&mut batch, &[Transmit { to: other.address(), packet: vec![1] }]), 0);
                let mut senders = Vec::new();
                assert_eq!(other.receive(&mut batch, &mut |_, from| senders.push(from)).expect("receive"), 1);
                assert_eq!(senders, [one.address()]);
            }
        }
    }

    #[test]
    fn packets_arrive_with_their_sender() {
        for home in ["127.0.0.1:0", "[::1]:0"] {
            let home = home.parse().expect("an address");
            let (one, other) = (Udp::bind(home).expect("bind"), Udp::bind(home).expect("bind"));
            let mut batch = Batch::new();
            let packets: Vec<_> =
                (0..150_u8).map(|number| Transmit { to: other.address(), packet: vec![number; 3] }).collect();
            assert_eq!(one.send(&mut batch, &packets), 0);
            let mut found = Vec::new();
            while other.receive(&mut batch, &mut |bytes, from| found.push((bytes.to_vec(), from))).expect("receive") > 0
            {
            }
            assert_eq!(found.len(), 150);
            assert!(
                found.iter().zip(&packets).all(|((bytes, from), sent)| *bytes == sent.packet && *from == one.address())
            );
        }
    }
}
