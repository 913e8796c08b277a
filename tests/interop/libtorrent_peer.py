"""A DHT node of libtorrent-rasterbar that takes the commands of `line_protocol`."""

import hashlib
import time

import libtorrent
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from line_protocol import arguments, join, serve

COMMAND_SECONDS = 28
JOIN_SECONDS = 10
# A lookup that meets silent nodes runs into their 15-second timeout; an answer does not wait for it that long.
MORE_ANSWERS_SECONDS = 2
# The Python binding takes no sequence number, it signs the found one plus 1: a higher one is reached by repetition.
MOST_REPETITIONS = 16

SETTINGS = {
    # The asked port or none.
    "max_retry_port_bind": 0,
    "listen_system_port_fallback": False,
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    # These would be routers, which libtorrent never takes into its table.
    "dht_bootstrap_nodes": "",
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_prefer_verified_node_ids": False,
    "dht_enforce_node_id": False,
    "dht_ignore_dark_internet": False,
    "dht_block_ratelimit": 1_000_000,
    "dht_upload_rate_limit": 100_000_000,
    "alert_mask": libtorrent.alert.category_t.status_notification
    | libtorrent.alert.category_t.error_notification
    | libtorrent.alert.category_t.dht_notification
    | libtorrent.alert.category_t.dht_operation_notification
    | libtorrent.alert.category_t.dht_log_notification,
}


def sha1_hash(text):
    return libtorrent.sha1_hash(bytes.fromhex(text))


def text_of(item):
    if not isinstance(item, bytes):
        raise ValueError("the value is not a byte string")
    return item.decode(errors="replace")


def expanded(seed):
    """The 64-byte secret key of libtorrent: what RFC 8032 makes of the seed, scalar and prefix."""
    key = bytearray(hashlib.sha512(seed).digest())
    key[0] &= 248
    key[31] &= 63
    key[31] |= 64
    return bytes(key)


class Acknowledgements:
    """Reads the packets for which node, other than ourselves, has acknowledged a query of ours.

    libtorrent meets its own node in the answers of others and stores there too, so its own count proves nothing.
    """

    def __init__(self, query, own_address):
        self.query = query
        self.own_address = own_address
        self.sent = set()
        self.count = 0
        self.errors = []

    def read(self, packet_alert):
        direction, remote, _ = packet_alert.message().split(" ", 2)
        remote = remote.strip()[1:-1]
        if remote == self.own_address:
            return
        try:
            packet = libtorrent.bdecode(packet_alert.pkt_buf)
            kind, transaction = packet[b"y"], (packet[b"t"], remote)
        except (RuntimeError, KeyError, TypeError):  # not KRPC
            return
        if direction == "==>" and kind == b"q" and packet[b"q"] == self.query:
            self.sent.add(transaction)
        elif direction == "<==" and kind in (b"r", b"e") and transaction in self.sent:
            self.sent.remove(transaction)
            if kind == b"r":
                self.count += 1
            else:
                self.errors.append(str(packet.get(b"e")))

    def require(self):
        if not self.count:
            raise RuntimeError("no other node acknowledged: " + (", ".join(self.errors) or "no answer"))


class Node:
    def __init__(self, listen, bootstrap):
        self.address = join(*listen)
        self.deadline = 0.0
        self.session = libtorrent.session({**SETTINGS, "listen_interfaces": self.address})
        self._await_listening()
        for contact in bootstrap:
            self.session.add_dht_node(contact)
        join_deadline = time.monotonic() + JOIN_SECONDS
        while bootstrap and not self.nodes()["nodes"] and time.monotonic() < join_deadline:
            time.sleep(0.05)

    def _await_listening(self):
        self.deadline = time.monotonic() + JOIN_SECONDS
        for alert in self._alerts():
            if isinstance(alert, libtorrent.listen_failed_alert):
                raise OSError(alert.message())
            if (
                isinstance(alert, libtorrent.listen_succeeded_alert)
                and alert.socket_type == libtorrent.socket_type_t.udp
            ):
                return
        raise OSError("does not listen")

    def _begin(self, seconds=COMMAND_SECONDS):
        """Sets the time for what follows, and forgets the alerts of before."""
        self.deadline = time.monotonic() + seconds
        self.session.pop_alerts()

    def _end_soon(self):
        self.deadline = min(self.deadline, time.monotonic() + MORE_ANSWERS_SECONDS)

    def _alerts(self):
        """The alerts as they come, until the deadline. One is valid until the next one is asked for."""
        while time.monotonic() < self.deadline:
            self.session.wait_for_alert(50)
            yield from self.session.pop_alerts()

    def _statistics(self):
        self._begin()
        self.session.post_dht_stats()
        for alert in self._alerts():
            if isinstance(alert, libtorrent.dht_stats_alert):
                return alert
        raise TimeoutError("no statistics")

    def _post_statistics(self):
        time.sleep(0.02)
        self.session.post_dht_stats()

    def announce(self, info_hash, port):
        self._begin()
        acknowledgements = Acknowledgements(b"announce_peer", self.address)
        self.session.dht_announce(sha1_hash(info_hash), port, 0)
        # There is no alert for the end of this, but the statistics name the lookups under way.
        self._post_statistics()
        for alert in self._alerts():
            if isinstance(alert, libtorrent.dht_pkt_alert):
                acknowledgements.read(alert)
            elif isinstance(alert, libtorrent.dht_stats_alert):
                if not alert.active_requests and not acknowledgements.sent:
                    break
                self._post_statistics()
            if acknowledgements.count:
                break
        acknowledgements.require()
        return {}

    def get_peers(self, info_hash):
        self._begin()
        peers = set()
        self.session.dht_get_peers(sha1_hash(info_hash))
        self._post_statistics()
        for alert in self._alerts():
            if isinstance(alert, libtorrent.dht_get_peers_reply_alert) and str(alert.info_hash) == info_hash.lower():
                peers.update(join(*peer) for peer in alert.peers())
                self._end_soon()
            elif isinstance(alert, libtorrent.dht_stats_alert):
                if all(lookup["type"] != "get_peers" for lookup in alert.active_requests):
                    break
                self._post_statistics()
        return {"peers": sorted(peers)}

    def put_immutable(self, value):
        self._begin()
        acknowledgements = Acknowledgements(b"put", self.address)
        target = self.session.dht_put_immutable_item(value.encode())
        self._await_put(acknowledgements)
        acknowledgements.require()
        return {"target": str(target)}

    def _await_put(self, acknowledgements):
        """Waits for the end of the put, and gives the sequence number it stored."""
        for alert in self._alerts():
            if isinstance(alert, libtorrent.dht_pkt_alert):
                acknowledgements.read(alert)
            elif isinstance(alert, libtorrent.dht_put_alert):
                return alert.seq
        raise TimeoutError("the put did not end")

    def get_immutable(self, target):
        self._begin()
        self.session.dht_get_immutable_item(sha1_hash(target))
        for alert in self._alerts():
            if isinstance(alert, libtorrent.dht_immutable_item_alert) and str(alert.target) == target.lower():
                # Only the text tells nothing from an empty value.
                found = "<uninitialized>" not in alert.message()
                return {"value": text_of(alert.item) if found else None}
        return {"value": None}

    def put_mutable(self, seed, salt, seq, value):
        secret = bytes.fromhex(seed)
        key = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
        deadline = time.monotonic() + COMMAND_SECONDS
        found = self.get_mutable(key.hex(), salt)["seq"] or 0
        if not found < seq <= found + MOST_REPETITIONS:
            raise ValueError(f"can only store the sequence numbers {found + 1} to {found + MOST_REPETITIONS}")
        while found < seq:
            self._begin(deadline - time.monotonic())
            acknowledgements = Acknowledgements(b"put", self.address)
            self.session.dht_put_mutable_item(expanded(secret), key, value.encode(), salt.encode())
            found = self._await_put(acknowledgements)
            acknowledgements.require()
        if found != seq:
            raise RuntimeError(f"stored sequence number {found}")
        return {"key": key.hex(), "target": hashlib.sha1(key + salt.encode()).hexdigest()}

    def get_mutable(self, key, salt):
        self._begin()
        best = {"value": None, "seq": None}
        self.session.dht_get_mutable_item(bytes.fromhex(key), salt.encode())
        for alert in self._alerts():
            if isinstance(alert, libtorrent.dht_mutable_item_alert) and (alert.key.hex(), alert.salt) == (
                key.lower(),
                salt.encode(),
            ):
                found = "<uninitialized>" not in alert.message()
                if found and (best["seq"] is None or alert.seq > best["seq"]):
                    best = {"value": text_of(alert.item), "seq": alert.seq}
                    self._end_soon()
                if alert.authoritative:
                    break
        return best

    def nodes(self):
        return {"nodes": sum(bucket["num_nodes"] for bucket in self._statistics().routing_table)}


def main():
    options = arguments(__doc__)
    node = Node(options.listen, options.bootstrap)
    names = ("announce", "get_peers", "put_immutable", "get_immutable", "put_mutable", "get_mutable", "nodes")
    serve(node.address, {name: getattr(node, name) for name in names})


if __name__ == "__main__":
    main()
