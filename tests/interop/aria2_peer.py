"""A DHT node of aria2 that takes the commands of `line_protocol`: announce and get_peers, all that aria2 can.

aria2 has a DHT node only while it loads something, and one announced port for all it loads. So each command starts
aria2c anew, with the magnet link of the info hash; before the first, and for others to ask, it loads a hash of nobody.
A command therefore ends what the node stored for others. What the node does is read from its log.
"""

import os
import re
import secrets
import socket
import subprocess
import tempfile
import time

from line_protocol import arguments, join, serve

STOP_SECONDS = 5
START_SECONDS = 5
# aria2 looks for peers at once, when it may know no node yet, and again after 6 and 12 seconds.
LOOKUP_SECONDS = 18
MORE_PEERS_SECONDS = 1

LISTENING = re.compile(r"IPv4 DHT: listening on UDP port")
ACKNOWLEDGED = re.compile(r"Message received: dht response announce_peer")
PEER = re.compile(r"Adding peer (\S+:\d+)")


def start_aria2c(listen, bootstrap, info_hash, port, directory, log):
    """Starts aria2c on a magnet link, announcing `port`. It keeps what it knows of the DHT in the directory."""
    ip, dht_port = listen
    return subprocess.Popen(
        [
            "aria2c",
            "--no-conf",
            f"--interface={ip}",
            "--disable-ipv6=true",
            "--enable-dht=true",
            "--enable-dht6=false",
            f"--dht-listen-port={dht_port}",
            f"--dht-file-path={directory}/dht.dat",
            *(f"--dht-entry-point={join(*contact)}" for contact in bootstrap),
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=false",
            f"--listen-port={port}",
            f"--stop-with-process={os.getpid()}",
            f"--dir={directory}",
            f"--log={log}",
            "--log-level=debug",
            "--quiet=true",
            f"magnet:?xt=urn:btih:{info_hash}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def free_tcp_port(ip):
    with socket.socket() as listener:
        listener.bind((ip, 0))
        return listener.getsockname()[1]


class Node:
    def __init__(self, listen, bootstrap, directory):
        self.listen = listen
        self.bootstrap = bootstrap
        self.directory = directory
        self.aria2c = None
        self._load(secrets.token_hex(20), free_tcp_port(listen[0]))

    def _load(self, info_hash, port):
        self._stop()
        self.log = f"{self.directory}/{secrets.token_hex(4)}.log"
        self.aria2c = start_aria2c(self.listen, self.bootstrap, info_hash, port, self.directory, self.log)
        if not self._await(LISTENING, START_SECONDS):
            self.kill()
            raise OSError(f"aria2c does not listen on {join(*self.listen)}")

    def _logged(self, pattern):
        try:
            with open(self.log, errors="replace") as log:
                return pattern.findall(log.read())
        except FileNotFoundError:
            return []

    def _await(self, pattern, seconds):
        """Waits until the log has the pattern; gives all that it has of it."""
        deadline = time.monotonic() + seconds
        while not (found := self._logged(pattern)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def announce(self, info_hash, port):
        self._load(info_hash, port)
        if not self._await(ACKNOWLEDGED, LOOKUP_SECONDS):
            raise TimeoutError("no node acknowledged")
        return {}

    def get_peers(self, info_hash):
        own_port = free_tcp_port(self.listen[0])
        self._load(info_hash, own_port)
        if self._await(PEER, LOOKUP_SECONDS):
            time.sleep(MORE_PEERS_SECONDS)
        # aria2 announces itself as it looks, and then finds itself.
        return {"peers": sorted(set(self._logged(PEER)) - {join(self.listen[0], own_port)})}

    def _stop(self):
        """Ends aria2c so that it keeps the nodes it knows for the next start."""
        if self.aria2c:
            self.aria2c.terminate()
            try:
                self.aria2c.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self):
        self.aria2c.kill()
        self.aria2c.wait()


def main():
    options = arguments(__doc__)
    with tempfile.TemporaryDirectory(prefix="aria2_peer.") as directory:
        node = Node(options.listen, options.bootstrap, directory)
        try:
            serve(join(*options.listen), {"announce": node.announce, "get_peers": node.get_peers})
        finally:
            node.kill()


if __name__ == "__main__":
    main()
