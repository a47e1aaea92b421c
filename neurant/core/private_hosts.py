"""The hosts on private networks to which the installation may send requests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from neurant.core.errors import SetupError

HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")  # the second is an IPv6 address


@dataclass(frozen=True, slots=True)
class PrivateHosts:
    """The hosts that may be called although they are not on the public internet."""

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> PrivateHosts:
        """Parse names, addresses and networks, separated by commas. Raises SetupError."""
        names, networks = set(), []
        for part in filter(None, (one.strip().lower() for one in text.split(","))):
            try:
                networks.append(ip_network(part))
            except ValueError:
                if not HOST.fullmatch(part):
                    raise SetupError("setup.bad_private_hosts", value=part) from None
                names.add(part)
        return cls(frozenset(names), tuple(networks))

    def has_name(self, host: str) -> bool:
        """Return whether the host is listed by its name or by its address."""
        host = host.lower()
        if host in self.names:
            return True
        try:
            return self.has_address(host)
        except ValueError:
            return False

    def has_address(self, address: str) -> bool:
        """Return whether a listed network contains the address. Raises ValueError for a name."""
        found = ip_address(address.partition("%")[0])
        return any(found in network for network in self.networks)
