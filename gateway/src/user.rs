//! Whose process is at the other end of a connection on this machine.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    net::{IpAddr, SocketAddr},
};

/// The user id that stands for all that a user namespace does not know (`user_namespaces(7)`), unless it is set otherwise.
const UNKNOWN: u32 = 65_534;

/// The user ids of the processes that have connected from `client` to `server`: one, or none when the system does not
/// say, because that process has closed its end already, or because it is not on this machine.
///
/// Read from the tables of `proc_net_tcp` (proc(5)): an end that no process has any more is in them as root's, without
/// an inode.
pub(crate) fn of(client: SocketAddr, server: SocketAddr) -> io::Result<Vec<u32>> {
    let mut users = Vec::new();
    // Only a machine without IPv6 lacks the second.
    for (table, may_lack) in [("/proc/net/tcp", false), ("/proc/net/tcp6", true)] {
        let lines = match File::open(table) {
            Ok(file) => BufReader::new(file).lines(),
            Err(error) if may_lack && error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in lines {
            users.extend(owner(&line?, canonical(client), canonical(server)));
        }
    }
    Ok(users)
}

/// Whether these users are the owner, or root, who can do anything anyway. Whoever has no id here is nobody.
pub(crate) fn are_owner(users: &[u32], own: u32) -> bool {
    !users.is_empty() && users.iter().all(|user| *user == 0 || (*user == own && *user != UNKNOWN))
}

fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// The user of a line, if it is the end of this connection at the client, and a process has it.
fn owner(line: &str, client: (IpAddr, u16), server: (IpAddr, u16)) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    if (local, remote) != (client, server) {
        return None;
    }
    let user = fields.nth(4)?.parse().ok()?;
    let inode: u64 = fields.nth(1)?.parse().ok()?;
    (inode != 0).then_some(user)
}

/// An address and a port: words of 32 bits in the machine's order, of bytes in the network's.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            IpAddr::from(<[u8; 16]>::try_from(words.concat()).ok()?)
        }
        _ => return None,
    };
    Some((ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn our_own_connections_are_ours() {
        for host in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
            let (taken, from) = listener.accept().expect("taken");
            let server = taken.local_addr().expect("connected");
            let own = rustix::process::geteuid().as_raw();
            assert_eq!(of(from, server).expect("read"), [own], "{host}");
            // An end that is closed is nobody's, least of all root's.
            drop(client);
            assert!(of(from, server).expect("read").is_empty(), "{host}");
        }
    }

    #[test]
    fn the_owner_and_root() {
        for (users, own, may) in [
            (&[1000][..], 1000, true),
            (&[0], 1000, true),
            (&[1001], 1000, false),
            (&[1000, 1001], 1000, false),
            (&[], 1000, false),
            (&[1000], 0, false),
            (&[UNKNOWN], UNKNOWN, false),
        ] {
            assert_eq!(are_owner(users, own), may, "{users:?} {own}");
        }
    }

    #[test]
    fn lines() {
        let at = |text: &str| canonical(text.parse().expect("an address"));
        let (client, server) = (at("127.0.0.1:44303"), at("127.0.0.1:23402"));
        let line =
            "   7: 0100007F:AD0F 0100007F:5B6A 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 x";
        assert_eq!(owner(line, client, server), if cfg!(target_endian = "little") { Some(1000) } else { None });
        assert_eq!(owner(line, server, client), None, "the end at the server");
        assert_eq!(owner(&line.replace("4711", "0"), client, server), None, "an end that nobody has");
        for broken in ["", "  sl  local_address rem_address   st", "1: 0100007F:AD0F", "1: 01:02 03:04 05", &line[..60]]
        {
            assert_eq!(owner(broken, client, server), None, "{broken}");
        }
    }
}
