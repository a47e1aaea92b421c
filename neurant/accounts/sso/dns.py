"""The look-up of a claim's TXT record in the DNS, by a stub resolver (dnspython) of untrusted
servers.

The record has a name of its own below the domain (RFC 8552), so it does not collide with SPF or
other verification records. The resolver follows a CNAME as for any name.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.TXT import TXT

from neurant.core.logs import get_logger
from neurant.core.settings import Settings, dns_server

Found = Literal["found", "absent", "unreachable"]
LABEL = "_neurant-challenge"
SECONDS = 4.0  # for all servers, retries and TCP; many clients give up after 5 seconds
_ONE_SERVER = 2.0
_MAX_RECORDS = 100
_MAX_BYTES = 512  # of one record; a record of ours has 53 bytes
log = get_logger(__name__)


def record_name(domain: str) -> str:
    """Return the name of the TXT record of a domain."""
    return f"{LABEL}.{domain}"


def record_value(token: str) -> str:
    """Return the value of the TXT record for a claim's token."""
    return f"neurant-verification={token}"


async def look_up(settings: Settings, domain: str, token: str) -> Found:
    """Look for the record of a claim, for at most ``SECONDS``; raise nothing.

    ``absent``: the DNS answered that there is no such name, no TXT record, or none with our value.
    ``unreachable``: no server answered in time, or only with a failure (SERVFAIL, REFUSED, invalid
    data), which says nothing about the record.
    """
    try:
        resolver = _resolver(settings)
        async with asyncio.timeout(SECONDS):
            answer = await resolver.resolve(
                dns.name.from_text(record_name(domain)), dns.rdatatype.TXT, search=False
            )
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return "absent"
    except (dns.exception.DNSException, OSError, TimeoutError, ValueError) as error:
        log.info("sso_dns_unreachable", domain=domain, error=type(error).__name__)
        return "unreachable"
    wanted = record_value(token).encode()
    said = (_joined(one) for one in list(answer)[:_MAX_RECORDS] if isinstance(one, TXT))
    return "found" if wanted in said else "absent"


def _joined(record: TXT) -> bytes:
    """Join the strings of a record: a long value is split into strings of 255 bytes (RFC
    7208, 3.3).
    """
    return b"".join(record.strings)[:_MAX_BYTES].strip()


def _resolver(settings: Settings) -> dns.asyncresolver.Resolver:
    """Return a resolver for the configured servers, else this machine's. Raises
    dns.exception.DNSException.
    """
    if not settings.dns_servers:
        resolver = dns.asyncresolver.Resolver()
    else:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = [
            dns.nameserver.Do53Nameserver(host, port)
            for host, port in map(dns_server, settings.dns_servers.split(","))
        ]
    resolver.timeout, resolver.lifetime = _ONE_SERVER, SECONDS
    resolver.cache = None
    return resolver
