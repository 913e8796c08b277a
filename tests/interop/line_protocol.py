"""The line protocol of the peer programs: how they are started, and how they take commands.

A program is started with `--listen IP:PORT` and any number of `--bootstrap IP:PORT` (an IPv6 address in brackets).
When its node listens, and knows a bootstrap node if it was given one that answers, it prints
{"ready":true,"address":"IP:PORT"}. From then on it reads one JSON command a line and answers each with one line, in
at most 30 seconds: {"ok":true,...} or {"ok":false,"error":"..."}. It ends with its standard input. The commands:

    {"cmd":"announce","info_hash":HEX40,"port":N}      {"ok":true}
    {"cmd":"get_peers","info_hash":HEX40}              {"ok":true,"peers":["IP:PORT",...]}
    {"cmd":"put_immutable","value":TEXT}               {"ok":true,"target":HEX40}
    {"cmd":"get_immutable","target":HEX40}             {"ok":true,"value":TEXT or null}
    {"cmd":"put_mutable","seed":HEX64,"salt":TEXT,"seq":N,"value":TEXT}
                                                       {"ok":true,"key":HEX64,"target":HEX40}
    {"cmd":"get_mutable","key":HEX64,"salt":TEXT}      {"ok":true,"value":TEXT or null,"seq":N or null}
    {"cmd":"nodes"}                                    {"ok":true,"nodes":N}

A value is stored as a bencoded byte string. `seed` is the 32-byte secret of RFC 8032. A node answers `ok` to a store
only when another node has acknowledged it. What a client cannot do is answered with the error `unsupported`.
"""

import argparse
import json
import sys


def endpoint(text):
    """The address and the port in `127.0.0.1:6881` or `[::1]:6881`."""
    ip, port = text.rsplit(":", 1)
    return ip.strip("[]"), int(port)


def join(ip, port):
    """The inverse of `endpoint`."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def arguments(description):
    """The command line: `.listen`, an endpoint, and `.bootstrap`, a list of them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--listen", type=endpoint, required=True, metavar="IP:PORT")
    parser.add_argument("--bootstrap", type=endpoint, action="append", default=[], metavar="IP:PORT")
    return parser.parse_args()


def serve(address, commands):
    """Says that the node is ready, then answers the commands, a dictionary of functions, until the input ends."""
    print(json.dumps({"ready": True, "address": address}), flush=True)
    for line in sys.stdin:
        try:
            command = json.loads(line)
            run = commands.get(command.pop("cmd"))
            answer = {"ok": True, **run(**command)} if run else {"ok": False, "error": "unsupported"}
        except Exception as error:  # whatever went wrong, the other side is owed one line
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
