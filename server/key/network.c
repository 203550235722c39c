#include "server/key/check.h"
#include "server/key/table.h"

const Key key_rows_network[] = {
	{.name = "bgp.peers.NAME.address", .kinds = "bridge,physical", .type = KEY_STRING, .check = name_check_ip, .help = "Peer address."},
	{.name = "bgp.peers.NAME.asn", .kinds = "bridge,physical", .type = KEY_INT, .minimum = 1, .maximum = 4294967294, .help = "Peer AS."},
	{.name = "bgp.peers.NAME.password", .kinds = "bridge,physical", .type = KEY_STRING, .flags = KEY_SECRET, .initial = "- (no password)", .help = "MD5 password."},
	{.name = "bgp.peers.NAME.holdtime", .kinds = "bridge,physical", .type = KEY_INT, .initial = "180", .minimum = 9, .maximum = 65535, .help = "Hold seconds."},
	{.name = "bgp.ipv4.nexthop", .kinds = "bridge", .type = KEY_STRING, .flags = KEY_LOCAL, .initial = "local address", .check = name_check_ipv4, .help = "Next-hop override (per member)."},
	{.name = "bgp.ipv6.nexthop", .kinds = "bridge", .type = KEY_STRING, .flags = KEY_LOCAL, .initial = "local address", .check = name_check_ipv6, .help = "Next-hop override (per member)."},
	{.name = "bridge.driver", .kinds = "bridge", .type = KEY_STRING, .initial = "native", .choices = "native,openvswitch", .help = "Native or openvswitch."},
	{.name = "bridge.external_interfaces", .kinds = "bridge", .type = KEY_STRING, .flags = KEY_LOCAL, .check = check_interfaces, .help = "Host NICs to enslave (per member)."},
	{.name = "bridge.hwaddr", .kinds = "bridge,ovn", .type = KEY_STRING, .check = name_check_mac, .help = "Bridge MAC."},
	{.name = "bridge.mtu", .kinds = "bridge", .type = KEY_INT, .initial = "1500", .minimum = 68, .maximum = 65535, .help = "Bridge MTU."},
	{.name = "dns.domain", .kinds = "bridge,ovn", .type = KEY_STRING, .initial = "incus", .help = "Domain for DHCP clients."},
	{.name = "dns.mode", .kinds = "bridge", .type = KEY_STRING, .initial = "managed", .choices = "none,managed,dynamic", .help = "None, managed, dynamic."},
	{.name = "dns.search", .kinds = "bridge,ovn", .type = KEY_STRING, .help = "Search list."},
	{.name = "dns.zone.forward", .kinds = "bridge", .type = KEY_STRING, .initial = "managed", .help = "Forward zone names."},
	{.name = "dns.zone.reverse.ipv4", .kinds = "bridge", .type = KEY_STRING, .initial = "managed", .help = "IPv4 reverse zone."},
	{.name = "dns.zone.reverse.ipv6", .kinds = "bridge", .type = KEY_STRING, .initial = "managed", .help = "IPv6 reverse zone."},
	{.name = "ipv4.address", .kinds = "bridge,ovn", .type = KEY_STRING, .initial = "- (initial value on creation: auto)", .check = check_ipv4_or_auto, .help = "Bridge CIDR, none or auto."},
	{.name = "ipv4.dhcp", .kinds = "bridge,ovn", .type = KEY_BOOL, .initial = "true", .help = "Run DHCP."},
	{.name = "ipv4.dhcp.expiry", .kinds = "bridge", .type = KEY_STRING, .initial = "1h", .help = "Lease time."},
	{.name = "ipv4.dhcp.gateway", .kinds = "bridge", .type = KEY_STRING, .initial = "IPv4 address", .check = name_check_ipv4, .help = "Announced gateway."},
	{.name = "ipv4.dhcp.ranges", .kinds = "bridge", .type = KEY_STRING, .initial = "all addresses", .check = check_ipv4_ranges, .help = "Lease ranges."},
	{.name = "ipv4.firewall", .kinds = "bridge", .type = KEY_BOOL, .initial = "true", .help = "Install firewall rules."},
	{.name = "ipv4.nat", .kinds = "bridge,ovn", .type = KEY_BOOL, .initial = "false (initial value on creation if ipv4.address is set to auto: true)", .help = "Masquerade."},
	{.name = "ipv4.nat.address", .kinds = "bridge,ovn", .type = KEY_STRING, .check = name_check_ipv4, .help = "SNAT address."},
	{.name = "ipv4.nat.order", .kinds = "bridge", .type = KEY_STRING, .initial = "before", .choices = "before,after", .help = "Before or after other rules."},
	{.name = "ipv4.ovn.ranges", .kinds = "bridge,physical", .type = KEY_STRING, .check = check_ipv4_ranges, .help = "Addresses for child OVN networks."},
	{.name = "ipv4.routes", .kinds = "bridge,physical", .type = KEY_STRING, .check = check_ipv4_networks, .help = "Extra routed subnets."},
	{.name = "ipv4.routing", .kinds = "bridge", .type = KEY_BOOL, .initial = "true", .help = "Forward traffic."},
	{.name = "ipv6.address", .kinds = "bridge,ovn", .type = KEY_STRING, .initial = "- (initial value on creation: auto)", .check = check_ipv6_or_auto, .help = "Bridge CIDR, none or auto."},
	{.name = "ipv6.dhcp", .kinds = "bridge,ovn", .type = KEY_BOOL, .initial = "true", .help = "Offer config by DHCPv6."},
	{.name = "ipv6.dhcp.expiry", .kinds = "bridge", .type = KEY_STRING, .initial = "1h", .help = "Lease time."},
	{.name = "ipv6.dhcp.ranges", .kinds = "bridge", .type = KEY_STRING, .initial = "all addresses", .check = check_ipv6_ranges, .help = "Lease ranges."},
	{.name = "ipv6.dhcp.stateful", .kinds = "bridge,ovn", .type = KEY_BOOL, .initial = "false", .help = "Hand out addresses."},
	{.name = "ipv6.firewall", .kinds = "bridge", .type = KEY_BOOL, .initial = "true", .help = "Install firewall rules."},
	{.name = "ipv6.nat", .kinds = "bridge,ovn", .type = KEY_BOOL, .initial = "false (initial value on creation if ipv6.address is set to auto: true)", .help = "Masquerade."},
	{.name = "ipv6.nat.address", .kinds = "bridge,ovn", .type = KEY_STRING, .check = name_check_ipv6, .help = "SNAT address."},
	{.name = "ipv6.nat.order", .kinds = "bridge", .type = KEY_STRING, .initial = "before", .choices = "before,after", .help = "Before or after other rules."},
	{.name = "ipv6.ovn.ranges", .kinds = "bridge,physical", .type = KEY_STRING, .check = check_ipv6_ranges, .help = "Addresses for child OVN networks."},
	{.name = "ipv6.routes", .kinds = "bridge,physical", .type = KEY_STRING, .check = check_ipv6_networks, .help = "Extra routed subnets."},
	{.name = "ipv6.routing", .kinds = "bridge", .type = KEY_BOOL, .initial = "true", .help = "Forward traffic."},
	{.name = "raw.dnsmasq", .kinds = "bridge", .type = KEY_STRING, .flags = KEY_TEXT, .help = "Extra dnsmasq config."},
	{.name = "security.acls", .kinds = "bridge,ovn", .type = KEY_STRING, .help = "ACLs applied to all NICs."},
	{.name = "security.acls.default.egress.action", .kinds = "bridge,ovn", .type = KEY_STRING, .initial = "reject", .choices = "allow,reject,drop", .help = "Default out action."},
	{.name = "security.acls.default.egress.logged", .kinds = "bridge,ovn", .type = KEY_BOOL, .initial = "false", .help = "Log default out."},
	{.name = "security.acls.default.ingress.action", .kinds = "bridge,ovn", .type = KEY_STRING, .initial = "reject", .choices = "allow,reject,drop", .help = "Default in action."},
	{.name = "security.acls.default.ingress.logged", .kinds = "bridge,ovn", .type = KEY_BOOL, .initial = "false", .help = "Log default in."},
	{.name = "tunnel.NAME.group", .kinds = "bridge", .type = KEY_STRING, .initial = "239.0.0.1", .check = name_check_ip, .help = "Multicast group."},
	{.name = "tunnel.NAME.id", .kinds = "bridge", .type = KEY_INT, .initial = "0", .minimum = 0, .maximum = 16777215, .help = "VNI."},
	{.name = "tunnel.NAME.interface", .kinds = "bridge", .type = KEY_STRING, .help = "Host NIC."},
	{.name = "tunnel.NAME.local", .kinds = "bridge", .type = KEY_STRING, .check = name_check_ip, .help = "Local address."},
	{.name = "tunnel.NAME.port", .kinds = "bridge", .type = KEY_INT, .initial = "0", .minimum = 0, .maximum = 65535, .help = "UDP port."},
	{.name = "tunnel.NAME.protocol", .kinds = "bridge", .type = KEY_STRING, .choices = "gre,vxlan", .help = "Gre or vxlan."},
	{.name = "tunnel.NAME.remote", .kinds = "bridge", .type = KEY_STRING, .check = name_check_ip, .help = "Remote address."},
	{.name = "tunnel.NAME.ttl", .kinds = "bridge", .type = KEY_INT, .initial = "1", .minimum = 1, .maximum = 255, .help = "TTL."},
	{.name = "user.*", .kinds = "bridge,macvlan,ovn,physical,sriov", .type = KEY_STRING, .flags = KEY_TEXT, .help = "Free-form."},
	{.name = "gvrp", .kinds = "macvlan,physical", .type = KEY_BOOL, .initial = "false", .help = "GVRP registration."},
	{.name = "mtu", .kinds = "macvlan,physical,sriov", .type = KEY_INT, .minimum = 68, .maximum = 65535, .help = "MTU."},
	{.name = "parent", .kinds = "macvlan,physical,sriov", .type = KEY_STRING, .flags = KEY_LOCAL, .help = "Host interface (per member)."},
	{.name = "vlan", .kinds = "macvlan,physical,sriov", .type = KEY_STRING, .check = check_vlan, .help = "VLAN id."},
	{.name = "network", .kinds = "ovn", .type = KEY_STRING, .help = "Uplink network name or none."},
	{.name = "bridge.mtu", .kinds = "ovn", .type = KEY_INT, .initial = "1442", .minimum = 68, .maximum = 65535, .help = "Bridge MTU."},
	{.name = "dns.zone.forward", .kinds = "ovn", .type = KEY_STRING, .help = "Forward zone names."},
	{.name = "dns.zone.reverse.ipv4", .kinds = "ovn", .type = KEY_STRING, .help = "IPv4 reverse zone."},
	{.name = "dns.zone.reverse.ipv6", .kinds = "ovn", .type = KEY_STRING, .help = "IPv6 reverse zone."},
	{.name = "ipv4.l3only", .kinds = "ovn", .type = KEY_BOOL, .initial = "false", .help = "Routed only, no L2."},
	{.name = "ipv6.l3only", .kinds = "ovn", .type = KEY_BOOL, .initial = "false", .help = "Routed only, no L2."},
	{.name = "dns.nameservers", .kinds = "physical", .type = KEY_STRING, .help = "DNS servers for OVN children."},
	{.name = "ipv4.gateway", .kinds = "physical", .type = KEY_STRING, .help = "Gateway CIDR."},
	{.name = "ipv4.routes.anycast", .kinds = "physical", .type = KEY_BOOL, .initial = "false", .help = "Allow overlapping routes."},
	{.name = "ipv6.gateway", .kinds = "physical", .type = KEY_STRING, .help = "Gateway CIDR."},
	{.name = "ipv6.routes.anycast", .kinds = "physical", .type = KEY_BOOL, .initial = "false", .help = "Allow overlapping routes."},
	{.name = "ovn.ingress_mode", .kinds = "physical", .type = KEY_STRING, .initial = "l2proxy", .choices = "l2proxy,routed", .help = "L2proxy or routed."},
	{.name = "volatile.last_state.created", .kinds = "physical", .type = KEY_BOOL, .flags = KEY_TEXT, .help = "VLAN interface created by us."},
	{.name = "volatile.network.ipv4.address", .kinds = "ovn", .type = KEY_STRING, .help = "IPv4 taken on uplink."},
	{.name = "volatile.network.ipv6.address", .kinds = "ovn", .type = KEY_STRING, .help = "IPv6 taken on uplink."},
	{0},
};

const Key key_rows_acl[] = {
	{.name = "user.*", .type = KEY_STRING, .flags = KEY_TEXT, .help = "Free-form."},
	{0},
};

const Key key_rows_forward[] = {
	{.name = "target_address", .type = KEY_STRING, .check = name_check_ip, .help = "Default target for unlisted ports."},
	{.name = "user.*", .type = KEY_STRING, .flags = KEY_TEXT, .help = "Free-form."},
	{0},
};

const Key key_rows_load_balancer[] = {
	{.name = "user.*", .type = KEY_STRING, .flags = KEY_TEXT, .help = "Free-form."},
	{0},
};

const Key key_rows_peer[] = {
	{.name = "user.*", .type = KEY_STRING, .flags = KEY_TEXT, .help = "Free-form."},
	{0},
};

const Key key_rows_zone[] = {
	{.name = "peers.NAME.address", .type = KEY_STRING, .flags = KEY_TEXT, .help = "Secondary allowed AXFR."},
	{.name = "peers.NAME.key", .type = KEY_STRING, .flags = KEY_TEXT, .help = "TSIG key."},
	{.name = "dns.nameservers", .type = KEY_STRING, .help = "NS records."},
	{.name = "network.nat", .type = KEY_BOOL, .initial = "true", .help = "Include NATed addresses."},
	{.name = "user.*", .type = KEY_STRING, .flags = KEY_TEXT, .help = "Free-form."},
	{0},
};

const Key key_rows_zone_record[] = {
	{.name = "user.*", .type = KEY_STRING, .flags = KEY_TEXT, .help = "Free-form."},
	{0},
};
