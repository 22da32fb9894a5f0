"""A check that the Hugging Face Hub can be reached."""

from __future__ import annotations

import socket
import urllib.request
from urllib.parse import urlsplit

from huggingface_hub import constants

_PATIENCE = 4.0
"""Seconds to wait for each address of the Hub; on timeout, the library decides."""


def hub_is_offline() -> bool:
    """Return whether only downloaded files are available: by request, or without a network.

    Without this check, the library tries for half a minute per file to reach an unknown host.
    """
    if constants.HF_HUB_OFFLINE:
        return True
    hub = urlsplit(constants.ENDPOINT)
    if {hub.scheme, "all"} & urllib.request.getproxies().keys():
        return False  # the proxy connects, so a failure of this machine says nothing
    try:
        port = hub.port or (80 if hub.scheme == "http" else 443)
        socket.create_connection((hub.hostname or "", port), _PATIENCE).close()
    except TimeoutError:
        return False
    except OSError:
        return True
    return False
