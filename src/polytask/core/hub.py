"""Whether the Hugging Face Hub can be reached at all."""

from __future__ import annotations

import socket
import urllib.request
from urllib.parse import urlsplit

from huggingface_hub import constants

_PATIENCE = 4.0
"""Seconds for each address of the Hub; a network that is only slow is left to the library."""


def hub_is_offline() -> bool:
    """Whether only what was downloaded before can be had: it was asked for, or no network is there.

    The library tries for half a minute, for every file, to reach a host that cannot be found.
    """
    if constants.HF_HUB_OFFLINE:
        return True
    hub = urlsplit(constants.ENDPOINT)
    if {hub.scheme, "all"} & urllib.request.getproxies().keys():
        return False  # connections are the proxy's affair
    try:
        port = hub.port or (80 if hub.scheme == "http" else 443)
        socket.create_connection((hub.hostname or "", port), _PATIENCE).close()
    except TimeoutError:
        return False
    except OSError:
        return True
    return False
